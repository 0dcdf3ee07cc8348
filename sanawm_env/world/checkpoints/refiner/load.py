"""Load stage 2 from a release's folder or from Lightricks' own file, tensor by tensor, and check all of it first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from sanawm_env.world.checkpoints.refiner.files import StreamFiles
from sanawm_env.world.checkpoints.refiner.keys import from_raw, is_raw, is_sound, refuse_later
from sanawm_env.world.checkpoints.refiner.lora import merge_lora
from sanawm_env.world.checkpoints.release.files import diffusers_weights
from sanawm_env.world.checkpoints.release.hashing import cached_hash
from sanawm_env.world.checkpoints.release.weights import read_json, read_safetensors
from sanawm_env.world.checkpoints.weights import audit
from sanawm_env.world.networks.refiner.config import ConnectorConfig, RefinerConfig
from sanawm_env.world.networks.refiner.connectors import TextConnector
from sanawm_env.world.networks.refiner.transformer import RefinerTransformer

__all__ = ["Networks", "load_networks"]

M = TypeVar("M", bound=nn.Module)

_CONNECTORS = ("video_connector.", "text_proj_in.")
_FIX = "Use the refiner of a SANA-WM release, an LTX-2 19B model."


class Networks(NamedTuple):
    """A loaded refiner."""

    transformer: RefinerTransformer
    """On its device, in its type, in eval mode."""
    connectors: TextConnector
    """The same; on the CPU, where they are needed once per prompt."""
    checkpoint: str
    """Hash of the weights, 16 hex digits."""


def load_networks(
    files: StreamFiles,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    *,
    lora: Path | None = None,
    lora_strength: float = 1.0,
) -> Networks:
    """Load transformer and connectors; what belongs to sound is left on disk.

    Args:
        files: Of `find_stream`.
        device: Of the transformer.
        dtype: Of the weights.
        lora: A LoRA file to merge.
        lora_strength: Of it.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Damaged files, another generation or layout of LTX, weights that do not fit their config, or a LoRA
            that is not whole or of another model.
    """
    if files.raw:
        raw = read_safetensors(files.transformer)
        state = {from_raw(name): value for name, value in raw.items()}
        refuse_later(state, str(files.transformer))
        if not is_raw(raw) or "proj_in.weight" not in state:
            raise ValueError(f"{files.transformer} holds no LTX-2 video transformer in Lightricks' layout. {_FIX}")
        about = _about(files.transformer)
        kinds = _sizes(state, about), _connector_sizes(state, about)
        states = (
            {name: value for name, value in state.items() if not name.startswith(_CONNECTORS)},
            {name: value for name, value in state.items() if name.startswith(_CONNECTORS)},
        )
    else:
        kinds = (
            RefinerConfig.from_diffusers(read_json(files.transformer / "config.json")),
            ConnectorConfig.from_diffusers(read_json(files.connectors / "config.json")),
        )
        states = tuple(read_safetensors(diffusers_weights(part)) for part in (files.transformer, files.connectors))  # type: ignore[assignment]
        for part, found in zip((files.transformer, files.connectors), states, strict=True):
            refuse_later(found, str(part))
    video, text = ({name: value for name, value in state.items() if not is_sound(name)} for state in states)
    if kinds[0].caption_channels != kinds[1].channels:
        raise ValueError(
            f"the refiner's connectors give text of {kinds[1].channels} channels, its transformer takes "
            f"{kinds[0].caption_channels}; the two are of different models. {_FIX}"
        )
    with torch.device("meta"):
        transformer, connectors = RefinerTransformer(kinds[0]), TextConnector(kinds[1])
    audit(transformer, video, str(files.transformer), _FIX)
    audit(connectors, text, str(files.connectors), _FIX)
    if lora is not None:
        video = merge_lora(video, read_safetensors(lora), lora_strength)
    key = _hash(files, lora, lora_strength)
    return Networks(_filled(transformer, video, device, dtype), _filled(connectors, text, "cpu", dtype), key)


def _filled(module: M, state: Mapping[str, Tensor], device: torch.device | str, dtype: torch.dtype) -> M:
    # Copies lie aligned in memory, which views of a file do not.
    copies = {
        n: torch.empty(v.shape, dtype=dtype, device=device).copy_(state[n]) for n, v in module.state_dict().items()
    }
    module.load_state_dict(copies, assign=True)
    return module.eval().requires_grad_(False)


def _about(path: Path) -> dict[str, Any]:
    """What Lightricks' file says of its transformer in its header."""
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("config", "{}")
    try:
        values = json.loads(text)
        about = values.get("transformer", values)
        return about if isinstance(about, dict) else {}
    except (ValueError, AttributeError):
        return {}


def _sizes(state: Mapping[str, Tensor], about: Mapping[str, Any]) -> RefinerConfig:
    """Sizes of a transformer from its weights; only how wide a head is they do not tell."""
    width, channels = state["proj_in.weight"].shape
    head = int(about.get("attention_head_dim", RefinerConfig.head_dim))
    known = {name: about[name] for name in ("rope_type",) if name in about}
    return RefinerConfig.from_diffusers(
        {
            "in_channels": channels,
            "num_layers": _layers(state, "transformer_blocks."),
            "num_attention_heads": width // head,
            "attention_head_dim": head,
            "caption_channels": state["caption_projection.linear_1.weight"].shape[1],
        }
        | known
    )


def _connector_sizes(state: Mapping[str, Tensor], about: Mapping[str, Any]) -> ConnectorConfig:
    if "text_proj_in.weight" not in state or "video_connector.learnable_registers" not in state:
        raise ValueError(f"the file has no text connectors of LTX-2. {_FIX}")
    channels, inputs = state["text_proj_in.weight"].shape
    head = int(about.get("connector_attention_head_dim", ConnectorConfig.head_dim))
    return ConnectorConfig(
        channels=channels,
        states=inputs // channels,
        heads=channels // head,
        head_dim=head,
        layers=_layers(state, "video_connector.transformer_blocks."),
        registers=state["video_connector.learnable_registers"].shape[0],
    )


def _layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max((int(n.removeprefix(prefix).split(".")[0]) for n in state if n.startswith(prefix)), default=-1)


def _hash(files: StreamFiles, lora: Path | None, strength: float) -> str:
    found = [*files.weights, *([] if lora is None else [lora])]
    recipe = {"what": "refiner weights", "lora": None if lora is None else strength}

    def compute() -> str:
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
        for path in found:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    return cached_hash(found, recipe, compute)
