"""Does a world do what it should: fidelity to the true render, obedience to the camera."""

from sanawm_env.evaluation.commands import MOTIONS, Command, Motion, commanded_path, draw_commands
from sanawm_env.evaluation.flow import has_direction, motion_score
from sanawm_env.evaluation.obedience import SceneTrial, summarize, try_scene
from sanawm_env.evaluation.psnr import MOVING_DB, PsnrGain, psnr, psnr_gain
from sanawm_env.evaluation.rollout import rollout

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
