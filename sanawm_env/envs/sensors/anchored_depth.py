"""Depth of anchored worlds: frame 0's, warped to where the camera is, and the depth network's where that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.anchor.depth import FAR
from sanawm_env.world.networks.anchor.views import to_pixels
from sanawm_env.world.networks.anchor.warp import anchor_disparity
from sanawm_env.world.sampler import isolated
from sanawm_env.world.state import WorldState

__all__ = ["AnchoredDepth", "aligned"]

OVERLAP = 0.1
"""Share of the picture that must be known before its scale counts."""


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
        camera = state.intrinsics[part].contiguous()
        known = anchor_disparity(state.first_disparity[part], state.c2w[part, None], camera)[:, 0]
        pixels = to_pixels(images[part], self.model.dtype).contiguous()
        guess = self.model.transformer.anchor.depth.disparity(pixels, camera)
        return _metres(torch.where(known >= 0, known, aligned(guess, known))).cpu().numpy()


def aligned(guess: Tensor, known: Tensor) -> Tensor:
    """Inverse depth on the scale of what is known: times the median ratio where both see something.

    Of pictures that the world made (74 views of 28 scenes that it did not train on) this takes the median error beyond
    frame 0 from 21 to 20 % in the mean over views, and the step at the edge of what is known from 8 to 6 %; of true
    pictures it changes nothing that can be told from chance.

    Args:
        guess: `(B, h, w)` inverse depth, 1/m.
        known: The same of what is known, negative elsewhere.
    """
    both = (guess > FAR) & (known > FAR)
    ratio = torch.where(both, known / guess, torch.nan).flatten(1).nanmedian(1).values
    enough = both.flatten(1).float().mean(1) > OVERLAP
    return guess * torch.where(enough, ratio, 1.0)[:, None, None]


def _metres(disparity: Tensor) -> Tensor:
    """Z-depth `(B, H, W)` from inverse depth `(B, H/2, W/2)`: places keep their depth, none lies between two."""
    return (1 / disparity).repeat_interleave(2, -1).repeat_interleave(2, -2)
