"""`sanawm info`: facts about a checkpoint and this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from sanawm_env.registration import DEFAULT_CHECKPOINT

__all__ = ["Info"]


@dataclass
class Info:
    """Show a checkpoint's sizes, its state's bytes, the device and the versions in use."""

    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, checkpoint folder or release; `untrained` is a small world of random weights, for tests."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    dtype: str | None = None
    """float32 or bfloat16."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Print it."""
        facts = gather(self.checkpoint, self.device, self.dtype)
        if self.json:
            import json

            print(json.dumps(facts, indent=2))
            return
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name:<{width}}  {_text(value)}")


def gather(checkpoint: str, device: str, dtype: str | None) -> dict[str, Any]:
    """JSON-ready facts; loads the checkpoint and starts one rollout to count the bytes of its state."""
    import torch

    from sanawm_env.cli.common.probe import black_start
    from sanawm_env.world.checkpoints.local import resolve
    from sanawm_env.world.checkpoints.untrained import UNTRAINED
    from sanawm_env.world.model import WorldModel
    from sanawm_env.world.offline.recipe import versions

    model = WorldModel.load(checkpoint, device, dtype)
    config = model.config
    name = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "CPU"
    stride = model.vae.temporal_stride
    return {
        "checkpoint": config.name,
        "folder": None if checkpoint == UNTRAINED else str(resolve(checkpoint)),
        "hash": model.checkpoint,
        "parameters": sum(p.numel() for p in model.transformer.parameters()),
        "vae_parameters": sum(p.numel() for p in model.vae.parameters()),
        "resolution": f"{config.width}x{config.height}",
        "fps": config.fps,
        "frames_per_step": config.chunk_frames * stride,
        "frames_per_step_allowed": [n * stride for n in range(1, config.max_chunk_frames + 1)],
        "sampler_sigmas": list(config.sigmas),
        "text_conditioning": config.reads_text,
        "state_bytes": black_start(model).nbytes,
        "device": f"{model.device} ({name})",
        "dtype": str(model.dtype).removeprefix("torch."),
        "versions": versions(),
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(f"{item:g}" for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)
