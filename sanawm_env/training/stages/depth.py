"""Training of the anchor's depth network on rendered views."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sanawm_env.files import replacing
from sanawm_env.scenes.clips import sample_scenes
from sanawm_env.scenes.motion import smooth_motion
from sanawm_env.scenes.raycast.render import render
from sanawm_env.scenes.seeds import STAGE_SEEDS, VALIDATION_SEEDS, SceneSeeds
from sanawm_env.training.clips.posed import PosedClips, PosedConfig
from sanawm_env.training.clips.standpoints import standpoints
from sanawm_env.training.host import HostSettings
from sanawm_env.training.loop import clock, learning_rate, train_for
from sanawm_env.training.optim import EMA, MuonAdamW, clip_gradients
from sanawm_env.training.parallel import SEED_SPACING, average, join, leave
from sanawm_env.training.store import load_progress, load_weights, save_with_progress
from sanawm_env.world.networks.anchor.depth import FAR, DepthNet, log_disparity

VIEWS = 6
"""Views rendered of every scene: half along a walk, half from anywhere (`standpoints`)."""
REUSE = 2
"""Batches drawn for every batch rendered."""
_SPACING = 40
"""Frames of motion between the views of a walk."""
_SOFT = 0.3
"""Share of images that are softened as the pictures that a world makes are."""
_CLOSE = 3.0
"""Metres; what is nearer than this weighs up to `_WEIGHT` times as much."""
_WEIGHT = 3.0
HELD_OUT = VALIDATION_SEEDS[:64]
"""Scenes that the reported error is of."""


@dataclass(frozen=True)
class DepthTrainConfig(HostSettings):
    """`sanawm train depth`."""

    out: Path = Path("runs/depth")
    """Where `depth.safetensors` and `log.jsonl` go; a network that is there is trained further."""
    minutes: float = 15.0
    """Wall-clock budget."""
    batch: int = 24
    """Views per step; a multiple of 6, the views of a scene."""
    decay_share: float = 0.4
    """Share of the budget over which the learning rate falls."""
    lr_muon: float = 0.02
    lr_adam: float = 2e-3
    ema: float = 0.998
    height: int = 128
    width: int = 224
    """Pixels."""
    first_seed: int = STAGE_SEEDS["depth"].start
    """Scene seeds count up from here, see `scenes.seeds`."""
    posed: PosedConfig = field(default_factory=PosedConfig)
    """Clips of your own among the scenes; they need depth in metres."""

    def __post_init__(self) -> None:
        if self.batch % VIEWS:
            raise ValueError(f"batch {self.batch} must be a multiple of {VIEWS}, the views of a scene.")

    @property
    def path(self) -> Path:
        """Of the network."""
        return self.out / "depth.safetensors"

    def clips_of(self, rank: int) -> PosedClips | None:
        """The clips of process `rank`; errors as of `PosedClips`."""
        return self.posed.open(self.height, self.width, VIEWS, seed=self.seed + SEED_SPACING * rank, depth=True)


def train_depth(config: DepthTrainConfig) -> Path:
    """Train, or go on training, the depth network.

    Returns:
        The folder with `depth.safetensors` (EMA weights).
    """
    config.prepare()
    rank, _ = join()
    _learn(config, DepthNet(), config.clips_of(rank))
    leave()
    return config.out


def teach_depth(net: DepthNet, config: DepthTrainConfig) -> float:
    """Teach a world's depth network, in place; `config.out` keeps what is learned, and a later call goes on there.

    Where the clips of `config.posed` have no depth it stays as it is, with a notice.

    Returns:
        Minutes spent: `config.minutes` less those of earlier calls.
    """
    try:
        posed = config.clips_of(join()[0])
    except ValueError as error:
        print(f"the depth network stays as it is: {error}", file=sys.stderr)
        return 0.0
    left = max(0.0, config.minutes - _progress(config)["minutes"])
    net.load_state_dict(_learn(replace(config, minutes=left), net, posed))
    return left


def _learn(config: DepthTrainConfig, start: DepthNet, posed: PosedClips | None) -> dict[str, Tensor]:
    """Train for `config.minutes` from what lies in `config.out`, else from the weights of `start`; averaged weights."""
    rank, ranks = join()
    net = copy.deepcopy(start).to(config.device).requires_grad_(True)
    config.out.mkdir(parents=True, exist_ok=True)
    path, progress = config.path, _progress(config)
    if path.exists():
        load_weights(path, net)
    optimizer, ema = MuonAdamW(net, config.lr_muon, config.lr_adam), EMA(net, config.ema)
    views = _Views(config, SceneSeeds(progress["next_seed"], rank, ranks), posed)
    before, minutes_now = progress["minutes"], clock()

    def step(minutes: float) -> tuple[dict[str, float], float]:
        image, intrinsics, target = views.draw()
        with torch.autocast(config.device.split(":")[0], torch.bfloat16):
            guess = net(image, intrinsics)
        loss = depth_loss(guess, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value, after = average(net, loss.item(), minutes_now())
        norm = clip_gradients(net.parameters(), 1.0)
        if not math.isfinite(value) or not math.isfinite(norm):
            return {"loss": 0.0}, after  # skip the update, keep the run
        optimizer.scale_lr(learning_rate(progress["step"], 100, minutes, config.minutes, config.decay_share))
        optimizer.step()
        ema.update(net, progress["step"])
        return {"loss": value}, after

    def save(minutes: float) -> None:
        progress["next_seed"] = views.scenes.next_seed
        save_with_progress(path, ema.values, progress | {"minutes": before + minutes})
        print(f" held-out error of depth {held_out_error(config, ema):.4f}")

    train_for(
        config.minutes, step, save, out=config.out, progress=progress, clips_per_step=config.batch, save_every=5.0
    )
    return ema.values


def _progress(config: DepthTrainConfig) -> dict[str, Any]:
    """How far the run in `config.out` went; at its beginning, too, if its weights were put there to begin with."""
    if not (config.path.exists() and config.path.with_name("progress.json").exists()):
        return {"step": 0, "clips": 0, "minutes": 0.0, "next_seed": config.first_seed}
    progress = load_progress(config.path)
    if "next_seed" not in progress:  # a folder from before: its run used fewer scenes than it counted views
        scenes = SceneSeeds(config.first_seed)
        scenes.skip(progress["clips"])
        progress["next_seed"] = scenes.next_seed
    return progress


def depth_loss(guess: Tensor, target: Tensor) -> Tensor:
    """Mean error of log disparity, near things first, and of its steps from pixel to pixel; `(B, h, w)` both."""
    weight = ((target.exp() - FAR) * _CLOSE).clamp(1, _WEIGHT)
    steps = sum(((guess - target).diff(dim=d)).abs().mean() for d in (1, 2))
    return ((guess - target).abs() * weight).sum() / weight.sum() + 0.5 * steps


@torch.no_grad()
def held_out_error(config: DepthTrainConfig, ema: EMA) -> float:
    """Mean error of log disparity over `HELD_OUT`; leaves a sheet of images, truth and guess."""
    net = DepthNet().to(config.device)
    net.load_state_dict(ema.values)
    image, intrinsics, target = render_views(config, HELD_OUT)
    guess = net(image, intrinsics)
    pick = slice(0, VIEWS * 8, VIEWS)
    maps = [((x[pick] + 4) / 4).clamp(0, 1)[..., None].expand(-1, -1, -1, 3) for x in (target, guess)]
    small = (image[pick, :, ::2, ::2].permute(0, 2, 3, 1) + 1) / 2
    sheet = torch.cat((small, *maps), 2).flatten(0, 1)
    with replacing(config.out / "sheet.png") as temporary:
        Image.fromarray((sheet * 255).round().to(torch.uint8).cpu().numpy()).save(temporary)
    return float((guess - target).abs().mean())


@torch.no_grad()
def render_views(config: DepthTrainConfig, seeds: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Views of every seed's scene, see `VIEWS`.

    Returns:
        Images `(N, 3, H, W)`, intrinsics `(N, 4)` and log disparity `(N, H/2, W/2)`.
    """
    scene, intrinsics, _ = sample_scenes(seeds, config.height, config.width)
    walk = smooth_motion(seeds, scene, 1 + (VIEWS // 2 - 1) * _SPACING)[:, ::_SPACING]
    c2w = torch.cat((walk, standpoints(seeds, scene, VIEWS - VIEWS // 2)), 1)
    device = config.device
    rgb, depth = render(
        scene.to(device), c2w.to(device), intrinsics.to(device), config.height, config.width,
        compile=config.compile_renderer,
    )  # fmt: skip
    image = rgb.flatten(0, 1).permute(0, 3, 1, 2) * 2 - 1
    return image, intrinsics.to(device).repeat_interleave(VIEWS, 0), _target(depth.flatten(0, 1))


def posed_views(config: DepthTrainConfig, posed: PosedClips, clips: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of the next posed clips: as `render_views`."""
    rgb, depth, intrinsics = (value.to(config.device) for value in posed.views(clips, VIEWS))
    return rgb.permute(0, 3, 1, 2).float() / 127.5 - 1, intrinsics, _target(depth)


def _target(depth: Tensor) -> Tensor:
    """Log disparity `(N, H/2, W/2)` from z-depth `(N, H, W)`."""
    # Of four pixels the nearest: an object stays whole.
    return log_disparity(-torch.nn.functional.max_pool2d(-depth.clamp_max(1e6), 2))


class _Views:
    """Endless batches from a pool of rendered views, mirrored half the time."""

    def __init__(self, config: DepthTrainConfig, scenes: SceneSeeds, posed: PosedClips | None = None) -> None:
        self.config, self.scenes, self.posed, self.turn = config, scenes, posed, 0
        self.pool: list[Tensor] = []

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, intrinsics and log disparity of one batch."""
        if self.turn % REUSE == 0:
            count = self.config.batch // VIEWS
            if self.posed is not None and self.posed.turn():
                new = posed_views(self.config, self.posed, count)
            else:
                new = render_views(self.config, self.scenes.take(count))
            keep = 8 * self.config.batch
            old = self.pool or [values[:0] for values in new]
            self.pool = [torch.cat((a[-keep:], b)) for a, b in zip(old, new, strict=True)]
        self.turn += 1
        pick = torch.randint(len(self.pool[0]), (self.config.batch,))
        image, intrinsics, target = (values[pick] for values in self.pool)
        if bool(torch.rand(()) < 0.5):
            image, target = image.flip(3), target.flip(2)
            intrinsics = torch.cat((intrinsics[:, :2], self.config.width - intrinsics[:, 2:3], intrinsics[:, 3:]), 1)
        return _soften(image), intrinsics, target


def _soften(image: Tensor) -> Tensor:
    """Blur some of the images `(B, 3, H, W)`: the sensor looks at pictures that the world made, too."""
    small = torch.nn.functional.avg_pool2d(image, 2)
    soft = torch.nn.functional.interpolate(small, size=image.shape[2:], mode="bilinear", align_corners=False)
    amount = torch.rand(len(image), 1, 1, 1, device=image.device) * (torch.rand(len(image), 1, 1, 1) < _SOFT).to(image)
    return torch.lerp(image, soft, amount)
