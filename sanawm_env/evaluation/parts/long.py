"""A world by itself for longer: loops, a minute along a path, a minute at rest, a minute of random actions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from sanawm_env.evaluation.metrics.drift import collapsed as collapsed_frames
from sanawm_env.evaluation.metrics.drift import drift, idle_stability, is_collapsed, look
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.evaluation.metrics.revisit import find_pairs, loop_path, score_pairs
from sanawm_env.evaluation.parts.setting import Setting, load_scene, run_world
from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import rollout, starts_of

__all__ = ["drifting", "idle", "random_walk", "revisit"]

LOOP_S = 10.0
"""Seconds of a loop, out and back."""
LOOK_EVERY = 4
"""Every so many frames of a long rollout are looked at."""


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
    bad, sharp, frames = 0, [], scene.truth
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
        "collapsed_at_end": is_collapsed(frames[-1]),
        "sharpness_first": float(np.mean(sharp[:tenth])), "sharpness_last": float(np.mean(sharp[-tenth:])),
    }  # fmt: skip
