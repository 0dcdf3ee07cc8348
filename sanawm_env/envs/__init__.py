"""The Gymnasium environments, and the simulator behind them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanawm_env.envs.env import SanaWMEnv
    from sanawm_env.envs.snapshot import EnvSnapshot
    from sanawm_env.envs.vector_env import SanaWMVectorEnv

__all__ = ["EnvSnapshot", "SanaWMEnv", "SanaWMVectorEnv"]

# Lazy: importing one light module of this package should not load torch and every network.
_HOMES = {
    "EnvSnapshot": "sanawm_env.envs.snapshot",
    "SanaWMEnv": "sanawm_env.envs.env",
    "SanaWMVectorEnv": "sanawm_env.envs.vector_env",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
