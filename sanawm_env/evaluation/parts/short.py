"""Seconds of a world against the true render: frames, camera, flow, sampler schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from sanawm_env.evaluation.camera_recovery.poses import recover_poses
from sanawm_env.evaluation.metrics.baselines import frozen, nearest_homography
from sanawm_env.evaluation.metrics.camera_error import camera_error
from sanawm_env.evaluation.metrics.drift import look
from sanawm_env.evaluation.metrics.obedience import try_scene
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.evaluation.metrics.similarity import gmsd, ssim
from sanawm_env.evaluation.parts.setting import Frames, Scene, Setting, load_scene, run_world
from sanawm_env.world.model import WorldModel

__all__ = ["ESTIMATOR", "camera", "fidelity", "flow", "steps"]

MARKS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Seconds at which frames are compared with the truth."""
CAMERA_S = 5.0
"""Seconds over which the camera is recovered."""
ESTIMATOR = "OpenCV: tracked corners and solvePnPRansac, from the true depth of frame 0"
"""How cameras are recovered from frames."""


def fidelity(world: WorldModel, seed: int, setting: Setting) -> dict[str, Any]:
    """Frames against the true render and against two baselines, at `MARKS`; the recovered camera over 5 s."""
    scene = load_scene(world, seed, MARKS[-1])
    made = run_world(world, scene, seed, setting)
    marks = [round(s * world.config.fps) for s in MARKS]
    truth = scene.truth[marks]
    warped = nearest_homography(
        scene.truth[0], scene.truth[[0, *marks]], scene.c2w[[0, *marks]], scene.intrinsics, scene.depth0, scene.up
    )
    shown = {"generated": made[marks], "frozen": frozen(scene.truth[0], len(marks)), "homography": warped.frames[1:]}
    scores = {
        name: {"psnr": psnr(v, truth).tolist(), "ssim": ssim(v, truth).tolist(), "gmsd": gmsd(v, truth).tolist()}
        for name, v in shown.items()
    }
    sharp = [[look(a).sharpness, look(b).sharpness] for a, b in zip(made[marks], truth, strict=True)]
    return {
        "family": scene.family,
        "seconds": MARKS,
        "scores": scores,
        "sharpness": sharp,
        **camera(scene, made, world),
    }


def camera(scene: Scene, made: Frames, world: WorldModel) -> dict[str, Any]:
    """Camera errors of generated frames, and of the true ones: what the estimator itself gets wrong."""
    frames = round(CAMERA_S * world.config.fps) + 1
    out = {}
    for name, video in (("camera", made), ("camera_true", scene.truth)):
        found = recover_poses(video[:frames], scene.intrinsics, every=4, depth0=scene.depth0)
        error = camera_error(found.c2w, scene.c2w[found.frames], found.ok, metric=found.metric, reason=found.reason)
        out[name] = asdict(error)
    return out


def flow(world: WorldModel, seed: int, setting: Setting) -> dict[str, Any]:
    """Whether optical flow has the commanded direction: yaw, pitch, forward."""
    captions = setting.captions
    read = None if captions is None else lambda family: captions.of(family)
    trial = try_scene(world, seed, chunk_frames=setting.chunk_frames, sigmas=setting.sigmas, read=read)
    return {"family": trial.family, "obeyed": list(trial.obeyed), "true_obeyed": list(trial.true_obeyed)}


def steps(
    world: WorldModel, seed: int, setting: Setting, schedules: dict[str, Sequence[float]] | None = None
) -> dict[str, Any]:
    """PSNR against the true render under other sampler schedules, and of its own schedule, at 1 and 4 s."""
    scene = load_scene(world, seed, 4.0)
    marks = [round(s * world.config.fps) for s in (1.0, 4.0)]
    out: dict[str, Any] = {"family": scene.family, "seconds": (1.0, 4.0), "psnr": {}, "sharpness": {}}
    for name, sigmas in (schedules or step_schedules(world)).items():
        made = run_world(world, scene, seed, replace(setting, sigmas=tuple(sigmas)))[marks]
        out["psnr"][name] = psnr(made, scene.truth[marks]).tolist()
        out["sharpness"][name] = [look(frame).sharpness for frame in made]
    return out


def step_schedules(world: WorldModel, shift: float = 9.95) -> dict[str, tuple[float, ...]]:
    """Schedules by name: the checkpoint's own, and 1, 2, 4 and 30 steps of the release's shifted one."""
    out: dict[str, tuple[float, ...]] = {"own": world.config.sigmas}
    for count in (1, 2, 4, 30):
        u = np.linspace(1, 0, count + 1)
        out[str(count)] = tuple(float(s) for s in shift * u / (1 + (shift - 1) * u))
    return out
