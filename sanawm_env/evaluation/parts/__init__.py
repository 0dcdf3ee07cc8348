"""What a suite measures, one scene at a time. Every part is a pure function of the world and a scene seed.

Each returns plain JSON: a suite stores it, and an interrupted run goes on where it stopped with the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sanawm_env.evaluation.parts.beyond import beyond
from sanawm_env.evaluation.parts.long import drifting, idle, random_walk, revisit
from sanawm_env.evaluation.parts.setting import Scene, Setting, load_scene, run_world
from sanawm_env.evaluation.parts.short import ESTIMATOR, camera, fidelity, flow, step_schedules, steps
from sanawm_env.world.model import WorldModel

__all__ = [
    "ESTIMATOR",
    "PARTS",
    "Part",
    "Scene",
    "Setting",
    "beyond",
    "camera",
    "drifting",
    "fidelity",
    "flow",
    "idle",
    "load_scene",
    "random_walk",
    "revisit",
    "run_world",
    "step_schedules",
    "steps",
]

Part = Callable[[WorldModel, int, Setting], dict[str, Any]]

PARTS: dict[str, Part] = {
    "fidelity": fidelity,
    "flow": flow,
    "revisit": revisit,
    "drift": drifting,
    "idle": idle,
    "random": random_walk,
    "steps": steps,
    "beyond": beyond,
}
"""Every part by name."""
