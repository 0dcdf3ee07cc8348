"""Does a world do what it should: fidelity to the true render, obedience to the camera."""

from sanawm_env.evaluation.metrics.commands import MOTIONS, Command, Motion, commanded_path, draw_commands
from sanawm_env.evaluation.metrics.flow import has_direction, motion_score
from sanawm_env.evaluation.metrics.obedience import SceneTrial, summarize, try_scene
from sanawm_env.evaluation.metrics.psnr import MOVING_DB, PsnrGain, psnr, psnr_gain
from sanawm_env.world.rollout import rollout_images as rollout

__all__ = [
    "MOTIONS",
    "MOVING_DB",
    "Command",
    "Motion",
    "PsnrGain",
    "SceneTrial",
    "commanded_path",
    "draw_commands",
    "has_direction",
    "motion_score",
    "psnr",
    "psnr_gain",
    "rollout",
    "summarize",
    "try_scene",
]
