"""For mkdocs: the package as it is installed, with the repository's folders `policies` and `bridges` inside it.

The reference pages are read from the sources, without importing them, so that the site builds where torch is missing.
"""

import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def on_startup(**_: Any) -> None:
    """Lay the tree of links that mkdocstrings reads (`mkdocs.yml`)."""
    tree = ROOT / "build" / "docs"
    shutil.rmtree(tree, ignore_errors=True)
    package = tree / "sanawm_env"
    package.mkdir(parents=True)
    for entry in [*(ROOT / "sanawm_env").iterdir(), ROOT / "policies", ROOT / "bridges"]:
        if entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
