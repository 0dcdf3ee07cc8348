"""Act inside a video world model: SANA-WM as a Gymnasium environment."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sanawm_env.registration import register_envs

if TYPE_CHECKING:
    from sanawm_env.env import SanaWMEnv
    from sanawm_env.snapshot import EnvSnapshot
    from sanawm_env.state import WorldState
    from sanawm_env.vector_env import SanaWMVectorEnv
    from sanawm_env.world import WorldConfig, WorldModel

__all__ = ["EnvSnapshot", "SanaWMEnv", "SanaWMVectorEnv", "WorldConfig", "WorldModel", "WorldState"]
__version__ = "0.1.0"

# Torch takes seconds to import, and a program that only lists environments does not need it.
_HOMES = {
    "EnvSnapshot": "sanawm_env.snapshot",
    "SanaWMEnv": "sanawm_env.env",
    "SanaWMVectorEnv": "sanawm_env.vector_env",
    "WorldConfig": "sanawm_env.world",
    "WorldModel": "sanawm_env.world",
    "WorldState": "sanawm_env.state",
}

register_envs()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sanawm_env' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
