"""An evaluation in pieces, done in this process or shared out through Ray: the join of `evaluation` and `data`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sanawm_env.cli.common.cluster import RayWorkers
from sanawm_env.cli.common.console import note
from sanawm_env.data.execution import Result, enter_folder, execute

__all__ = ["Pieces", "differences", "share"]


class Pieces(Protocol):
    """Does pieces of work by number, in any order, each with the same result wherever it is done."""

    depends_on: dict[str, Any]
    """What the numbers depend on in this process: checkpoint, device, threads, code."""

    def do(self, number: int) -> Any:
        """Do one; what it gives is small and picklable."""


def share(
    todo: Sequence[int],
    make: Callable[[], Pieces],
    depends_on: Mapping[str, Any],
    *,
    cluster: RayWorkers,
    is_done: Callable[[int], bool] | None,
    folder: Path | None,
) -> Iterator[Result]:
    """Have pieces done by Ray's processes.

    Args:
        todo: Their numbers.
        make: Makes `Pieces` in such a process; picklable. A process in which the numbers would depend on something else
            than `depends_on` is refused.
        depends_on: What the numbers are known to depend on.
        cluster: Where the processes are.
        is_done: Whether a piece is stored.
        folder: Where pieces are stored and the events of workers go; None stores nothing.
    """
    return execute(
        todo,
        _MakeWorker(make, dict(depends_on), os.getcwd()),
        ray=cluster.ray,
        workers=cluster.workers,
        threads=cluster.threads,
        is_done=is_done,
        shared=folder,
        log=None if folder is None else folder / "workers.jsonl",
        say=note,
    )


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What `there` is otherwise, in words."""
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    return [f"{name} {_short(there.get(name))}, not {_short(here.get(name))}" for name in names]


@dataclass(frozen=True)
class _MakeWorker:
    make: Callable[[], Pieces]
    depends_on: dict[str, Any]
    folder: str

    def __call__(self) -> _Worker:
        enter_folder(self.folder)
        pieces = self.make()
        if differ := differences(self.depends_on, pieces.depends_on):
            raise ValueError(
                f"on the machine {socket.gethostname()} numbers would not be comparable ({'; '.join(differ)}); start "
                "the command on a machine like those that do the work, for example by `ray job submit`."
            )
        return _Worker(pieces)


class _Worker:
    slots = 1

    def __init__(self, pieces: Pieces) -> None:
        self._pieces, self.device = pieces, pieces.depends_on.get("device")

    def run(self, items: Iterable[int]) -> Iterator[Result]:
        for item in items:
            yield Result(item, value=self._pieces.do(item))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
