"""A pool of coded clips, rendered on the fly from seeds or read from a dataset, and reused a few times.

Rendering is the dearer half on a GPU-less machine, so each clip enters the pool four times: as it is, mirrored,
played backwards, and both; and every entry is cropped afresh each time it is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sanawm_env.scenes import make_clips
from sanawm_env.scenes.seeds import SceneSeeds
from sanawm_env.training.clips.coded import CodedClips
from sanawm_env.training.clips.posed import PosedClips
from sanawm_env.training.clips.variants import VARIANTS, Coded, code_variants
from sanawm_env.world.conditioning import camera_conditions
from sanawm_env.world.networks.anchor.depth import DepthNet
from sanawm_env.world.networks.anchor.views import anchor_views, code_views, to_pixels
from sanawm_env.world.networks.vae.tiny import TinyVAE

RENDER = 8
"""Clips rendered at a time."""


@dataclass(frozen=True)
class DataConfig:
    """What the training clips are."""

    height: int = 128
    width: int = 224
    """Pixels."""
    clip_latents: int = 10
    """Latent frames rendered per clip, after the first image."""
    first_seed: int = 0
    """Scene seeds count up from here, see `scenes.seeds`."""
    pool: int = 4096
    """Entries kept (each rendered clip makes four)."""
    reuse: float = 3.0
    """How often an entry is drawn on average before it is replaced."""
    origin_jitter: float = 0.0
    """Share of crops whose world origin is moved away from frame 0, as it is late in a long rollout."""
    time_jitter: float = 0.3
    """Share of crops whose absolute time is shifted, likewise."""


@dataclass(frozen=True)
class Batch:
    """Cropped, coded clips, ready for the model."""

    latents: Tensor
    """(B, C, T, h, w); frame 0 is a coded still."""
    raymap: Tensor
    """(B, T, 20)."""
    plucker: Tensor
    """(B, 6*stride, T, rows, columns) on the token grid."""
    frames: Tensor
    """(B, T) absolute latent-frame index."""
    anchor: Tensor | None = None
    """(B, C + 1, T, h, w) frame 0 warped to every frame, see `sanawm_env.world.networks.anchor.views`."""

    def inputs(self) -> dict[str, Tensor]:
        """Conditions of the transformer."""
        given = {"raymap": self.raymap, "plucker": self.plucker, "frames": self.frames}
        return given if self.anchor is None else given | {"anchor": self.anchor}


class LatentPool:
    """Endless random crops of procedural clips."""

    def __init__(
        self,
        config: DataConfig,
        vae: TinyVAE,
        patch: tuple[int, int],
        *,
        seed: int = 0,
        compile: bool = False,
        depth: DepthNet | None = None,
        scenes: SceneSeeds | None = None,
        posed: PosedClips | None = None,
    ) -> None:
        """Make an empty pool.

        Args:
            config: What clips to render.
            vae: What codes them.
            patch: Latent rows and columns of a token.
            seed: Of crops.
            compile: Fuse the renderer.
            depth: Of an anchored world; clips then come with their anchors.
            scenes: Where clips come from; None counts up from `config.first_seed`.
            posed: Where some of them come from instead; its pieces are as long as the clips.
        """
        self.depth = depth
        self.config, self.vae, self.patch, self.compile = config, vae, patch, compile
        self.device = vae.mean.device
        self.scenes = SceneSeeds(config.first_seed) if scenes is None else scenes
        """Whose seeds the next clips have."""
        self.posed = None if posed is None else CodedClips(posed, vae)
        self.generator = torch.Generator().manual_seed(seed)
        if config.pool % (RENDER * VARIANTS):
            raise ValueError(f"data.pool must be a multiple of {RENDER * VARIANTS}; got {config.pool}.")
        self.drawn = 0
        """Latent frames drawn."""
        self.written = 0
        """Entries written."""
        stride, space = vae.temporal_stride, vae.spatial_stride
        grid = (vae.latent_channels, config.clip_latents, config.height // space, config.width // space)
        frames = 1 + config.clip_latents * stride
        self.motion = torch.empty(config.pool, *grid, dtype=torch.float16, device=self.device)
        self.stills = torch.empty_like(self.motion)
        self.c2w = torch.empty(config.pool, frames, 4, 4, device=self.device)
        self.intrinsics = torch.empty(config.pool, 4, device=self.device)
        size = (config.height, config.width, 3) if depth is not None else (0, 0, 3)
        self.images = torch.empty(config.pool, config.clip_latents, *size, dtype=torch.uint8, device=self.device)
        """What the stills show, for anchors."""

    @torch.no_grad()
    def render(self) -> None:
        """Take `RENDER` new clips, rendered or posed ones, and overwrite the oldest entries with their variants."""
        c = self.config
        if self.posed is not None and self.posed.clips.turn():
            blocks = iter(self.posed.take(RENDER))
        else:
            frames = 1 + c.clip_latents * self.vae.temporal_stride
            seeds = self.scenes.take(RENDER)
            out = make_clips(seeds, frames, c.height, c.width, device=self.device, compile=self.compile)
            blocks = code_variants(self.vae, out.rgb, out.c2w, out.intrinsics)
        for block in blocks:
            self._keep(block)

    def _keep(self, block: Coded) -> None:
        """Put coded clips into the next entries."""
        for i in range(len(block.motion)):
            slot = self.written % self.config.pool
            self.motion[slot], self.stills[slot] = block.motion[i], block.stills[i]
            self.c2w[slot], self.intrinsics[slot] = block.c2w[i], block.intrinsics[i]
            if self.depth is not None:
                self.images[slot] = block.images[i]
            self.written += 1

    @property
    def entries(self) -> int:
        """Entries to draw from."""
        return min(self.written, self.config.pool)

    def fill(self, entries: int) -> None:
        """Render until at least `entries` entries are there."""
        while self.written < min(entries, self.config.pool):
            self.render()

    def draw(self, latents: int) -> None:
        """Count `latents` latent frames as drawn, and render new clips when the pool has been used enough."""
        self.drawn += latents
        while self.written * self.config.clip_latents * self.config.reuse < self.drawn:
            self.render()

    def pick(self) -> int:
        """A random entry that will not be overwritten soon."""
        if self.written < self.config.pool:
            return int(torch.randint(self.written, (), generator=self.generator))
        keep = self.config.pool - RENDER * VARIANTS or self.config.pool
        return (self.written - 1 - int(torch.randint(keep, (), generator=self.generator))) % self.config.pool

    def reversed_of(self, entry: int) -> int:
        """The entry that holds the same clip played backwards."""
        block, clip = divmod(entry, RENDER)
        return (block ^ 1) * RENDER + clip

    def sample(self, batch: int, latents: int) -> Batch:
        """Draw `batch` random crops of `latents` latent frames (the still included), rendering as needed."""
        c = self.config
        # A crop counts as a whole clip: its neighbours in time show nearly the same.
        self.draw(batch * c.clip_latents)
        g = self.generator
        size = self.entries
        pick = torch.randint(size, (batch,), generator=g)
        start = torch.randint(c.clip_latents - (latents - 1) + 1, (batch,), generator=g)
        stride = self.vae.temporal_stride
        z = torch.stack(
            [
                torch.cat((self.stills[p][:, s : s + 1], self.motion[p][:, s : s + latents - 1]), 1)
                for p, s in zip(pick.tolist(), start.tolist(), strict=True)
            ]
        ).float()
        frames = 1 + (latents - 1) * stride
        c2w = torch.stack(
            [self.c2w[p, s * stride : s * stride + frames] for p, s in zip(pick.tolist(), start.tolist(), strict=True)]
        )
        images = self.images[pick.to(self.device), start.to(self.device)] if self.depth is not None else None
        return assemble(z, c2w, self.intrinsics[pick.to(self.device)], self, g, images)

    @torch.no_grad()
    def disparity(self, images: Tensor, intrinsics: Tensor) -> Tensor:
        """Guessed inverse depth of `(B, H, W, 3)` uint8 images, see `DepthNet.disparity`."""
        assert self.depth is not None
        return self.depth.disparity(to_pixels(images), intrinsics)

    @torch.no_grad()
    def anchors(self, images: Tensor, disparity: Tensor, windows: Tensor, intrinsics: Tensor) -> Tensor:
        """Hints `(B, C + 1, T, h, w)` of frames seen from `windows`; arguments as `anchor.anchor_views`."""
        return code_views(self.vae, anchor_views(images, disparity, windows, intrinsics))


def assemble(
    z: Tensor,
    c2w: Tensor,
    intrinsics: Tensor,
    pool: LatentPool,
    generator: torch.Generator,
    images: Tensor | None = None,
) -> Batch:
    """Camera inputs and positions of cropped clips, with the jitters of long rollouts."""
    c, stride = pool.config, pool.vae.temporal_stride
    batch, latents = z.shape[0], z.shape[2]
    relative = torch.linalg.solve(c2w[:, :1].double(), c2w.double())
    anchor = None
    if images is not None:  # relative to the image, wherever the jitter puts the world's origin
        disparity = pool.disparity(images, intrinsics)
        anchor = pool.anchors(images, disparity, held_windows(relative, stride), intrinsics)
    moved = torch.rand(batch, generator=generator) < c.origin_jitter
    if bool(moved.any()):
        origin = random_origins(batch, generator).to(relative.device)
        relative = torch.where(moved.to(relative.device)[:, None, None, None], origin[:, None] @ relative, relative)
    shift = torch.randint(1, 1000, (batch, 1), generator=generator) * (
        torch.rand(batch, 1, generator=generator) < c.time_jitter
    )
    index = torch.arange(latents)[None].expand(batch, -1).clone()
    index[:, 1:] += shift
    grid = (z.shape[3] // pool.patch[0], z.shape[4] // pool.patch[1])
    raymap, plucker = camera_inputs(relative, intrinsics, c.height, c.width, stride, grid)
    return Batch(z, raymap, plucker, index.to(z.device), anchor)


def held_windows(c2w: Tensor, stride: int) -> Tensor:
    """Poses `(B, T, stride, 4, 4)` of whole clips `(B, 1 + stride*(T-1), 4, 4)`, frame 0 held."""
    return torch.cat((c2w[:, :1].expand(-1, stride, -1, -1), c2w[:, 1:]), dim=1).unflatten(1, (-1, stride))


def camera_inputs(
    c2w: Tensor, intrinsics: Tensor, height: int, width: int, stride: int, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Raymap `(B, T, 20)` and Plücker windows of whole clips, frame 0 held: what `WorldModel` computes piecewise.

    Args:
        c2w: `(B, 1 + stride*(T-1), 4, 4)` poses in the rollout's world.
        intrinsics: `(B, 4)` px.
        height: Image rows.
        width: Image columns.
        stride: Pixel frames per latent.
        grid: Token rows and columns.
    """
    windows = held_windows(c2w, stride)
    inputs = camera_conditions((windows[:, :, -1], windows), intrinsics, (height, width), grid)
    return inputs["raymap"], inputs["plucker"]


def random_origins(batch: int, generator: torch.Generator) -> Tensor:
    """Random poses `(batch, 4, 4)` of frame 0 in a far-off world frame: any heading, up to 4 m away, little tilt."""
    u = torch.rand(batch, 5, generator=generator, dtype=torch.float64)
    yaw, pitch = (u[:, 0] - 0.5) * 2 * math.pi, (u[:, 1] - 0.5) * 0.6
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    about_y = torch.stack((yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()), -1)
    about_x = torch.stack((one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos()), -1)
    pose = torch.eye(4, dtype=torch.float64).repeat(batch, 1, 1)
    pose[:, :3, :3] = about_y.view(-1, 3, 3) @ about_x.view(-1, 3, 3)
    pose[:, :3, 3] = (u[:, 2:] - 0.5) * torch.tensor([8.0, 1.0, 8.0])
    return pose
