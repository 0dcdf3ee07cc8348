"""Does a world obey the camera? One scene tried out, and many summed up.

Each scene gives one first frame. From it the world is rolled along the scene's own smooth random path, whose
true render is known (PSNR), and along three commanded motions (direction of the optical flow).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sanawm_env.evaluation.metrics.commands import (
    MOTIONS,
    ROTATION,
    TRANSLATION,
    Command,
    commanded_path,
    draw_commands,
)
from sanawm_env.evaluation.metrics.flow import has_direction, motion_score
from sanawm_env.evaluation.metrics.psnr import PsnrGain, psnr_gain
from sanawm_env.scenes import make_clips, render_scene, sample_scenes
from sanawm_env.scenes.clips import Clips
from sanawm_env.scenes.scene import Scene
from sanawm_env.world.checkpoints.prompts import Text
from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import rollout, starts_of

__all__ = ["SECONDS", "SceneTrial", "summarize", "try_scene"]

SECONDS = (0.5, 1.0, 2.0)
"""Moments at which PSNR is taken."""
CLEARANCE = 0.1
"""A commanded path that keeps less distance (m) from everything is blocked."""

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SceneTrial:
    """What one scene showed."""

    seed: int
    """Of the scene, its path and the world's noise."""
    family: str
    """Kind of scene."""
    gains: tuple[PsnrGain, ...]
    """At each of `SECONDS`, one scene each."""
    commands: tuple[Command, ...]
    """The commanded motions."""
    scores: tuple[float, ...]
    """`motion_score` of the generated frames, per command."""
    true_scores: tuple[float, ...]
    """The same of the true renders: the estimator can fail, too."""
    clip: Frames
    """`(2, F, H, W, 3)` true render and generated frames along the scene's own path."""
    motions: Frames
    """`(2, 3, F, H, W, 3)` likewise for each command, one second long."""

    @property
    def obeyed(self) -> tuple[bool, ...]:
        """Per command, whether the generated frames move as commanded."""
        return _right(self.scores, self.commands)

    @property
    def true_obeyed(self) -> tuple[bool, ...]:
        """Per command, whether the estimator sees the true renders move as commanded."""
        return _right(self.true_scores, self.commands)


def try_scene(
    world: WorldModel,
    seed: int,
    *,
    chunk_frames: int | None = None,
    sigmas: Sequence[float] | None = None,
    rotation: float = ROTATION,
    translation: float = TRANSLATION,
    read: Callable[[str], list[Text] | None] | None = None,
) -> SceneTrial:
    """Roll a world through one scene and compare it with the truth.

    Args:
        world: The world.
        seed: Of the scene.
        chunk_frames: Latent frames per step; None is the checkpoint's default.
        sigmas: Noise levels of the sampler; None is the checkpoint's.
        rotation: Commanded turn, radians per frame.
        translation: Commanded speed, metres per frame.
        read: Gives the text of a scene of a family, for a world that was trained with some; see `Captions.of`.
    """
    config = world.config
    size = (config.height, config.width)
    marks = [round(seconds * config.fps) for seconds in SECONDS]
    clips = make_clips([seed], max(marks) + 1, *size, fps=config.fps)
    scene, _, _ = sample_scenes([seed], *size)
    truth, camera = clips.rgb.numpy(), clips.intrinsics.double().numpy()
    how: dict[str, Any] = {"chunk_frames": chunk_frames, "sigmas": sigmas}
    starts = starts_of(truth[:, 0], camera)
    text = None if read is None else read(clips.family[0])
    made = rollout(world, starts, clips.c2w.numpy(), [seed], text, **how)

    frames = max(1, round(config.fps))
    start = clips.c2w[0, 0].double().numpy()

    def path(command: Command) -> NDArray[np.float64]:
        return commanded_path(start, command, frames, rotation=rotation, translation=translation)

    commands = draw_commands(seed, lambda command: _is_free(scene, path(command)))
    paths = np.stack([path(command) for command in commands])
    many = len(commands)
    moved = rollout(world, starts * many, paths, [seed] * many, None if text is None else text * many, **how)
    true_moved = np.stack([_render(scene, each, clips, size) for each in paths])
    return SceneTrial(
        seed=seed,
        family=clips.family[0],
        gains=tuple(psnr_gain(made, truth, mark) for mark in marks),
        commands=commands,
        scores=_scores(moved, commands, camera[0]),
        true_scores=_scores(true_moved, commands, camera[0]),
        clip=np.concatenate([truth, made]),
        motions=np.stack([true_moved, moved]),
    )


def summarize(trials: Sequence[SceneTrial]) -> dict[str, Any]:
    """JSON-ready means over scenes.

    Returns:
        `psnr_gain_db`, `psnr_db`, `psnr_frozen_db` (means over scenes that have moved, None if none has) and
        `scenes_counted` (how many those are), each keyed by seconds; `flow_*` and `flow_*_true`, the shares
        of scenes whose flow has the commanded direction, generated and true; `scenes`.

    Raises:
        ValueError: No trial.
    """
    if not trials:
        raise ValueError("nothing to sum up: no scene was tried.")
    out: dict[str, Any] = {"scenes": len(trials)}
    for name in ("psnr_gain_db", "psnr_db", "psnr_frozen_db", "scenes_counted"):
        out[name] = {}
    for i, seconds in enumerate(SECONDS):
        gain, key = PsnrGain.cat([trial.gains[i] for trial in trials]), f"{seconds:g}"
        out["psnr_gain_db"][key] = _round(gain.mean(gain.gain_db))
        out["psnr_db"][key] = _round(gain.mean(gain.generated_db))
        out["psnr_frozen_db"][key] = _round(gain.mean(gain.frozen_db))
        out["scenes_counted"][key] = gain.counted
    for i, motion in enumerate(MOTIONS):
        out[f"flow_{motion}"] = _round(float(np.mean([trial.obeyed[i] for trial in trials])))
        out[f"flow_{motion}_true"] = _round(float(np.mean([trial.true_obeyed[i] for trial in trials])))
    return out


def _scores(videos: Frames, commands: Sequence[Command], camera: NDArray[np.float64]) -> tuple[float, ...]:
    principal = (float(camera[2]), float(camera[3]))
    return tuple(motion_score(v, c.motion, principal) for v, c in zip(videos, commands, strict=True))


def _right(scores: Sequence[float], commands: Sequence[Command]) -> tuple[bool, ...]:
    return tuple(has_direction(score, command.sign) for score, command in zip(scores, commands, strict=True))


def _is_free(scene: Scene, c2w: NDArray[np.float64]) -> bool:
    return bool(scene.is_free(torch.from_numpy(c2w[None, :, :3, 3]).float(), CLEARANCE).all())


def _render(scene: Scene, c2w: NDArray[np.float64], clips: Clips, size: tuple[int, int]) -> Frames:
    frames: Frames = render_scene(scene, torch.from_numpy(c2w).float(), clips.intrinsics[0], *size)[0].numpy()
    return frames


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
