"""Depth of anchored worlds: frame 0's, warped to where the camera is, and the depth network's where that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sanawm_env.world.conditioning import look_around
from sanawm_env.world.model import WorldModel
from sanawm_env.world.sampler import isolated
from sanawm_env.world.state import WorldState

__all__ = ["AnchoredDepth"]


@dataclass(frozen=True, eq=False)
class AnchoredDepth:
    """Depth by an anchored world itself.

    Raises:
        ValueError: The world is not anchored.
    """

    model: WorldModel
    """Whose network and frame 0."""

    def __post_init__(self) -> None:
        if not self.model.config.model.anchor:
            raise ValueError(
                f"the world {self.model.config.name!r} keeps no depth of its own; give the sensors a source: "
                "sensors=(sanawm_env.Depth(source=...),), a function of (image, intrinsics) or the folder of a "
                "metric depth model of transformers."
            )

    def depth(self, state: WorldState, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """See `DepthSource`."""
        count = len(frames)
        parts = [slice(0, count)] if self.model.batched else [slice(i, i + 1) for i in range(count)]
        with isolated(self.model.device):
            images = torch.from_numpy(np.stack(frames)).to(self.model.device)
            found = [self._part(state, images, part) for part in parts]
        return [image for part in found for image in part]

    def with_model(self, model: WorldModel) -> AnchoredDepth:
        """See `DepthSource`."""
        return AnchoredDepth(model)

    def _part(self, state: WorldState, images: Tensor, part: slice) -> NDArray[np.float32]:
        """Depth `(n, H, W)` of the slots `part`, computed together."""
        some = state.narrow(part.start, part.stop - part.start)
        return _metres(look_around(self.model.networks, some, images[part])[0]).cpu().numpy()


def _metres(disparity: Tensor) -> Tensor:
    """Z-depth `(B, H, W)` from inverse depth `(B, H/2, W/2)`: places keep their depth, none lies between two."""
    return (1 / disparity).repeat_interleave(2, -1).repeat_interleave(2, -2)
