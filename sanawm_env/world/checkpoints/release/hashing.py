"""A cache beside the user's other caches for hashes of weights that take long to read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sanawm_env.files import cache_folder, write_text

__all__ = ["cached_hash"]

LONG = 2**28
"""Bytes from which on a hash is worth remembering: a fraction of a second of reading."""


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
        write_text(note, found)
    except OSError:  # a read-only home: only time is lost
        pass
    return found
