"""What a world makes up where frame 0 showed nothing: is it sharp, is it likely, is it still there later?

And beside it, in the same rollout, what it makes of the rest.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sanawm_env.camera import relative_to_first
from sanawm_env.evaluation.metrics.unseen import (
    LEG_S,
    SKY,
    Mask,
    energy,
    glances,
    look_away,
    masked_psnr,
    masked_ssim,
    peaks,
    split_by_first,
)
from sanawm_env.evaluation.parts.setting import Frames, Scene, Setting, run_world
from sanawm_env.scenes import render_scene, sample_scenes, smooth_motion
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.anchor.depth import DepthNet
from sanawm_env.world.networks.anchor.views import to_pixels
from sanawm_env.world.rollout import begin, starts_of, states_along

__all__ = ["beyond", "views"]

LEAST = 0.05
"""Share of a frame that must be unseen, or seen, for that to count."""
_EVERY = 16
"""Depth is compared at every so-manieth pixel of each side."""


def beyond(world: WorldModel, seed: int, setting: Setting) -> dict[str, Any]:
    """Look away from the first view every ten seconds, at the same places, for `setting.long_s` and half a turn more.

    `looks` are the moments when the camera looks furthest away (`metrics.unseen.peaks`), judged over the pixels that
    frame 0 does not show by true geometry: energy of gradients, PSNR and SSIM against the true render, PSNR against
    what the world itself showed at the first of these moments; features of the frame by the depth network of the
    built-in `small`, which only ever saw true renders, for a distance between distributions; and, of anchored worlds,
    depth in metres, world's and true. `glances` are moments on the way there, judged over the pixels that frame 0
    does show.
    """
    fps = world.config.fps
    seconds = setting.long_s + LEG_S
    far, near = peaks(seconds, fps), glances(seconds, fps)
    marks = sorted(far + near)
    scene, depth = _scene(world, seed, seconds, marks)
    made, guesses = _made_views(world, scene, seed, setting, marks)
    first_look = made[marks.index(far[0])]
    rows: dict[str, list[dict[str, Any]]] = {"looks": [], "glances": []}
    for i, (mark, truth) in enumerate(zip(marks, scene.truth[1:], strict=True)):
        away = mark in far
        seen, unseen = split_by_first(depth[i], scene.c2w[mark], scene.intrinsics, scene.depth0)
        where = unseen if away else seen
        row: dict[str, Any] = {"seconds": mark / fps, "share": float(where.mean())}
        if where.mean() >= LEAST:
            row |= _scores(made[i], truth, scene.truth[0], where)
            if guesses is not None:
                row["depth"] = _pairs(guesses[i], depth[i], where)
            if away:
                row["features"] = _features(made[i], scene.intrinsics)
                row["true_features"] = _features(truth, scene.intrinsics)
            if mark in far[1:]:
                row["self_psnr"] = masked_psnr(made[i], first_look, where)
        rows["looks" if away else "glances"].append(row)
    return {"family": scene.family, **rows}


def views(world: WorldModel, seed: int, setting: Setting) -> list[Frames]:
    """Two rows `(H, n*W, 3)` of a picture: frame 0 and the true views that `beyond` judges, and the world's."""
    seconds = setting.long_s + LEG_S
    marks = peaks(seconds, world.config.fps)
    scene, _ = _scene(world, seed, seconds, marks)
    made, _ = _made_views(world, scene, seed, setting, marks)
    return [np.concatenate(list(row), axis=1) for row in (scene.truth, np.concatenate((scene.truth[:1], made)))]


def _scene(world: WorldModel, seed: int, seconds: float, marks: list[int]) -> tuple[Scene, NDArray[np.float64]]:
    """The scene along its path, of which only frame 0 and `marks` are rendered; and true depth at `marks`."""
    size, fps = (world.config.height, world.config.width), world.config.fps
    procedural, intrinsics, families = sample_scenes([seed], *size)
    own = smooth_motion([seed], procedural, round(LEG_S * fps) + 1, fps)[0].double().numpy()
    c2w = look_away(own, seconds, 1 if seed % 2 else -1, fps)
    truth, depth = render_scene(procedural, torch.from_numpy(c2w[[0, *marks]]).float(), intrinsics[0], *size)
    metres = np.minimum(depth.double().numpy(), SKY)  # JSON has no infinity
    relative, up = relative_to_first(torch.from_numpy(c2w)).numpy(), c2w[0, :3, :3].T @ np.array([0.0, -1.0, 0.0])
    return Scene(families[0], truth.numpy(), metres[0], relative, intrinsics[0].double().numpy(), up), metres[1:]


def _made_views(
    world: WorldModel, scene: Scene, seed: int, setting: Setting, marks: list[int]
) -> tuple[Frames, list[NDArray[np.float32]] | None]:
    """The world's pictures at `marks`, and their depth if it is anchored."""
    if not world.config.model.anchor:
        return run_world(world, scene, seed, setting)[marks], None
    from sanawm_env.envs.sensors.anchored_depth import AnchoredDepth

    sensor, frames, depths, at = AnchoredDepth(world), [], [], 1
    state, _ = begin(world, starts_of(scene.truth[:1], scene.intrinsics[None]), [seed], setting.text(scene))
    ahead = scene.c2w[None, 1:]
    for reached, chunk in states_along(world, state, ahead, chunk_frames=setting.chunk_frames, sigmas=setting.sigmas):
        for mark in marks:
            if at <= mark < at + chunk.shape[1]:
                frames.append(chunk[0, mark - at])
                looking = reached.changed(c2w=torch.from_numpy(scene.c2w[mark][None]).to(reached.c2w))
                depths.append(np.minimum(sensor.depth(looking, frames[-1:])[0], SKY))
        at += chunk.shape[1]
    return np.stack(frames), depths


def _scores(made: Frames, truth: Frames, first: Frames, where: Mask) -> dict[str, float]:
    """Of a frame, over some of its pixels."""
    return {
        "energy": energy(made, where),
        "true_energy": energy(truth, where),
        "psnr": masked_psnr(made, truth, where),
        "frozen_psnr": masked_psnr(first, truth, where),
        "ssim": masked_ssim(made, truth, where),
        "frozen_ssim": masked_ssim(first, truth, where),
    }


def _pairs(guess: NDArray[np.float32], truth: NDArray[np.float64], where: Mask) -> list[list[float]]:
    """Guessed and true metres at every so-manieth pixel that counts."""
    some = (slice(_EVERY // 2, None, _EVERY),) * 2
    return np.stack((guess[some], truth[some]), -1)[where[some]].round(4).tolist()


def _features(frame: Frames, intrinsics: NDArray[np.float64]) -> list[float]:
    """Means over the frame of what the depth network's second deepest level holds, `(80,)`."""
    net = _judge()
    with torch.inference_mode():
        level = net.levels(to_pixels(torch.from_numpy(frame[None])), torch.from_numpy(intrinsics[None]))[2]
    return [round(float(v), 4) for v in level.mean((2, 3))[0]]


@cache
def _judge() -> DepthNet:
    """The depth network of the built-in `small`, on the CPU."""
    net = WorldModel.load("small").transformer.anchor.depth
    assert isinstance(net, DepthNet)
    return net
