"""Results of single scenes on disk, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sanawm_env.files import write_json

__all__ = ["PartStore", "write_json"]


class PartStore:
    """One file for every part and scene, valid for one world and one way of running it."""

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        """Open or begin a folder of results.

        Args:
            folder: Where; made if missing.
            key: What the results depend on: checkpoint hash, sampler, lengths.
        """
        self.folder = folder
        text = json.dumps(key, sort_keys=True)
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        write_json(folder / f"{self.digest}.json", key)

    def get(self, part: str, seed: int) -> dict[str, Any] | None:
        """The stored result; None if there is none or its file cannot be read, in which case it is made again."""
        try:
            value = json.loads(self._path(part, seed).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return value if isinstance(value, dict) else None

    def put(self, part: str, seed: int, value: dict[str, Any]) -> dict[str, Any]:
        """Store a result and return it as it will be read back."""
        write_json(self._path(part, seed), value)
        stored = self.get(part, seed)
        assert stored is not None
        return stored

    def _path(self, part: str, seed: int) -> Path:
        return self.folder / self.digest / part / f"{seed}.json"
