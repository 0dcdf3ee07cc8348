"""`StreamRefiner`: a loaded stage 2 at work for the slots of a world."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sanawm_env.world.networks.refiner.config import StreamSettings
from sanawm_env.world.networks.refiner.state import RefinerState
from sanawm_env.world.networks.refiner.stream import refine, start
from sanawm_env.world.networks.refiner.transformer import RefinerTransformer

__all__ = ["StreamRefiner"]


@dataclass(frozen=True, eq=False)
class StreamRefiner:
    """Weights, settings and prompts. It holds no rollout; any number of worlds and threads may share it."""

    model: RefinerTransformer
    """The network."""
    settings: StreamSettings
    """Of the stream."""
    weights: str
    """Hash of the weights."""
    encode: Callable[[str], Tensor]
    """A prompt as the network reads it, `(1, L, caption_channels)`."""

    @cached_property
    def checkpoint(self) -> str:
        """Hash of the weights and of the settings that decide what a state is; states carry it."""
        kept = self.settings
        text = f"{self.weights} {kept} {self.model.dtype}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def nbytes(self, rows: int, columns: int) -> int:
        """Bytes of one slot's keys and values on a latent grid, from its first block on."""
        return self.settings.nbytes(self.model.config, rows * columns, self.model.dtype)

    def start(self, first_latent: Tensor, text: Tensor, next_frame: Sequence[int] | None = None) -> RefinerState:
        """See `stream.start`."""
        return start(
            self.model, self.settings, first_latent, text, next_frame=next_frame, refiner=self.checkpoint
        )  # fmt: skip

    def refine(self, state: RefinerState, latents: Tensor, noise: Tensor) -> tuple[RefinerState, Tensor]:
        """Refine a chunk of any length, block by block; a shorter last block is as the reference's offline way.

        Slots whose histories are equally long share a forward: after four blocks these are all, at whichever block
        they are.

        Args:
            state: Of B slots.
            latents: `(B, C, T, h, w)` of stage 1.
            noise: Standard normal noise like them.

        Returns:
            The next state, and refined latents in float32.
        """
        made = []
        for z, eps in zip(*(x.split(self.settings.block_frames, dim=2) for x in (latents, noise)), strict=True):
            state, block = self._block(state, z, eps)
            made.append(block.float())
        return state, torch.cat(made, dim=2)

    def _block(self, state: RefinerState, latents: Tensor, noise: Tensor) -> tuple[RefinerState, Tensor]:
        groups: dict[int, list[int]] = {}
        for i, slot in enumerate(state.slots):
            groups.setdefault(slot.filled, []).append(i)
        if len(groups) == 1:
            return refine(self.model, self.settings, state, latents, noise)
        after, out = state, torch.empty(latents.shape, dtype=self.model.dtype, device=self.model.device)
        for slots in groups.values():
            some, made = refine(self.model, self.settings, state.select(slots), latents[slots], noise[slots])
            after, out[slots] = after.replace_slots(slots, some), made
        return after, out
