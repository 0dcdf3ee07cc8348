"""What a suite measures, one scene at a time. Every part is a pure function of the world and a scene seed.

Each returns plain JSON: a suite stores it, and an interrupted run goes on where it stopped with the same result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sanawm_env.camera import relative_to_first
from sanawm_env.evaluation.camera_recovery.poses import recover_poses
from sanawm_env.evaluation.captions import Captions
from sanawm_env.evaluation.metrics.baselines import frozen, nearest_homography
from sanawm_env.evaluation.metrics.camera_error import camera_error
from sanawm_env.evaluation.metrics.drift import collapsed as collapsed_frames
from sanawm_env.evaluation.metrics.drift import drift, idle_stability, look
from sanawm_env.evaluation.metrics.obedience import try_scene
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.evaluation.metrics.revisit import find_pairs, loop_path, score_pairs
from sanawm_env.evaluation.metrics.similarity import gmsd, ssim
from sanawm_env.scenes import render_scene, sample_scenes, smooth_motion
from sanawm_env.scenes import scene as procedural
from sanawm_env.scenes.paths import draw_path
from sanawm_env.world.checkpoints.prompts import Text
from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import rollout, starts_of

__all__ = ["PARTS", "Setting", "camera", "drifting", "fidelity", "flow", "idle", "random_walk", "revisit", "steps"]

MARKS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Seconds at which frames are compared with the truth."""
CAMERA_S = 5.0
"""Seconds over which the camera is recovered."""
DRIFT_S = 60.0
"""Seconds of a long rollout."""
LOOP_S = 10.0
"""Seconds of a loop, out and back."""
LOOK_EVERY = 4
"""Every so many frames of a long rollout are looked at."""

ESTIMATOR = "OpenCV: tracked corners and solvePnPRansac, from the true depth of frame 0"
"""How cameras are recovered from frames."""

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Setting:
    """How the world is run."""

    chunk_frames: int | None = None
    """Latent frames per step; None is the checkpoint's default."""
    sigmas: tuple[float, ...] | None = None
    """Noise levels of the sampler; None is the checkpoint's."""
    long_s: float = DRIFT_S
    """Seconds of long rollouts."""
    captions: Captions | None = field(default=None, compare=False)
    """Texts of the scenes, for a world that was trained with some."""

    def text(self, scene: Scene) -> list[Text] | None:
        """Of a scene, as `rollout` takes it."""
        return None if self.captions is None else self.captions.of(scene.family)

    def key(self) -> dict[str, Any]:
        """What results depend on; JSON-ready."""
        how = {"chunk_frames": self.chunk_frames, "sigmas": self.sigmas, "long_s": self.long_s}
        return how | ({} if self.captions is None else self.captions.key())


@dataclass(frozen=True, eq=False)
class Scene:
    """A held-out scene along a path, rendered."""

    family: str
    truth: Frames
    """`(F, H, W, 3)`; only frame 0 where the rest was not asked for."""
    depth0: NDArray[np.float64]
    c2w: NDArray[np.float64]
    """`(F, 4, 4)` relative to frame 0."""
    intrinsics: NDArray[np.float64]
    up: NDArray[np.float64]
    """Away from the ground, in the camera of frame 0."""


def load_scene(
    world: WorldModel,
    seed: int,
    seconds: float,
    path: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    every: int = 1,
    tour: bool = False,
) -> Scene:
    """Render a scene.

    Args:
        world: Decides size and frame rate.
        seed: Of the scene and its path.
        seconds: Length of the scene's own path.
        path: Makes another path `(F, 4, 4)` of it.
        every: Render each so-manieth frame only; `truth` then holds just those.
        tour: Follow a bench path through the free space of the scene, for its own one, which ends at the first
            wall within a minute.
    """
    config = world.config
    size, frames = (config.height, config.width), round(seconds * config.fps) + 1
    scene, intrinsics, families = sample_scenes([seed], *size)
    own = smooth_motion([seed], scene, 1 if tour else frames, config.fps)[0].double().numpy()
    if tour:
        free = partial(_metres, scene)
        own = draw_path(np.random.default_rng([seed, 5]), own[0], free, "simple", frames, config.fps)
    c2w = own if path is None else path(own)
    truth, depth = render_scene(scene, torch.from_numpy(c2w[::every]).float(), intrinsics[0], *size)
    return Scene(
        families[0],
        truth.numpy(),
        depth[0].double().numpy(),
        relative_to_first(torch.from_numpy(c2w)).numpy(),
        intrinsics[0].double().numpy(),
        c2w[0, :3, :3].T @ np.array([0.0, -1.0, 0.0]),
    )


def _metres(scene: procedural.Scene, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points `(n, 3)` to the nearest thing."""
    return scene.clearance(torch.from_numpy(points)[None].float())[0].double().numpy()


def run_world(world: WorldModel, scene: Scene, seed: int, setting: Setting) -> Frames:
    """The world along the scene's path: `(F, H, W, 3)`."""
    made = rollout(
        world, starts_of(scene.truth[:1], scene.intrinsics[None]), scene.c2w[None], [seed], setting.text(scene),
        chunk_frames=setting.chunk_frames, sigmas=setting.sigmas,
    )  # fmt: skip
    return made[0]


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


def revisit(world: WorldModel, seed: int, setting: Setting) -> dict[str, Any]:
    """Frame pairs of a loop of `LOOP_S`: the world against itself, and the true render against itself."""
    fps = world.config.fps
    scene = load_scene(world, seed, LOOP_S / 2 + 1, lambda own: loop_path(own, LOOP_S / 2, fps))
    made = run_world(world, scene, seed, setting)
    pairs = find_pairs(scene.c2w, fps)
    mine, true = score_pairs(made, pairs, fps, fps), score_pairs(scene.truth, pairs, fps, fps)
    last = float(psnr(made[-1], scene.truth[0]))
    return {
        "family": scene.family, "generated": mine.to_dict(), "true": true.to_dict(),
        "pairs": [pair.to_dict() for pair in pairs], "home_psnr_db": last,
    }  # fmt: skip


def drifting(world: WorldModel, seed: int, setting: Setting) -> dict[str, Any]:
    """A minute along a bench path: looks per 10 s window, of the world and of the true render; its cost."""
    fps = world.config.fps
    scene = load_scene(world, seed, setting.long_s, every=LOOK_EVERY, tour=True)
    began = time.perf_counter()
    made = run_world(world, scene, seed, setting)
    seconds = time.perf_counter() - began
    some = made[::LOOK_EVERY]
    return {
        "family": scene.family,
        "generated": drift(some, fps / LOOK_EVERY).to_dict(),
        "true": drift(scene.truth, fps / LOOK_EVERY).to_dict(),
        "psnr": psnr(some, scene.truth).tolist(),
        "collapsed_frames": int(collapsed_frames(some).sum()),
        "seconds": seconds,
        "frames": len(made) - 1,
    }


def idle(world: WorldModel, seed: int, setting: Setting) -> dict[str, Any]:
    """A minute without moving."""
    scene = load_scene(world, seed, 0)
    frames = round(setting.long_s * world.config.fps) + 1
    still = np.repeat(scene.c2w[:1], frames, axis=0)
    made = rollout(
        world, starts_of(scene.truth[:1], scene.intrinsics[None]), still[None], [seed], setting.text(scene),
        chunk_frames=setting.chunk_frames, sigmas=setting.sigmas,
    )[0]  # fmt: skip
    sharp = [look(made[i]).sharpness for i in (1, -1)]
    return {"family": scene.family, **idle_stability(made, world.config.fps).to_dict(), "sharpness_first_last": sharp}


def random_walk(world: WorldModel, seed: int, setting: Setting) -> dict[str, Any]:
    """A minute of random actions in the environment, as `env.action_space.sample()` gives them."""
    from sanawm_env.envs.env import SanaWMEnv

    config = world.config
    # The environment's limit counts steps of its own chunk; the seed draws a scene of the evaluation range here.
    rng = np.random.default_rng(seed)
    scene = load_scene(world, seed, 0)
    given: dict[str, Any] = {"image": scene.truth[0], "intrinsics": scene.intrinsics}
    encoder = None
    if setting.captions is not None and setting.captions.reads:
        encoder, given["prompt"] = setting.captions.text_encoder, setting.captions.words(scene.family)
    env = SanaWMEnv(world, chunk_frames=setting.chunk_frames, sigmas=setting.sigmas, text_encoder=encoder)
    env.reset(seed=int(rng.integers(2**31)), options=given)
    env.action_space.seed(int(rng.integers(2**31)))
    per_step = env.frames_per_step
    bad, sharp = 0, []
    total = round(setting.long_s * config.fps)
    for step in range(-(-total // per_step)):
        frames = env.step(env.action_space.sample())[-1]["frames"]
        bad += int(collapsed_frames(frames).sum())
        if step % 4 == 0:
            sharp.append(look(frames[-1]).sharpness)
    state = env.snapshot().state
    finite = all(bool(torch.isfinite(v).all()) for v in state.flat().values() if v.is_floating_point())
    env.close()
    tenth = max(1, len(sharp) // 6)
    return {
        "family": scene.family, "collapsed_frames": bad, "finite": finite,
        "sharpness_first": float(np.mean(sharp[:tenth])), "sharpness_last": float(np.mean(sharp[-tenth:])),
    }  # fmt: skip


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


Part = Callable[[WorldModel, int, Setting], dict[str, Any]]

PARTS: dict[str, Part] = {
    "fidelity": fidelity,
    "flow": flow,
    "revisit": revisit,
    "drift": drifting,
    "idle": idle,
    "random": random_walk,
    "steps": steps,
}
"""Every part by name."""
