"""Act inside a video world model: SANA-WM as a Gymnasium environment."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sanawm_env.registration import register_envs
from sanawm_env.world.accel.threads import prepare_process

if TYPE_CHECKING:
    from sanawm_env.envs.actions import ActionError
    from sanawm_env.envs.env import SanaWMEnv
    from sanawm_env.envs.sensors.contact import Body
    from sanawm_env.envs.sensors.depth import Depth
    from sanawm_env.envs.sensors.scan import Scan
    from sanawm_env.envs.snapshot import EnvSnapshot
    from sanawm_env.envs.vector_env import SanaWMVectorEnv
    from sanawm_env.server.notebook import play
    from sanawm_env.world.checkpoints.weights import CheckpointError
    from sanawm_env.world.config import WorldConfig
    from sanawm_env.world.model import WorldModel
    from sanawm_env.world.state import StateError, WorldState

__all__ = [
    "ActionError",
    "Body",
    "CheckpointError",
    "Depth",
    "EnvSnapshot",
    "SanaWMEnv",
    "SanaWMVectorEnv",
    "Scan",
    "StateError",
    "WorldConfig",
    "WorldModel",
    "WorldState",
    "play",
]
__version__ = "0.1.0"

# Torch takes seconds to import, and a program that only lists environments does not need it.
_HOMES = {
    "ActionError": "sanawm_env.envs.actions",
    "CheckpointError": "sanawm_env.world.checkpoints.weights",
    "StateError": "sanawm_env.world.state",
    "EnvSnapshot": "sanawm_env.envs.snapshot",
    "Body": "sanawm_env.envs.sensors.contact",
    "Depth": "sanawm_env.envs.sensors.depth",
    "Scan": "sanawm_env.envs.sensors.scan",
    "SanaWMEnv": "sanawm_env.envs.env",
    "SanaWMVectorEnv": "sanawm_env.envs.vector_env",
    "WorldConfig": "sanawm_env.world.config",
    "WorldModel": "sanawm_env.world.model",
    "WorldState": "sanawm_env.world.state",
    "play": "sanawm_env.server.notebook",
}

# Modules that 0.1.0 had elsewhere; importing them by the old name goes on working.
_MOVED = {
    "sanawm_env." + old: "sanawm_env." + new
    for old, new in {
        "actions": "envs.actions",
        "bench": "evaluation.bench",
        "config": "world.config",
        "env": "envs.env",
        "envs.slot_options": "envs.options.slots",
        "evaluation.cost": "evaluation.policy.cost",
        "evaluation.drift": "evaluation.metrics.drift",
        "evaluation.policy_table": "evaluation.policy.table",
        "evaluation.policy_trials": "evaluation.policy.trials",
        "images": "scenes.start_image",
        "noise": "world.noise",
        "observations": "envs.sensors.observations",
        "options": "envs.options",
        "prompts": "world.checkpoints.prompts",
        "refine": "world.offline.refiner",
        "render": "world.offline.clip",
        "rollout": "world.offline.recipe",
        "simulation": "envs.simulator",
        "snapshot": "envs.snapshot",
        "state": "world.state",
        "vector_env": "envs.vector_env",
        "viewer": "envs.rendering",
        "wrappers": "envs.wrappers",
    }.items()
}


class _Moved(MetaPathFinder, Loader):
    """Finds a module under its former name, as the very module that it is now."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just written the old name's spec into the module.
        spec = module.__spec__
        module.__spec__ = spec.loader_state if spec is not None else None


sys.meta_path.append(_Moved())

prepare_process()
register_envs()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sanawm_env' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
