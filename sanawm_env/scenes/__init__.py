"""Procedural 3-D scenes: first frames, training clips and ground truth for evaluation."""

from sanawm_env.scenes.clips import Clips, first_frame, make_clips, render_scene, sample_scenes
from sanawm_env.scenes.families import FAMILIES, make_scene
from sanawm_env.scenes.motion import smooth_motion
from sanawm_env.scenes.raycast.render import render
from sanawm_env.scenes.scene import Scene
from sanawm_env.scenes.seeds import EVAL_SEEDS, TRAIN_SEEDS, WORLD_SEEDS

__all__ = [
    "EVAL_SEEDS",
    "FAMILIES",
    "TRAIN_SEEDS",
    "WORLD_SEEDS",
    "Clips",
    "Scene",
    "first_frame",
    "make_clips",
    "make_scene",
    "render",
    "render_scene",
    "sample_scenes",
    "smooth_motion",
]
