"""What people decide about episodes, in a file of its own beside them: `sanawm/review.json`."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sanawm_env.data.storage.native import FOLDER
from sanawm_env.files import write_json

__all__ = ["Decision", "Decisions", "decisions_file", "read_decisions"]

_MOST_TAGS, _LONGEST_TAG, _LONGEST_NOTE = 32, 64, 4000


@dataclass(frozen=True)
class Decision:
    """About one episode."""

    decision: Literal["keep", "drop"] | None = None
    """None leaves it to the filters of the collection."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""
    note: str = ""
    """Free text."""

    @classmethod
    def from_dict(cls, values: Any) -> Decision:
        """Read JSON.

        Raises:
            ValueError: Something else; names the field.
        """
        if not isinstance(values, Mapping) or (unknown := sorted(set(values) - {"decision", "tags", "note"})):
            raise ValueError(
                "a decision is an object with decision, tags and note"
                + (f"; {unknown[0]!r} is unknown." if isinstance(values, Mapping) else ".")
            )
        decision, tags, note = values.get("decision"), values.get("tags") or [], values.get("note") or ""
        if decision not in ("keep", "drop", None):
            raise ValueError(f"decision must be keep, drop or null; got {decision!r}.")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"tags must be a list of words; got {tags!r}.")
        words = tuple(dict.fromkeys(word for tag in tags if (word := " ".join(tag.split()))))
        if len(words) > _MOST_TAGS or any(len(word) > _LONGEST_TAG for word in words):
            raise ValueError(f"give at most {_MOST_TAGS} tags of at most {_LONGEST_TAG} letters.")
        if not isinstance(note, str) or len(note) > _LONGEST_NOTE:
            raise ValueError(f"note must be text of at most {_LONGEST_NOTE} letters.")
        return cls(decision, words, note)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"tags": list(self.tags)}


def decisions_file(root: Path) -> Path:
    """Where the decisions about a dataset lie."""
    return root / FOLDER / "review.json"


def read_decisions(root: Path) -> dict[str, Decision]:
    """The decisions about a dataset by the episodes' names, `000012`; empty if nobody has looked at it.

    Raises:
        ValueError: The file is no such thing.
    """
    file = decisions_file(root)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        return {name: Decision.from_dict(value) for name, value in values.items()}
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{file} cannot be read ({error}); mend it, or move it away to begin anew.") from None


class Decisions:
    """The decisions about one dataset, for threads that write them."""

    def __init__(self, root: Path) -> None:
        """Read nothing yet."""
        self._root = root
        self._lock = threading.Lock()

    def set(self, name: str, decision: Decision) -> None:
        """Write one down; the file is replaced as a whole. An empty one is taken away.

        Raises:
            ValueError: The file cannot be read, or not be written.
        """
        with self._lock:
            known = read_decisions(self._root)
            known.pop(name, None)
            if decision != Decision():
                known[name] = decision
            try:
                write_json(decisions_file(self._root), {key: known[key].to_dict() for key in sorted(known)})
            except OSError as error:
                raise ValueError(
                    f"the decision cannot be written to {decisions_file(self._root)} ({error.strerror}); make the "
                    "folder writable, or review a copy of the dataset."
                ) from None
