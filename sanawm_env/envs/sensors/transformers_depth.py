"""Depth by a metric depth model of transformers, from a local folder."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from sanawm_env.envs.sensors.depth import check_depth
from sanawm_env.world.model import WorldModel
from sanawm_env.world.sampler import isolated
from sanawm_env.world.state import WorldState

__all__ = ["TransformersDepth"]

_METRIC = ("depth_pro", "glpn", "tipsv2_dpt", "zoedepth")
"""Model types whose every checkpoint gives metres; `depth_anything` says in its config what it gives."""
_FIX = (
    "use a model that gives metres: Depth Anything V2 Metric (config depth_estimation_type 'metric'), "
    "ZoeDepth, DepthPro or GLPN"
)


@dataclass(frozen=True, eq=False)
class TransformersDepth:
    """Depth by `AutoModelForDepthEstimation`; it looks at pictures alone, and guesses their camera."""

    network: Any
    """In evaluation mode, on the world's device."""
    processor: Any
    """Its image processor."""
    folder: Path
    """Where both come from."""
    batched: bool
    """Whether pictures share a forward."""

    @classmethod
    def load(cls, folder: str | Path, model: WorldModel) -> TransformersDepth:
        """Read a folder of `save_pretrained`, with the image processor's file. Nothing is downloaded.

        Raises:
            FileNotFoundError: No such folder, or one without a config.json.
            ImportError: transformers is not installed.
            ValueError: No depth model, one of relative depth, or damaged files; names the fix.
        """
        folder = Path(folder).expanduser()
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"the depth source {str(folder)!r} is no folder with a config.json; download a metric depth model, "
                "for example with huggingface-cli download ... --local-dir, and give that folder."
            )
        try:
            from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation
        except ImportError as error:
            raise ImportError('a depth model needs transformers: pip install "sanawm_env[release]"') from error
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            check_metric(config, folder)
            network, report = AutoModelForDepthEstimation.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"the depth model in {str(folder)!r} is damaged or incomplete ({error}); download it again."
            ) from error
        # transformers only logs these, and goes on with random numbers.
        if wrong := sorted(map(str, [*report["missing_keys"], *report.get("mismatched_keys", ())])):
            raise ValueError(
                f"the depth model in {str(folder)!r} lacks {len(wrong)} tensors, first {wrong[0]}; download it again."
            )
        return cls(network.eval().requires_grad_(False).to(model.device), processor, folder, model.batched)

    def depth(self, state: WorldState, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """See `DepthSource`."""
        count = len(frames)
        parts = [slice(0, count)] if self.batched else [slice(i, i + 1) for i in range(count)]
        with isolated(self.network.device):
            return [image for part in parts for image in self._part(frames[part])]

    def with_model(self, model: WorldModel) -> TransformersDepth:
        """See `DepthSource`."""
        if model.device != self.network.device:
            return self.load(self.folder, model)
        return replace(self, batched=model.batched)

    def _part(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        inputs = self.processor(images=list(frames), return_tensors="pt").to(self.network.device)
        sizes = [frame.shape[:2] for frame in frames]
        post = self.processor.post_process_depth_estimation
        # ZoeDepth pads pictures, and has to know how large they were.
        padded = {"source_sizes": sizes} if "source_sizes" in inspect.signature(post).parameters else {}
        found = post(self.network(**inputs), target_sizes=sizes, **padded)
        # Interpolation may undershoot zero by rounding.
        depth = [one["predicted_depth"].float().clamp_min(0).cpu().numpy() for one in found]
        return [check_depth(image, frame) for image, frame in zip(depth, frames, strict=True)]


def check_metric(config: Any, folder: Path) -> None:
    """Refuse what gives no metres.

    Args:
        config: Of transformers.
        folder: Named in errors.

    Raises:
        ValueError: A model of relative depth, or of a kind whose unit is not known.
    """
    kind = config.model_type
    if kind == "depth_anything":
        if config.depth_estimation_type == "metric":
            return
    elif kind in _METRIC:
        return
    relative = kind in ("depth_anything", "dpt")
    what = "gives relative depth, without a unit" if relative else "is not known to give depth in metres"
    raise ValueError(f"the model in {str(folder)!r} ({kind}) {what}; {_FIX}.")
