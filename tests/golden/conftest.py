"""Where the conformance vectors lie."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[2].parent / "shared"


def _folder(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable) or BESIDE / default)
    if not folder.is_dir():
        pytest.skip(f"no conformance vectors at {folder}; set {variable} to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the conformance vectors: ``$SANAWM_GOLDEN``, else ``<repo>/../shared/golden``."""
    return _folder("SANAWM_GOLDEN", "golden")


@pytest.fixture(scope="session")
def golden_refiner_dir() -> Path:
    """Folder of the refiner's: ``$SANAWM_GOLDEN_REFINER``, else ``<repo>/../shared/golden_refiner``."""
    return _folder("SANAWM_GOLDEN_REFINER", "golden_refiner")
