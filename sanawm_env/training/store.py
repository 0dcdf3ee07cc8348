"""Training state on disk: safetensors and JSON, never a pickle, always whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sanawm_env.files import replacing, save_tensors, write_json, write_text
from sanawm_env.training.optim import EMA, MuonAdamW


def save_state(folder: Path, model: nn.Module, optimizer: MuonAdamW, ema: EMA, progress: dict[str, Any]) -> None:
    """Write `state.safetensors` and `progress.json`, which take the places of older ones together."""
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        tensors[f"model.{name}"] = value
    for name, value in ema.values.items():
        tensors[f"ema.{name}"] = value
    for name, value in optimizer.tensors().items():
        tensors[f"optimizer.{name}"] = value
    save_with_progress(folder / "state.safetensors", tensors, progress)


def save_with_progress(path: Path, tensors: Mapping[str, Tensor], progress: dict[str, Any]) -> None:
    """Write a safetensors file and, beside it, `progress.json`: a kill leaves both old or, nearly always, both new."""
    with replacing(path) as temporary:
        save_tensors(temporary, tensors)
        write_json(path.with_name("progress.json"), progress)


def write_settings(folder: Path, config: Any, **more: Any) -> None:
    """Write the dataclass that a run depends on to `train.json`."""
    write_text(folder / "train.json", json.dumps(asdict(config) | more, indent=1, default=str))


@contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """Open a file of JSON lines at its end; a last line that a kill has cut short is taken out first."""
    if path.exists() and (end := path.read_bytes().rfind(b"\n") + 1) < path.stat().st_size:
        os.truncate(path, end)
    with path.open("a", encoding="utf-8") as file:
        yield file


def load_state(folder: Path, model: nn.Module, optimizer: MuonAdamW, ema: EMA) -> dict[str, Any] | None:
    """Restore what `save_state` wrote; None if the folder holds no run.

    Raises:
        ValueError: The run belongs to a model of another shape.
    """
    path = folder / "state.safetensors"
    if not path.exists():
        return None
    tensors = load_file(path)
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} holds a model of another shape; choose another --out or config.") from error
    device = next(model.parameters()).device
    ema.values = {k.removeprefix("ema."): v.to(device) for k, v in tensors.items() if k.startswith("ema.")}
    optimizer.load({k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")})
    return load_progress(path)


def load_weights(path: Path, net: nn.Module) -> None:
    """Give `net` the weights of a safetensors file that an earlier run left.

    Raises:
        ValueError: They belong to a network of another shape.
    """
    try:
        net.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"{path} holds a network of another shape; choose another --out.") from error


def load_progress(path: Path) -> dict[str, Any]:
    """How far the run went whose weights or state `path` holds.

    Raises:
        ValueError: Nothing beside `path` tells it.
    """
    try:
        return json.loads(path.with_name("progress.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"{path} lies there without the progress.json that its run wrote; choose another --out, or bring it back."
        ) from error


def initialise(model: nn.Module, seed: int) -> None:
    """Start a transformer from scratch: upstream's initial values where they suit a cold start.

    Gates, decays and convolutions begin as upstream's (docs/model.md, "Training"). What upstream zeroes because it
    fine-tunes a base model (camera output, Plücker path) starts small instead, so that the camera is learned from the
    first step.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith("anchor."):
                continue  # starts as it is built, its depth network as it was trained
            if name.endswith("output_gate.bias"):
                p.fill_(1.278464542761074)
            elif name.endswith("beta_proj.bias"):
                p.fill_(1.0)
            elif name.endswith("dt_bias"):
                p.fill_(-3.0)
            elif name.endswith("A_log") or (p.ndim == 1 and name.endswith("bias")):
                p.zero_()
            elif "conv_k" in name:
                p.zero_()
                p[..., -1] = 1.0
            elif any(key in name for key in ("output_gate", "beta_proj", "gate_proj", "t_conv")):
                p.zero_()
            elif name.endswith("scale_shift_table"):
                normal(p, 0.02)
                if p.shape[0] == 6:
                    p[2].fill_(0.5)
                    p[5].fill_(0.5)
            elif "t_block" in name or name.startswith("final_layer.linear"):
                normal(p, 0.02 / p.shape[-1] ** 0.5)
            elif "depth_conv" in name:
                normal(p, 0.1)
                p[:, :, 1, 1] += 1.0
            elif p.ndim >= 2:
                normal(p, (p[0].numel()) ** -0.5)
