"""`Run`: one start of `sanawm collect` that can be killed at any moment."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sanawm_env.cli.main import main

__all__ = ["Args", "Run", "phase"]


@dataclass(frozen=True)
class Args:
    """Kill collections, and look at what comes of them."""

    kills: int = 50
    """How often."""
    episodes: int = 12
    """To a collection."""
    steps: int = 4
    """To an episode."""
    checkpoint: str = "untrained"
    """Built-in name or folder; `untrained` is a small world of random weights."""
    seed: int = 0
    """Of the moments."""
    minutes: float = 9.0
    """After which no more are killed; what was begun is finished and looked at."""
    ray: bool = False
    """Share the work out through a Ray cluster of two machines on this one, and kill a worker, the driver or a machine
    (its raylet)."""
    disk: bool = False
    """Fill a small file system up, too: when the plan, a video, an episode's last files and the index are written.
    Needs root, to mount it."""


class Run:
    """`sanawm collect` in a process forked from this one: libraries are loaded once, not for each kill."""

    def __init__(
        self,
        args: Args,
        out: Path,
        *,
        limit: int | None = None,
        ray: str | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Start it.

        Args:
            args: Of the benchmark.
            out: The dataset's folder.
            limit: The largest file that it may write, bytes; None is no limit.
            ray: As `--ray` has it; None works in the process itself.
            before: Called in the process before the work begins.
        """
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.code: int | None = None
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._child(args, out, limit, ray, before))

    def _child(self, args: Args, out: Path, limit: int | None, ray: str | None, before: Callable[[], None]) -> int:
        try:
            for stream in (1, 2):
                os.dup2(self._said.fileno(), stream)
            # Under pytest they are other files.
            sys.stdout, sys.stderr = (open(i, "w", 1, encoding="utf-8", closefd=False) for i in (1, 2))
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            before()
            main(
                [
                    *("collect", "--task", "PointNav", "--policy", "random:smooth", "--out", str(out)),
                    *("--episodes", str(args.episodes), "--max-steps", str(args.steps)),
                    *("-c", args.checkpoint, "--device", "cpu", "--env", "chunk_frames=1"),
                    *(("--slots", "2") if ray is None else ("--ray", ray, "--workers", "2")),
                ]
            )
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except BaseException:
            return 99
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def wait(self, seconds: float = 600.0) -> bool:
        """Whether it ends within that time."""
        deadline = time.monotonic() + seconds
        while self.code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.002)
        return self.code is not None

    def wait_for(self, wanted: Callable[[], bool], seconds: float = 600.0) -> bool:
        """Whether it ends before something holds, or that time is over."""
        deadline = time.monotonic() + seconds
        while not self.wait(0.001):
            if wanted() or time.monotonic() > deadline:
                return False
        return True

    def kill(self) -> None:
        """For good, wherever it is."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    @property
    def lines(self) -> list[str]:
        """All that it said."""
        self._said.seek(0)
        return self._said.read().strip().splitlines() or [""]

    @property
    def said(self) -> str:
        """The last line of it."""
        return self.lines[-1]


def phase(root: Path) -> str:
    """What a collection is about, by its temporaries."""
    if not (root / "sanawm" / "collection.json").exists():
        return "starting"
    if any(root.glob(".index-*")):
        return "indexing"
    if any((root / "sanawm").rglob(".*.json")) or any((root / "sanawm").rglob(".*.npz")):
        return "committing"
    return "encoding" if any(root.rglob(".*.mp4")) else "between"
