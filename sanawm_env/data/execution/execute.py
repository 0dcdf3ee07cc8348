"""`execute`: carry out a work list, here or through Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from sanawm_env.data.execution.jobs import MakeWorker, Result
from sanawm_env.data.execution.local import run_local
from sanawm_env.data.execution.progress import Board, Tell

__all__ = ["execute"]


def execute(
    items: Iterable[int | None],
    make_worker: MakeWorker,
    *,
    total: int | None = None,
    ray: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    gpus: float | None = None,
    group: int | None = None,
    ahead: bool = True,
    retries: int = 3,
    is_done: Callable[[int], bool] | None = None,
    shared: Path | None = None,
    stop: Event | None = None,
    queue: str = "main",
    log: Path | None = None,
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> Iterator[Result]:
    """Carry out a work list; each `Result` is there as soon as its item has ended, in any order.

    Args:
        items: What is to be done: all items less those that are done. No two alike. They are asked for one by one as
            somebody is free to do them, so that they may be an iterator that decides as it goes when it is enough.
            With Ray, None says that there is none for now: it is asked again within a second.
        make_worker: Makes the worker that does them, once in each process.
        total: How many they are, where they are no sequence; None is not known.
        ray: None does them in this process. `auto` uses the Ray cluster that this machine belongs to, an address
            `HOST:PORT` that cluster, and `local` begins one on this machine that ends with the run.
        workers: How many processes Ray starts; as many as the cluster has room for otherwise.
        threads: Of torch in each of Ray's processes, and the cores that it takes; `OMP_NUM_THREADS` or 1 otherwise.
            Another number gives frames that differ in the last bits.
        gpus: That each of Ray's processes takes; 1 where the cluster has any, otherwise 0.
        group: How many items a process of Ray's is given at a time; otherwise 1, or four times the slots of a worker
            that has several, so that its slots are seldom empty.
        ahead: False gives a worker of several slots only as many as it has slots: then nothing waits in its hand when
            `items` decides that it is enough, and slots stand empty while the last ones of a group are done.
        retries: How often an item is handed out again after its worker was lost.
        is_done: Whether an item's final file exists; asked before an item is handed out a second time.
        shared: A folder that every machine must see, where the items' files go.
        stop: With Ray: set by another thread, it lets go of the workers, whatever they do, and ends the iterator.
        queue: Name of this work list among several in one program, for the metrics.
        log: JSONL file that progress is added to.
        tell: Called after each result, with the progress.
        say: Takes sentences for the user, such as the dashboard's address.

    Raises:
        ValueError: Ray is not installed, or cannot be reached; names the fix. Nothing has been done then.
        OSError: Nothing can be written any more.
        RuntimeError: Not one of Ray's workers could be made; says why.
    """
    if isinstance(items, Sequence):
        total = len(items)
        if len(set(items)) < total:
            raise ValueError("an item comes twice in the work list; leave one out.")
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be at least 1; got {workers}.")
    if ray is None:
        return _told(run_local, items, make_worker, total, log, tell)

    from sanawm_env.data.execution.ray_pool import Pool, run_ray
    from sanawm_env.data.execution.ray_session import check_address

    check_address(ray)  # before any file is opened
    pool = Pool(ray, workers, threads, gpus, group, ahead, retries, is_done, shared, stop, queue, say)

    def run(items: Iterable[int | None], make_worker: MakeWorker, board: Board) -> Iterator[Result]:
        return run_ray(items, make_worker, board, pool)

    return _told(run, items, make_worker, total, log, tell)


def _told(
    run: Callable[[Iterable[Any], MakeWorker, Board], Iterator[Result]],
    items: Iterable[Any],
    make_worker: MakeWorker,
    total: int | None,
    log: Path | None,
    tell: Tell | None,
) -> Iterator[Result]:
    if total == 0:  # nobody loads a model for nothing
        return
    board = Board(total, log)
    try:
        for result in run(items, make_worker, board):
            if tell is not None:
                tell(board.progress(), result)
            yield result
    finally:
        board.close()
