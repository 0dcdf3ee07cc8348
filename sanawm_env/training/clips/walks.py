"""Long walks through coded clips: what a streaming model sees, one segment after another.

Every slot follows one walk at a time and starts another when it ends, so that slots are at different times of
different walks. Three walks in ten turn round and retrace their steps: what comes back into view was seen before.
Three in ten stand still for a while, up to 45 s: a world that only ever moved does not know that nothing may change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sanawm_env.training.clips.data import LatentPool
from sanawm_env.world.conditioning import camera_conditions


@dataclass(frozen=True)
class WalkConfig:
    """How long walks are and where they go."""

    segment: int = 12
    """Latent frames per training step; a multiple of the chunk length."""
    longest: int = 60
    """Latent frames of the longest walk."""
    full: float = 0.35
    """Share of walks of full length; the others end after a random number of segments."""
    turn_back: float = 0.3
    """Share of walks that turn round and retrace their steps."""
    time_shift: float = 0.3
    """Share of walks that begin at a random time instead of 0 s."""
    pause: float = 0.3
    """Share of walks that stand still once, at a random place of the walk (its beginning included)."""
    longest_pause: int = 180
    """Latent frames of the longest pause; a multiple of the segment."""


class Footstep(NamedTuple):
    """One latent frame of a walk."""

    entry: int
    """Clip of the pool."""
    latent: int
    """Latent frame of the clip."""
    held: bool = False
    """The camera stands where that latent frame begins, instead of moving through it."""


@dataclass(frozen=True)
class Segment:
    """The next piece of every slot's walk."""

    fresh: Tensor
    """`(B,)` bool: the slot begins a new walk, with `still` as its first frame."""
    still: Tensor
    """`(B, C, 1, h, w)` first latent of the walk; only meaningful where `fresh`."""
    latents: Tensor
    """`(B, C, n, h, w)`."""
    still_camera: dict[str, Tensor]
    """Camera inputs of the first frame, T = 1."""
    camera: dict[str, Tensor]
    """Camera inputs of the segment, T = n."""
    shift: Tensor
    """`(B,)` latent frames by which the walk's clock runs ahead."""
    depth: Tensor
    """`(B,)` latent frames of the walk done before this segment."""


class Walks:
    """Endless segments of walks through a pool of clips."""

    def __init__(self, config: WalkConfig, pool: LatentPool, slots: int, *, seed: int = 0) -> None:
        self.config, self.pool, self.slots = config, pool, slots
        if config.longest > pool.config.clip_latents:
            raise ValueError(
                f"walks.longest {config.longest} exceeds the clips' {pool.config.clip_latents} latent frames; "
                "raise data.clip_latents or lower it."
            )
        self.generator = torch.Generator().manual_seed(seed)
        self.at = [0] * slots
        self.path: list[list[Footstep]] = [[] for _ in range(slots)]
        self.shift = [0] * slots
        self.images: list[Tensor] = [pool.images[0, 0]] * slots
        self.disparity: list[Tensor] = [torch.empty(0)] * slots
        """The anchor of every slot, when the pool has anchors."""

    def next(self) -> Segment:
        """The next segment of every slot."""
        n = self.config.segment
        fresh = [self.at[i] >= len(self.path[i]) for i in range(self.slots)]
        for i in range(self.slots):
            if fresh[i]:
                self._begin(i)
        pool = self.pool
        steps = [self.path[i][self.at[i] : self.at[i] + n] for i in range(self.slots)]
        latents = torch.stack([torch.stack([self._latent(at) for at in some], 1) for some in steps]).float()
        still = torch.stack([pool.stills[path[0].entry, :, path[0].latent][:, None] for path in self.path]).float()
        first = torch.stack([self._pose(path[0]) for path in self.path])
        windows = torch.stack([torch.stack([self._window(at) for at in some]) for some in steps])
        windows = torch.linalg.solve(first[:, None, None].double(), windows.double())
        intrinsics = torch.stack([pool.intrinsics[path[0].entry] for path in self.path])
        identity = torch.eye(4, dtype=windows.dtype, device=windows.device).expand(
            self.slots, 1, windows.shape[2], 4, 4
        )
        size = (pool.config.height, pool.config.width)
        grid = (latents.shape[3] // pool.patch[0], latents.shape[4] // pool.patch[1])
        depth = torch.tensor(self.at)
        self.at = [a + n for a in self.at]
        still_camera = camera_conditions((identity[:, :, -1], identity), intrinsics, size, grid)
        camera = camera_conditions((windows[:, :, -1], windows), intrinsics, size, grid)
        if pool.depth is not None:
            images, disparity = torch.stack(self.images), torch.stack(self.disparity)
            still_camera["anchor"] = pool.anchors(images, disparity, identity, intrinsics)
            camera["anchor"] = pool.anchors(images, disparity, windows, intrinsics)
        return Segment(
            torch.tensor(fresh),
            still,
            latents,
            still_camera,
            camera,
            torch.tensor(self.shift),
            depth,
        )

    def _begin(self, slot: int) -> None:
        c, pool = self.config, self.pool
        total, n = pool.config.clip_latents, c.segment
        longest = c.longest // n
        length = n * (longest if self._chance(c.full) else self._whole(1, longest))
        pool.draw(length)
        entry = pool.pick()
        start = self._whole(0, total - length)
        path = [Footstep(entry, start + j) for j in range(length)]
        if self._chance(c.turn_back):
            out = self._whole(1, length - 1)
            back = pool.reversed_of(entry)
            # After k latents of the clip, its reversed twin goes on at latent total - k with the same pose.
            twin = total - start - out
            turned = path[:out] + [Footstep(back, twin + j) for j in range(min(length - out, total - twin))]
            path = turned[: len(turned) // n * n] or path
        if self._chance(c.pause):
            at = self._whole(0, len(path) - 1)
            path[at:at] = [path[at]._replace(held=True)] * (n * self._whole(1, max(1, c.longest_pause // n)))
        self.path[slot] = path
        if pool.depth is not None:
            self.images[slot] = pool.images[path[0].entry, path[0].latent]
            camera = pool.intrinsics[path[0].entry]
            self.disparity[slot] = pool.disparity(self.images[slot][None], camera[None])[0]
        self.at[slot] = 0
        self.shift[slot] = self._whole(1, 400) if self._chance(c.time_shift) else 0

    def _latent(self, at: Footstep) -> Tensor:
        return (self.pool.stills if at.held else self.pool.motion)[at.entry, :, at.latent]

    def _pose(self, at: Footstep) -> Tensor:
        return self.pool.c2w[at.entry, at.latent * self.pool.vae.temporal_stride]

    def _window(self, at: Footstep) -> Tensor:
        stride = self.pool.vae.temporal_stride
        if at.held:
            return self._pose(at).expand(stride, -1, -1)
        return self.pool.c2w[at.entry, at.latent * stride + 1 : (at.latent + 1) * stride + 1]

    def _chance(self, share: float) -> bool:
        return bool(torch.rand((), generator=self.generator) < share)

    def _whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))
