"""Posed clips as training data: which clips of a dataset can be trained on, brought to the world's size."""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from sanawm_env.camera.intrinsics import Intrinsics, fit_geometry, fit_intrinsics
from sanawm_env.scenes.posed_clips import PosedClip, list_clips

__all__ = ["Pick", "PosedClips", "PosedConfig", "fit_clip", "held_out"]

FPS = 16.0
"""Frames per second of all worlds."""
ZOOM = 0.01
"""Largest change of the focal length within a clip, as a share of it: a world has one camera per rollout."""


@dataclass(frozen=True)
class PosedConfig:
    """Clips of your own, mixed with procedural scenes."""

    data: Annotated[Path | None, tyro.conf.arg(prefix_name=False)] = None
    """Dataset of posed clips, from `sanawm annotate` or `sanawm data generate`."""
    data_weight: Annotated[float, tyro.conf.arg(prefix_name=False)] = 0.5
    """Share of training clips that come from it; the others are procedural scenes."""
    any_scale: Annotated[bool, tyro.conf.arg(prefix_name=False)] = False
    """Take clips whose lengths are not metres as if they were: the world's steps then have no length of their own."""

    def __post_init__(self) -> None:
        if not 0 < self.data_weight <= 1:
            raise ValueError(f"data_weight must lie in (0, 1]; got {self.data_weight}.")

    def open(self, height: int, width: int, frames: int, *, seed: int, depth: bool = False) -> PosedClips | None:
        """The dataset, or None without one; arguments and errors as of `PosedClips`."""
        if self.data is None:
            return None
        return PosedClips(self, height, width, frames, seed=seed, depth=depth)


@dataclass(frozen=True, eq=False)
class Pick:
    """Some of the clips, ready to be trained on."""

    rgb: Tensor
    """(B, F, H, W, 3) uint8."""
    c2w: Tensor
    """(B, F, 4, 4) float32."""
    intrinsics: Tensor
    """(B, 4) px."""


def held_out(clip: PosedClip) -> bool:
    """Whether a clip is kept for evaluation.

    A generator says so of its own. Of other clips it is one in ten, by their name, so that a clip stays on its side
    when others come and go.
    """
    said = clip.figures.get("held_out")
    return said if isinstance(said, bool) else zlib.crc32(clip.name.encode()) % 10 == 0


class PosedClips:
    """Endless random pieces of the clips that training may take, clip by clip in random order."""

    def __init__(
        self, config: PosedConfig, height: int, width: int, frames: int, *, seed: int, depth: bool = False
    ) -> None:
        """Look the dataset through; pictures are read later.

        Args:
            config: Which dataset, and how much of it.
            height: Rows that clips are brought to, px.
            width: Columns, px.
            frames: Of a piece.
            seed: Of order and pieces.
            depth: Whether depth is needed.

        Raises:
            ValueError: No dataset, or no clip of it can be used; says why.
        """
        assert config.data is not None
        self.height, self.width, self.frames = height, width, frames
        self._weight, self._turns, self._own = config.data_weight, 0, 0
        found = list_clips(config.data)
        reasons = [_reason(clip, config, frames, depth) for clip in found]
        self.clips = [clip for clip, reason in zip(found, reasons, strict=True) if reason is None]
        """Those that can be used."""
        why = ", ".join(f"{n} {reason}" for reason, n in Counter(r for r in reasons if r is not None).items())
        if not self.clips:
            raise ValueError(f"no clip of {config.data} can be trained on: {why or 'it has none that was accepted'}.")
        if why:
            print(f"{config.data}: {len(self.clips)} of {len(found)} clips to train on; {why}", file=sys.stderr)
        self.generator = torch.Generator().manual_seed(seed)
        self._order: list[int] = []

    def turn(self) -> bool:
        """Whether the next clips are to come from here, so that in the long run `data_weight` of all do."""
        self._turns += 1
        mine = self._own < self._weight * self._turns
        self._own += mine
        return mine

    def next(self) -> PosedClip:
        """The next clip; each comes once before any comes again."""
        if not self._order:
            self._order = torch.randperm(len(self.clips), generator=self.generator).tolist()
        return self.clips[self._order.pop()]

    def start(self, count: int) -> int:
        """A random number below `count`."""
        return int(torch.randint(count, (), generator=self.generator))

    def take(self, count: int, device: str = "cpu") -> Pick:
        """Pieces of the next clips; they begin anywhere."""
        rgb, c2w, intrinsics = [], [], []
        for _ in range(count):
            clip = self.next()
            first = self.start(len(clip) - self.frames + 1)
            rgb.append(torch.from_numpy(fit_clip(clip, self.height, self.width, first, self.frames)))
            c2w.append(torch.from_numpy(clip.c2w[first : first + self.frames]).float())
            intrinsics.append(torch.from_numpy(camera_of(clip, self.height, self.width)))
        return Pick(*(torch.stack(each).to(device) for each in (rgb, c2w, intrinsics)))

    def views(self, clips: int, each: int) -> tuple[Tensor, Tensor, Tensor]:
        """Some frames of the next clips.

        Returns:
            Images (clips * each, H, W, 3) uint8, z-depth (clips * each, H, W) m and intrinsics (clips * each, 4) px.

        Raises:
            ValueError: Pixels without depth.
        """
        rgb, depth, intrinsics = [], [], []
        for _ in range(clips):
            clip = self.next()
            at = torch.randperm(len(clip), generator=self.generator)[:each].numpy()
            metres = clip.depth()
            assert metres is not None  # see `_reason`
            if not (metres[at] > 0).all():
                raise ValueError(f"the depth of {clip.folder} has holes (0 or NaN); fill them, or take depth.npz away.")
            rgb.append(torch.from_numpy(fit_clip(clip, self.height, self.width)[at]))
            depth.append(torch.from_numpy(_fit_depth(metres[at], self.height, self.width)))
            intrinsics += [torch.from_numpy(camera_of(clip, self.height, self.width))] * each
        return torch.cat(rgb), torch.cat(depth), torch.stack(intrinsics)


def fit_clip(clip: PosedClip, height: int, width: int, first: int = 0, count: int | None = None) -> NDArray[np.uint8]:
    """Frames (F, height, width, 3) of a clip, shrunk or grown to cover that size and cropped about their middle."""
    size, (left, top) = fit_geometry(clip.width, clip.height, width, height)
    rows, columns = slice(top, top + height), slice(left, left + width)
    frames = clip.frames(first, count)
    if size == (clip.width, clip.height):
        return np.stack([frame[rows, columns] for frame in frames])
    from sanawm_env.camera.opencv import cv2

    how = cv2.INTER_AREA if size[0] <= clip.width else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, size, interpolation=how)[rows, columns] for frame in frames])


def camera_of(clip: PosedClip, height: int, width: int) -> NDArray[np.float32]:
    """Intrinsics (4,) px of the clip's first frame after `fit_clip`."""
    given = Intrinsics(clip.intrinsics[0].astype(np.float64), clip.width, clip.height)
    return fit_intrinsics(given, width, height).values.astype(np.float32)


def _fit_depth(depth: NDArray[np.float16], height: int, width: int) -> NDArray[np.float32]:
    """Depth (F, H, W) as `fit_clip` does pictures, but the nearest pixel's: a mean of near and far is neither."""
    rows, columns = depth.shape[1:]
    (wide, tall), (left, top) = fit_geometry(columns, rows, width, height)
    y = ((np.arange(top, top + height) + 0.5) * rows / tall).astype(int)
    x = ((np.arange(left, left + width) + 0.5) * columns / wide).astype(int)
    return depth[:, y[:, None], x].astype(np.float32)


def _reason(clip: PosedClip, config: PosedConfig, frames: int, depth: bool) -> str | None:
    """Why a clip cannot be trained on, or None."""
    if held_out(clip):
        return "held out"
    if len(clip) < frames:
        return f"shorter than {frames} frames"
    if clip.fps != FPS:
        return f"not of {FPS:g} frames/s"
    if not clip.metric and depth:
        return "without metric scale, which depth needs"
    if not clip.has_unit and not config.any_scale:
        return "without metric scale (--any-scale takes them as they are)"
    if depth and not (clip.folder and (clip.folder / "depth.npz").is_file()):
        return "without depth"
    focal = clip.intrinsics[:, :2]
    if np.ptp(focal, axis=0).max() > ZOOM * focal.min():
        return "that zoom"
    return None
