"""Words for the user: results on stdout, notes on stderr. A reader who has gone away costs no work."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["Interrupted", "interrupts", "note", "quiet_stdout", "report", "tolerant"]


def note(text: str) -> None:
    """Tell the user something that is no error."""
    with suppress(OSError, ValueError):
        print(f"sanawm: note: {text}", file=sys.stderr)


def report(text: str) -> None:
    """Print a line in the middle of work; the work goes on whether or not somebody reads it."""
    try:
        print(text, flush=True)
    except OSError:
        quiet_stdout()


def quiet_stdout() -> None:
    """Let nothing more come from stdout, whose reader has gone: Python would complain again when it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tolerant() -> None:
    """Print a replacement for letters that the locale cannot write, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGHUP: `timeout`, Slurm, `docker stop`, a closed terminal. Cleaned up after like Ctrl-C."""

    def __init__(self, number: int) -> None:
        """Remember the signal."""
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def interrupts() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `Interrupted` within a block; ignored ones (`nohup`) stay ignored."""
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked worker has nothing to clean up, and should just end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        else:
            raise Interrupted(number)

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) is None:
            continue
        try:
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
        except ValueError:  # handlers can be set in the main thread only
            pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
