"""Which source of depth an environment's settings name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sanawm_env.envs.sensors.depth import Depth, DepthFunction, DepthSource, check_depth
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["FunctionDepth", "depth_source"]


@dataclass(frozen=True)
class FunctionDepth:
    """Depth by a function of the user's."""

    function: DepthFunction
    """Asked once per slot."""

    def depth(self, state: WorldState, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """See `DepthSource`."""
        cameras = state.intrinsics.cpu().numpy()
        # Copies: what the function does to its arguments must not reach the world.
        pairs = zip(frames, cameras, strict=True)
        return [check_depth(self.function(frame.copy(), camera.copy()), frame) for frame, camera in pairs]

    def with_model(self, model: WorldModel) -> FunctionDepth:
        """See `DepthSource`."""
        return self


def depth_source(settings: Depth, model: WorldModel) -> DepthSource:
    """The source that the settings name.

    Raises:
        ValueError, FileNotFoundError, ImportError: There is none for this world, or it cannot be used.
    """
    source = settings.source
    if source is None:
        from sanawm_env.envs.sensors.anchored_depth import AnchoredDepth

        return AnchoredDepth(model)
    if isinstance(source, str | Path):
        from sanawm_env.envs.sensors.transformers_depth import TransformersDepth

        return TransformersDepth.load(source, model)
    return FunctionDepth(source)
