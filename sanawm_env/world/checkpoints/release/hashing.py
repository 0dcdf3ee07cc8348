"""A cache beside the user's other caches for hashes of weights that take long to read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "cached_hash"]

LONG = 2**28
"""Bytes from which on a hash is worth remembering: a fraction of a second of reading."""


def cache_folder() -> Path:
    """Where hashes are remembered: `SANAWM_CACHE`, else `sanawm_env` in `XDG_CACHE_HOME` or `~/.cache`."""
    home = os.environ.get("SANAWM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) if home else Path(base) / "sanawm_env"


def cached_hash(files: Sequence[Path], config: Mapping[str, Any], compute: Callable[[], str]) -> str:
    """The hash of weights files, computed once for as long as the files stay as they are.

    A file counts as unchanged while its path, size and modification time (nanoseconds) are. Without a cache that
    can be read and written the hash is computed each time.

    Args:
        files: Every file that the hash depends on.
        config: JSON-ready; part of what the hash depends on.
        compute: Computes the hash from the contents.
    """
    stats = [(str(file.resolve()), file.stat()) for file in files]
    if sum(stat.st_size for _, stat in stats) < LONG:
        return compute()
    key = json.dumps([config, [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]], sort_keys=True)
    note = cache_folder() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
    try:
        known = note.read_text(encoding="ascii").strip()
        if len(known) == 16 and int(known, 16) >= 0:
            return known
    except (OSError, ValueError):
        pass
    found = compute()
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False, encoding="ascii") as file:
            file.write(found)
        os.replace(file.name, note)
    except OSError:  # a read-only home: only time is lost
        pass
    return found
