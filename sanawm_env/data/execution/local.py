"""Carry out a work list in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sanawm_env.data.execution.jobs import MakeWorker, Result, carry_out
from sanawm_env.data.execution.place import place_of_process
from sanawm_env.data.execution.progress import Board

__all__ = ["run_local"]


def run_local(items: Iterable[int], make_worker: MakeWorker, board: Board) -> Iterator[Result]:
    """Do items one after another, or as many together as the worker has slots.

    Raises:
        OSError: Nothing can be written any more, see `carry_out`.
        Exception: Whatever making the worker raises; nothing has been done then.
    """
    worker = make_worker()
    board.ready("local", place_of_process(worker))
    try:
        for result in carry_out(worker, _counted(items, board)):
            mine = replace(result, worker="local")
            board.ended(mine)
            yield mine
    finally:
        close = getattr(worker, "close", None)
        if close is not None:
            close()


def _counted(items: Iterable[int], board: Board) -> Iterator[int]:
    for item in items:
        board.took(1)
        yield item
