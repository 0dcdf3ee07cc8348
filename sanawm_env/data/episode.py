"""`Episode`: what every reader of a dataset gives and every writer takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["Episode", "Frames", "VideoFile", "all_frames"]

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class VideoFile:
    """Frames of a video, or of a part of one, decoded anew each time that they are iterated."""

    path: Path
    """The file."""
    first: int = 0
    """Index of the first frame that belongs to it."""
    count: int | None = None
    """How many frames; None is all that follow."""

    def __iter__(self) -> Iterator[Frames]:
        """Pieces `(n, H, W, 3)` uint8 RGB.

        Raises:
            ValueError: No readable video, or one that ends too early.
        """
        done = 0
        try:
            with av.open(str(self.path)) as container:
                for index, frame in enumerate(container.decode(video=0)):
                    if index < self.first:
                        continue
                    if self.count is not None and done >= self.count:
                        return
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)[None]
                    done += 1
        except (OSError, av.error.FFmpegError, IndexError) as error:
            raise ValueError(
                f"{self.path} is no readable video ({error}); fetch it again, or leave its episode out."
            ) from error
        if self.count is not None and done < self.count:
            raise ValueError(
                f"{self.path} ends after {self.first + done} of {self.first + self.count} frames; fetch it again, or "
                "leave its episode out."
            )


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode: F frames with their camera, and T steps of k frames between them, F = 1 + T k.

    Step t goes from frame `t k` to frame `(t + 1) k`. Data that came from elsewhere (a robot's video, say) has no
    steps: T = 0 and `frames_per_step` 0, and then F is anything.
    """

    frames: Iterable[Frames]
    """Pieces `(n, H, W, 3)` uint8 RGB, F frames altogether; can be iterated again: a list of arrays, a `VideoFile`."""
    c2w: NDArray[np.float64]
    """`(F, 4, 4)` camera-to-world, OpenCV axes (+x right, +y down, +z forward), metres, frame 0 is the identity."""
    intrinsics: NDArray[np.float64]
    """`(4,)` fx, fy, cx, cy in pixels of the frames, whose upper left corner is (0, 0), as everywhere here."""
    size: tuple[int, int]
    """Rows and columns of the frames."""
    fps: float = 16.0
    """Frames per second."""
    frames_per_step: int = 0
    """k; 0 where there are no steps."""
    actions: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 6), np.float32))
    """`(T, ...)` what the environment was given."""
    rewards: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """`(T,)`."""
    terminated: bool = False
    """Whether the task ended it."""
    truncated: bool = False
    """Whether a limit ended it."""
    success: bool | None = None
    """Whether the task was done; None where there is none."""
    entries: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """`(T + 1, ...)` numbers that the policy observed beside the picture and the pose, such as `goal`: before each step
    and after the last one."""
    text: str = ""
    """What was to be done, in words (LeRobot's `task`), and the prompt of a world with text."""
    depth: Iterable[NDArray[np.float32]] | None = None
    """Pieces `(n, H, W)` of metric z-depth, metres, like `frames`; None where there is none."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Figures of the whole episode, such as `spl`."""
    recipe: Mapping[str, Any] | None = None
    """`EpisodeRecipe.to_dict()`, from which the same frames can be made again; None where there is none."""
    name: str = ""
    """Of the episode within its dataset, for people and file names."""

    def __post_init__(self) -> None:
        steps, count = len(self.actions), len(self.c2w)
        if self.c2w.shape != (count, 4, 4) or not count:
            raise ValueError(f"c2w must be (F, 4, 4) with F of at least 1; got {self.c2w.shape}.")
        if np.shape(self.intrinsics) != (4,):
            raise ValueError(f"intrinsics must be (4,) fx, fy, cx, cy; got {np.shape(self.intrinsics)}.")
        if len(self.rewards) != steps:
            raise ValueError(f"each of the {steps} actions needs a reward; got {len(self.rewards)}.")
        for name, values in self.entries.items():
            if len(values) != steps + 1:
                raise ValueError(f"entry {name!r} must have {steps + 1} rows, a last one included; got {len(values)}.")
        if steps and count != 1 + steps * self.frames_per_step:
            raise ValueError(
                f"{steps} steps of {self.frames_per_step} frames make {1 + steps * self.frames_per_step} frames, the "
                f"first included; got {count} poses."
            )

    def __len__(self) -> int:
        """F."""
        return len(self.c2w)

    @property
    def seconds(self) -> float:
        """World time from the first to the last frame."""
        return (len(self) - 1) / self.fps


def all_frames(episode: Episode) -> Frames:
    """All frames as one array `(F, H, W, 3)`.

    Raises:
        ValueError: There are not as many frames as poses.
    """
    pieces = list(episode.frames)
    frames = np.concatenate(pieces) if pieces else np.zeros((0, *episode.size, 3), np.uint8)
    if len(frames) != len(episode):
        raise ValueError(f"episode {episode.name!r} has {len(episode)} poses and {len(frames)} frames.")
    return frames
