"""Threads of the CPU: how they wait for each other, and how many a worker process takes.

A forward pass is cut into many short parallel pieces, and at the end of each the threads of OpenMP wait for the
slowest. GNU's OpenMP, which torch brings along on Linux, waits by spinning for milliseconds; where another program
wants the core, the spinning thread holds the core that the slowest thread needs. `GOMP_SPINCOUNT` bounds the
spinning: 10,000 turns (some tens of microseconds) are still enough between two pieces on an idle machine.
benchmarks/busy_machine.py measures both.

Every thread that calls torch keeps a team of its own, and where all teams together have more threads than there are
cores, none of them spins: each piece then ends with a call of the kernel (libgomp, `gomp_managed_threads`). So a
server whose world steps in one thread must not have loaded it in another that goes on living: see `aside`.

Nothing here loads torch.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["SPIN_COUNT", "aside", "prepare_process", "spinning", "take_share"]

Result = TypeVar("Result")

SPIN_COUNT = "10000"
"""Of `GOMP_SPINCOUNT`: the least that costs an idle machine nothing."""
_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_WORKER_THREADS = 1
"""Of a worker process; a fixed number, since the number of threads decides how sums are rounded, hence frames."""

_prepared = False
_torch_was_first = False


def prepare_process() -> None:
    """Settle what has to be settled before torch is loaded; called when `sanawm_env` is imported.

    The variable is set even where torch came first: too late for this process, in time for the workers it starts.
    Users who set `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` themselves have decided.
    """
    global _prepared, _torch_was_first
    if _prepared:
        return
    _prepared = True
    if not any(name in os.environ for name in _VARIABLES):
        _torch_was_first = "torch" in sys.modules
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_lost_threads)


def take_share() -> None:
    """Give a worker process one thread, and say when spinning threads meet a busy machine.

    Called when the world's code is imported, after torch. A worker is a process that `multiprocessing` started:
    by AsyncVectorEnv, SubprocVecEnv, a Pool or a DataLoader. How many siblings it has cannot be known while they are
    still being started, so it takes what torchrun and Ray give: one thread. `OMP_NUM_THREADS`, or
    `torch.set_num_threads` with fewer threads than cores or called later, decides otherwise.
    """
    import torch

    if multiprocessing.parent_process() is not None:
        if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() >= _default_threads():
            torch.set_num_threads(_WORKER_THREADS)
    elif spinning() and torch.get_num_threads() > 1 and os.getloadavg()[0] > _cores():
        warnings.warn(
            "other programs keep this machine's cores busy, and torch was imported before sanawm_env, so that its "
            "threads spin while they wait and steps may take ten times as long. Import sanawm_env before torch, or "
            f"start Python with GOMP_SPINCOUNT={SPIN_COUNT} in the environment, or call torch.set_num_threads(1).",
            RuntimeWarning,
            stacklevel=2,
        )


def aside(function: Callable[[], Result]) -> Result:
    """Call it in a thread that ends with the call, and with it the team of threads that torch may have made for it.

    Raises:
        BaseException: What the function raises.
    """
    with ThreadPoolExecutor(1, "sanawm-aside") as pool:
        return pool.submit(function).result()


def spinning() -> bool:
    """Whether this process' OpenMP was loaded before `GOMP_SPINCOUNT` could be set for it."""
    return _torch_was_first and sys.platform == "linux"


def _leave_lost_threads() -> None:
    """In a forked child, where the parent's OpenMP threads do not exist: a parallel region would wait for ever."""
    torch: Any = sys.modules.get("torch")
    set_num_threads = getattr(torch, "set_num_threads", None)  # None in a fork amid the import of torch
    if set_num_threads is not None:
        set_num_threads(1)


def _cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _default_threads() -> int:
    """Torch's own choice, or less: physical or logical cores, depending on how it was built."""
    import psutil  # 20 ms that `import sanawm_env` need not spend

    return min(psutil.cpu_count(logical=False) or _cores(), _cores())
