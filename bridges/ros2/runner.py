"""When a step is made and when its frames go out: `realtime`, `lockstep` or `fast`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.robot import Frame
from sanawm_env.bridges.ros2.session import Session
from sanawm_env.bridges.ros2.teleop import Teleop

__all__ = ["MODES", "Mode", "Runner"]

Mode = Literal["realtime", "lockstep", "fast"]
"""`realtime`: a simulated second takes a second, or longer where the machine is too slow; the last command holds.
`lockstep`: every command makes one step, and nothing moves without. `fast`: as `realtime`, without waiting."""
MODES: tuple[Mode, ...] = get_args(Mode)
_AHEAD = 1.25
"""How much earlier than the last steps took a step is begun, as a share."""


class Runner:
    """Lets a session run. Steps are computed by an executor, so that commands are read in the meantime.

    One thread calls all methods: `tick` whenever something happened, and at the latest after `wait` seconds.
    """

    def __init__(
        self,
        session: Session,
        teleops: Mapping[str, Teleop],
        publish: Callable[[str, Frame], None],
        mode: Mode,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.monotonic,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Take over a session that has begun.

        Args:
            session: The worlds.
            teleops: The commands of each robot; may grow with the session.
            publish: Called with a namespace and a frame.
            mode: See `Mode`.
            executor: Of one worker.
            clock: Seconds of real time.
            wake: Called when a step is there, from the executor's thread.
        """
        self.session, self.mode = session, mode
        self.paused = False
        self.now = session.now
        """Simulated time of the last frame that was sent, nanoseconds."""
        self.steps = 0
        """Steps so far."""
        self.step_seconds = 0.0
        """What a step takes to compute, smoothed, seconds."""
        self.late = 0
        """Frames that missed their time in mode `realtime`; the clock then stood still until they came."""
        self._teleops, self._publish, self._clock, self._wake = teleops, publish, clock, wake
        self._executor = executor
        self._computing: Future[dict[str, list[Frame]]] | None = None
        self._begun = 0.0
        self._ready: deque[list[tuple[str, Frame]]] = deque()
        self._origin = clock() - self.now / 1e9  # real time at simulated time 0
        self._track: deque[tuple[float, int]] = deque(maxlen=64)

    @property
    def real_time_factor(self) -> float:
        """Simulated seconds per second, over the last 64 frames; 0 before there were two, and after a pause."""
        if len(self._track) < 2 or self._track[-1][0] <= self._track[0][0]:
            return 0.0
        (began, first), (ended, last) = self._track[0], self._track[-1]
        return (last - first) / 1e9 / (ended - began)

    def tick(self) -> None:
        """Send what is due, and begin the next step if it is time."""
        if self._computing is not None and self._computing.done():
            self._collect()
        while self._ready and (self.mode != "realtime" or self._due(self._ready[0][0][1].stamp) <= self._clock()):
            self._send()
        if self._computing is None and not self.paused and self._wanted():
            self._start(
                {
                    name: teleop.next() if self.mode == "lockstep" else teleop.current(self.now)
                    for name, teleop in self._teleops.items()
                }
            )

    def wait(self, longest: float = 0.1) -> float:
        """Seconds until `tick` has something to do by itself, if nothing happens."""
        times = [self._due(self._ready[0][0][1].stamp)] if self._ready else []
        if self._computing is None and not self.paused and self.mode != "lockstep":
            times.append(self._start_time())
        return float(np.clip(min(times, default=np.inf) - self._clock(), 0.0, longest))

    def step(self) -> None:
        """One step now, whatever the mode, with all its frames; by fresh commands, without them standing still."""
        self.settle()
        self._start({name: teleop.current(self.now) for name, teleop in self._teleops.items()})
        self.settle()

    def settle(self) -> None:
        """Finish the step that is being computed and send its frames, so that the session can be changed."""
        if self._computing is not None:
            self._collect()
        while self._ready:
            self._send()

    def show(self, name: str, frame: Frame) -> None:
        """Send a single frame that a reset, a restore or a fork led to."""
        self._publish(name, frame)
        self.now = frame.stamp

    def pause(self, paused: bool) -> None:
        """Let no further step begin by itself, or let them begin again."""
        if paused != self.paused:
            self.paused = paused
            self._track.clear()

    # -- parts --------------------------------------------------------------------------------------------

    def _due(self, stamp: int) -> float:
        """Real time of a simulated one."""
        return self._origin + stamp / 1e9

    def _start_time(self) -> float:
        """When the next step should begin: as late as possible, so that it knows the newest command."""
        if self.mode == "realtime":
            return self._due(self.session.now) - _AHEAD * self.step_seconds
        return -np.inf

    def _wanted(self) -> bool:
        if self.mode == "lockstep":
            return all(teleop.waiting for teleop in self._teleops.values())
        return self._start_time() <= self._clock()

    def _start(self, twists: dict[str, NDArray[np.float64]]) -> None:
        self._begun = self._clock()
        self._computing = self._executor.submit(self.session.step, twists)
        self._computing.add_done_callback(lambda _: self._wake())

    def _collect(self) -> None:
        assert self._computing is not None
        computing, self._computing = self._computing, None
        shown = computing.result()
        took = self._clock() - self._begun
        self.step_seconds = took if not self.steps else 0.8 * self.step_seconds + 0.2 * took
        self.steps += 1
        for i in range(self.session.frames_per_step):
            self._ready.append([(name, frames[i]) for name, frames in shown.items()])

    def _send(self) -> None:
        frames = self._ready.popleft()
        stamp = frames[0][1].stamp
        behind = self._clock() - self._due(stamp)
        if self.mode == "realtime" and behind * self.session.fps > 1:
            self._origin += behind  # time that was lost is not made up for: no burst of frames
            self.late += 1
        for name, frame in frames:
            self._publish(name, frame)
        self.now = stamp
        self._track.append((self._clock(), stamp))
