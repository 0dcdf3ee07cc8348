"""A config and its weights: the modules that it builds, whether they fit each other, and the hash that names both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sanawm_env.world.checkpoints.presets import PRESETS
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import build_vae

__all__ = ["CheckpointError", "State", "audit", "build_modules", "hashed_settings", "weights_hash"]

State = dict[str, Tensor]
"""Weights by name, as `state_dict` gives them."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: not one, not whole, or of another shape than it says."""


_FIRST = {
    "world": (
        "model vae height width fps sigmas chunk_frames max_chunk_frames default_fov_deg max_translation max_rotation "
        "preconditioned name"
    ).split(),
    "model": (
        "depth hidden_size head_dim in_channels patch_size mlp_ratio caption_channels text_length temporal_stride "
        "softmax_every_n conv_kernel_size pos_embed_tokens release_buffers chunk_frames first_chunk cached_chunks sink "
        "window_frames max_cached_frames softmax_scale camera_softmax_scale camera_conv_tail camera_downscale "
        "truncate_timesteps chunk_causal_softmax attention_dtype anchor"
    ).split(),
}
"""Settings that every hash covers: those of sanawm_env 0.1.0. Never add to it."""


def build_modules(config: WorldConfig, device: torch.device | str = "cpu") -> tuple[SanaWMTransformer, nn.Module]:
    """Build the transformer and the autoencoder of a config, freshly initialised, in eval mode.

    Args:
        config: The world.
        device: `meta` costs neither time nor memory.
    """
    with torch.device(device):
        return SanaWMTransformer(config.model).eval(), build_vae(config.vae).eval()


def weights_hash(config: Mapping[str, Any], model_state: Mapping[str, Tensor], vae_state: Mapping[str, Tensor]) -> str:
    """Sixteen hex digits that name a config together with its weights.

    Args:
        config: JSON-ready dictionary of the world, as in `config.json`.
        model_state: Weights of the transformer, in their stored type.
        vae_state: Weights of the autoencoder, in their stored type.
    """
    digest = hashlib.sha256(json.dumps(hashed_settings(config), sort_keys=True).encode())
    for part, state in (("model", model_state), ("vae", vae_state)):
        for name in sorted(state):
            value = state[name].detach().cpu().contiguous()
            digest.update(f"{part}.{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def hashed_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a hash covers of a world's settings.

    A switch that a later version adds, left at its default, changes nothing, so it is left out: the hash of a world
    that does not use it stays what it was, and with it every state, snapshot and result that carries the hash. Of a
    release the preset decides: a later switch that stands as the preset sets it says what those weights always were.

    Args:
        config: JSON-ready dictionary of the world; its `name` may be that of a preset.
    """

    def used(values: Mapping[str, Any], kind: type, first: list[str], own: Mapping[str, Any]) -> dict[str, Any]:
        # Compared as JSON, where a tuple is a list.
        later = {
            field.name: json.dumps(own.get(field.name, _default(field)))
            for field in dataclasses.fields(kind)
            if field.name not in first
        }
        return {name: value for name, value in values.items() if later.get(name) != json.dumps(value)}

    preset = PRESETS.get(str(config.get("name")))
    kept = used(config, WorldConfig, _FIRST["world"], {})
    if isinstance(kept.get("model"), Mapping):
        kept["model"] = used(kept["model"], SanaWMConfig, _FIRST["model"], preset.switches if preset else {})
    return kept


def _default(field: dataclasses.Field[Any]) -> Any:
    """Of a setting; a later one without any cannot be told from others and stays in every hash."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def audit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    what: str,
    fix: str = "Use the config.json that was saved with the weights.",
) -> None:
    """Check that weights have exactly the names and shapes of a module.

    Args:
        module: May live on the meta device.
        state: The weights.
        what: Named in the error, for instance the file.
        fix: Last sentence of the error.

    Raises:
        ValueError: Lists the missing, the unexpected and the mis-shaped tensors, all in one message.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {shape}"
            for name, shape in expected.items()
            if name in state and tuple(state[name].shape) != shape
        ],
    }
    found = [f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(f"{what} does not fit its config; {'; '.join(found)}. {fix}")


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
