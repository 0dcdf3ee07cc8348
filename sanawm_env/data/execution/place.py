"""Where work is done: threads, working folder, and the facts of a process that decide how sums are rounded."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from sanawm_env.data.execution.jobs import Worker

__all__ = ["enter_folder", "place_of_process", "threads_of_workers"]


def threads_of_workers(threads: int | None) -> int:
    """Threads of torch in each of Ray's processes: those asked for, otherwise `OMP_NUM_THREADS`, otherwise 1."""
    return threads or int(os.environ.get("OMP_NUM_THREADS") or 1)


def enter_folder(folder: str) -> None:
    """Work where the driver does, if this machine has that folder: relative paths, and modules of the user's own."""
    if os.path.isdir(folder):
        os.chdir(folder)
        if folder not in sys.path:
            sys.path.append(folder)


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
