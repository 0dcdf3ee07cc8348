"""Fill a small file system up while a collection writes, give it room, and go on."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.collecting.kills.faults import Facts, faults, temporaries
from benchmarks.collecting.kills.run import Args, Run

__all__ = ["fill_disk"]

_DATA = "sanawm_env.data"
_MOMENTS = {
    "plan": (f"{_DATA}.collection.store", "Store.begin", 1),
    "video": (f"{_DATA}.storage.encode", "ClipWriter.write", 6),
    "last files": (f"{_DATA}.collection.store", "Store.commit", 2),
    "index": (f"{_DATA}.collection.run", "write_index", 1),
}
"""Before which call of which function there is suddenly no room."""


def fill_disk(args: Args, folder: Path, truth: Facts, wrong: list[str]) -> dict[str, Any] | str:
    """Once for each moment.

    Args:
        args: Of the benchmark.
        folder: Where it is mounted.
        truth: Of an undisturbed run.
        wrong: Gets what is found to be wrong.

    Returns:
        What was said each time; or why nothing was done.
    """
    said: dict[str, Any] = {}
    moments: dict[str, tuple[str, str, int] | None] = {**_MOMENTS} | ({"through ray": None} if args.ray else {})
    for name, moment in moments.items():
        place = folder / name
        place.mkdir(parents=True)
        try:
            with _small_disk(place):
                said[name], found = _fill(args, place, moment, truth)
        except _CannotMount as error:
            return f"skipped: {error}"
        wrong += [f"full disk, {name}: {fault}" for fault in found]
    return said


def _fill(args: Args, place: Path, moment: tuple[str, str, int] | None, truth: Facts) -> tuple[str, list[str]]:
    """What was said, and what was wrong; without a moment, through Ray as soon as two episodes are there."""
    out, filler, found = place / "ds", place / "filler", []
    if moment is not None:
        run = Run(args, out, before=lambda: _arrange(moment, lambda: _take_all(filler)))
    else:
        run = Run(args, out, ray="local")
        if not run.wait_for(lambda: len(list(out.glob("sanawm/episodes/*.json"))) >= 2):
            _take_all(filler)
    run.wait()
    said = run.said.replace(str(out), "OUT")
    if not filler.exists():
        found.append("the moment did not come")
    if run.code != 2 or "is full" not in said or any("Traceback" in line for line in run.lines):
        found.append(f"ended with {run.code} and said {run.lines!r}")
    if moment is not None and (left := temporaries(out)):  # Ray's workers may be killed while they clear up
        found.append(f"left {left}")
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    run = Run(args, out)
    run.wait()
    if run.code != 0:
        return said, [*found, f"with room again it ended with {run.code}: {run.said}"]
    return said, found + faults(out, truth)


def _arrange(moment: tuple[str, str, int], fill: Callable[[], None]) -> None:
    """Have `fill` called before a call of a function, in this process."""
    module, path, which = moment
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real, calls = getattr(owner, name), 0

    def late(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == which:
            fill()
        return real(*arguments, **named)

    setattr(owner, name, late)


def _take_all(filler: Path) -> None:
    """Leave not a byte."""
    handle = os.open(filler, os.O_CREAT | os.O_WRONLY)
    try:
        free = os.fstatvfs(handle)
        os.posix_fallocate(handle, 0, free.f_bavail * free.f_frsize)
    finally:
        os.close(handle)


class _CannotMount(Exception):
    """Not root, or not allowed in this container."""


@contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        raise _CannotMount(f"no small file system can be mounted here ({' '.join(reason.split())})") from None
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
