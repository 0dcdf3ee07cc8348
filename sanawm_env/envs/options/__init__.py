"""Reading of arguments and reset options, apart from the environments' own logic."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanawm_env.envs.options.arguments import OPTIONS, as_chunk_frames, as_moment, as_size, check_options
    from sanawm_env.world.accel.device import as_device, as_dtype
    from sanawm_env.world.schedules import sampler_sigmas

__all__ = [
    "OPTIONS",
    "as_chunk_frames",
    "as_device",
    "as_dtype",
    "as_moment",
    "as_size",
    "check_options",
    "sampler_sigmas",
]

# Lazy: `sanawm_env.client` reads options where there is no torch.
_HOMES = {
    "OPTIONS": "sanawm_env.envs.options.arguments",
    "as_chunk_frames": "sanawm_env.envs.options.arguments",
    "as_device": "sanawm_env.world.accel.device",
    "as_dtype": "sanawm_env.world.accel.device",
    "as_moment": "sanawm_env.envs.options.arguments",
    "as_size": "sanawm_env.envs.options.arguments",
    "check_options": "sanawm_env.envs.options.arguments",
    "sampler_sigmas": "sanawm_env.world.schedules",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
