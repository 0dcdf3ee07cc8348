"""What rollouts cost: speed, memory, and seconds per rollout that is good enough to use."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import torch

__all__ = [
    "VIDEO_FRAMES",
    "Cost",
    "Meter",
    "Outcome",
    "RolloutQuality",
    "Thresholds",
    "Useful",
    "UsefulCost",
    "cost_per_useful",
    "peak_rss_bytes",
]

VIDEO_FRAMES = 961
"""Frames of a video of SANA-WM-Bench: frame 0 and a minute at 16 per second."""


@dataclass(frozen=True)
class Cost:
    """What making some frames took."""

    frames: int
    """Generated, over all slots."""
    seconds: float
    """Wall clock."""
    peak_rss_bytes: int | None
    """Most memory that the process ever had resident, also before the measurement; None where the system does
    not tell."""
    peak_cuda_bytes: int | None
    """Most memory of tensors on the GPU during the measurement; None on the CPU."""
    state_bytes: int | None = None
    """Of one rollout's `WorldState`."""
    video_frames: int = VIDEO_FRAMES
    """Frames that count as one video."""

    @property
    def frames_per_s(self) -> float | None:
        """None if no time passed."""
        return self.frames / self.seconds if self.seconds > 0 else None

    @property
    def videos_per_hour(self) -> float | None:
        """Videos of `video_frames`; frame 0 is given and costs nothing."""
        rate = self.frames_per_s
        return None if rate is None else 3600 * rate / max(self.video_frames - 1, 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"frames_per_s": self.frames_per_s, "videos_per_hour": self.videos_per_hour}


class Meter:
    """Clock and memory of a block of code.

    >>> with Meter() as meter:
    ...     frames = 160
    >>> meter.cost(frames).frames
    160
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Measure what runs on `device`; a GPU is waited for at both ends."""
        self.device = torch.device(device)
        self.seconds = 0.0
        self._cuda_bytes: int | None = None

    def __enter__(self) -> Meter:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda" and kind is None:
            torch.cuda.synchronize(self.device)
            self._cuda_bytes = torch.cuda.max_memory_allocated(self.device)
        self.seconds = time.perf_counter() - self._began

    def cost(self, frames: int, *, state_bytes: int | None = None, video_frames: int = VIDEO_FRAMES) -> Cost:
        """Sum up.

        Args:
            frames: Frames that the block generated.
            state_bytes: Of one rollout: `state.nbytes // state.slots`.
            video_frames: Frames that count as one video.
        """
        return Cost(frames, self.seconds, peak_rss_bytes(), self._cuda_bytes, state_bytes, video_frames)


@dataclass(frozen=True)
class RolloutQuality:
    """What was measured of one rollout, to be held against `Thresholds`."""

    seconds: float
    """That it took."""
    rot_err_deg: float | None = None
    """Camera rotation error; None if the pose estimator failed."""
    trans_err: float | None = None
    """Camera translation error, in the unit that the threshold is meant in; None if the estimator failed."""
    drift: float | None = None
    """How far the picture drifted, for example |1 - sharpness ratio|; None if not measured."""
    collapsed: bool = False
    """Whether a frame is of one colour or not finite; such a rollout is of no use whatever the thresholds."""


@dataclass(frozen=True)
class Thresholds:
    """What a user calls good enough; None switches a test off. The defaults are this project's own goals."""

    max_rot_err_deg: float | None = 3.0
    """Degrees."""
    max_trans_err: float | None = 0.1
    """Relative to the length of the path, if that is what `RolloutQuality.trans_err` holds."""
    max_drift: float | None = 0.1
    """In the unit of `RolloutQuality.drift`."""

    def accepts(self, outcome: RolloutQuality) -> bool:
        """Whether every test that is on is passed; a number that is missing or NaN fails its test."""
        return not outcome.collapsed and all(
            value is not None and value <= most for most, value in self._tests(outcome)
        )

    def judges(self, outcome: RolloutQuality) -> bool:
        """Whether there is a number for every test that is on."""
        return all(value is not None and value == value for _, value in self._tests(outcome))

    def _tests(self, outcome: RolloutQuality) -> list[tuple[float, float | None]]:
        pairs = [
            (self.max_rot_err_deg, outcome.rot_err_deg),
            (self.max_trans_err, outcome.trans_err),
            (self.max_drift, outcome.drift),
        ]
        return [(most, value) for most, value in pairs if most is not None]


@dataclass(frozen=True)
class UsefulCost:
    """Seconds per useful rollout."""

    rollouts: int
    """All of them."""
    useful: int
    """Those accepted."""
    unjudged: int
    """Those, not accepted, that lack a number, for example because the pose estimator failed."""
    seconds: float
    """Spent on all."""
    thresholds: Thresholds
    """What was asked for."""

    @property
    def seconds_per_useful(self) -> float | None:
        """Seconds spent on all rollouts over useful ones; None if none is."""
        return self.seconds / self.useful if self.useful else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"seconds_per_useful": self.seconds_per_useful}


Outcome, Useful = RolloutQuality, Thresholds  # their names of before


def cost_per_useful(outcomes: Sequence[RolloutQuality], useful: Thresholds | None = None) -> UsefulCost:
    """Cost of a useful rollout; the useless ones are paid for, too.

    Args:
        outcomes: Of all rollouts.
        useful: Thresholds; None is the defaults.

    Raises:
        ValueError: No rollout.
    """
    if not outcomes:
        raise ValueError("no rollout to count: pass the outcome of at least one.")
    asked = Thresholds() if useful is None else useful
    good = sum(map(asked.accepts, outcomes))
    unjudged = sum(not asked.judges(each) and not asked.accepts(each) for each in outcomes)
    return UsefulCost(len(outcomes), good, unjudged, sum(each.seconds for each in outcomes), asked)


def peak_rss_bytes() -> int | None:
    """Most memory that this process ever had resident; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
