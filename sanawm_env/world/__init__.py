"""The world model: start a world from an image, step it by camera poses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanawm_env.world.config import WorldConfig
    from sanawm_env.world.model import WorldModel
    from sanawm_env.world.state import WorldState

__all__ = ["WorldConfig", "WorldModel", "WorldState"]

# Lazy: importing one light module of this package should not load torch and every network.
_HOMES = {
    "WorldConfig": "sanawm_env.world.config",
    "WorldModel": "sanawm_env.world.model",
    "WorldState": "sanawm_env.world.state",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
