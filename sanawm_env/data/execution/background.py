"""`Background`: one thread that carries out calls in order, beside the stepping."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Background"]


class Background:
    """Calls are carried out one after another in a thread of their own; what they give is fetched with `results`.

    Not more than `most` wait at a time, so that a slow encoder holds the stepping up and memory does not grow. The
    first exception of a call comes out of the next `call`, `results` or `finish`; what waits then is not carried out.
    """

    def __init__(self, most: int = 64) -> None:
        """Start the thread."""
        self._calls: queue.Queue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.Queue(most)
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._error: BaseException | None = None
        # A daemon: a main thread that dies must not wait for it.
        self._thread = threading.Thread(target=self._work, name="sanawm-encoder", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have `function(*arguments)` carried out; a result other than None is kept for `results`.

        Raises:
            BaseException: What an earlier call has raised.
        """
        self._check()
        self._calls.put((function, arguments))

    def results(self) -> list[Any]:
        """What has been given since the last time.

        Raises:
            BaseException: What a call has raised.
        """
        self._check()
        found = []
        while not self._results.empty():
            found.append(self._results.get())
        return found

    def finish(self) -> list[Any]:
        """Wait until all calls are carried out, end the thread, and give the last results.

        Raises:
            BaseException: What a call has raised.
        """
        self.stop()
        return self.results()

    def stop(self) -> None:
        """End the thread after the calls that wait; raises nothing."""
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join()

    def abandon(self) -> None:
        """End the thread without the calls that wait, after the one that runs."""
        try:
            while True:
                self._calls.get_nowait()
        except queue.Empty:
            pass
        self.stop()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (work := self._calls.get()) is not None:
            if self._error is not None:
                continue
            try:
                if (result := work[0](*work[1])) is not None:
                    self._results.put(result)
            except BaseException as error:
                self._error = error
