"""Where the conformance vectors lie."""

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "golden"


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the conformance vectors: ``$SANAWM_GOLDEN``, else ``<repo>/../shared/golden``."""
    folder = Path(os.environ.get("SANAWM_GOLDEN") or DEFAULT)
    if not folder.is_dir():
        pytest.skip(f"no conformance vectors at {folder}; set SANAWM_GOLDEN to the folder that holds them")
    return folder
