"""Carry out a work list in this process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from sanawm_env.data.execution.jobs import MakeWorker, Result, Worker, carry_out
from sanawm_env.data.execution.progress import Board

__all__ = ["place_of_process", "run_local"]


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


def place_of_process(worker: Worker) -> dict[str, Any]:
    """Where this process runs, and with how many threads, since those decide how sums are rounded."""
    import torch

    device = getattr(worker, "device", None)
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "threads": torch.get_num_threads(),
        "slots": worker.slots,
        "device": None if device is None else str(device),
    }


def _counted(items: Iterable[int], board: Board) -> Iterator[int]:
    for item in items:
        board.took(1)
        yield item
