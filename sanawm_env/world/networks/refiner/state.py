"""`RefinerState`: what stage 2 remembers of rollouts, as a value.

A slot's tensors are its own, not rows of one tensor: a fork, a selection or a reset of neighbours passes them on, and
copies share sink and history for as long as they have the same past. Nobody ever writes into them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["RefinerSlot", "RefinerState"]

_TENSORS = ("sink", "history", "text", "text_mask")
_COUNTS = ("filled", "next_frame")


@dataclass(frozen=True, eq=False)
class RefinerSlot:
    """One rollout. Shapes are the same from its first block to its last."""

    sink: Tensor
    """`(layers, 2, sink tokens, width)` keys before rotation and values of the raw first frame; never changes."""
    history: Tensor
    """`(layers with history, 2, tokens, width)` keys, rotated, and values of refined frames, the newest last."""
    text: Tensor
    """`(L, caption_channels)` of the prompt, as the connectors give it."""
    text_mask: Tensor
    """`(L,)` bool, true where a token counts."""
    filled: int
    """Latent frames of history that are there; before them `history` is zero."""
    next_frame: int
    """Absolute index of the next block's first latent frame."""

    def tensors(self) -> list[Tensor]:
        """All of them; none is copied."""
        return [getattr(self, name) for name in _TENSORS]

    def map(self, fn: Callable[[Tensor], Tensor]) -> RefinerSlot:
        """Apply `fn` to every tensor."""
        return replace(
            self, sink=fn(self.sink), history=fn(self.history), text=fn(self.text), text_mask=fn(self.text_mask)
        )


@dataclass(frozen=True, eq=False)
class RefinerState:
    """B rollouts, which may share what they have in common."""

    slots: tuple[RefinerSlot, ...]
    """One per rollout; the same object may stand in several places."""
    refiner: str = ""
    """Hash of the refiner's weights and of the settings that these were made with."""

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, as if no slot shared any: what they come to once all forks have gone on."""
        return sum(value.nbytes for value in self.tensors())

    @property
    def held_bytes(self) -> int:
        """Bytes that are really held: what slots share counts once."""
        return sum({value.data_ptr(): value.nbytes for value in self.tensors()}.values())

    def tensors(self) -> list[Tensor]:
        """Those of every slot; none is copied."""
        return [value for slot in self.slots for value in slot.tensors()]

    def map(self, fn: Callable[[Tensor], Tensor]) -> RefinerState:
        """Apply `fn` to every tensor, once where slots share a whole past."""
        made: dict[int, RefinerSlot] = {}
        for slot in self.slots:
            if id(slot) not in made:
                made[id(slot)] = slot.map(fn)
        return replace(self, slots=tuple(made[id(slot)] for slot in self.slots))

    def select(self, indices: Sequence[int]) -> RefinerState:
        """Some slots in the order given, nothing copied; an index may repeat."""
        return replace(self, slots=tuple(self.slots[i] for i in indices))

    def replace_slots(self, indices: Sequence[int], other: RefinerState) -> RefinerState:
        """These, where slot `indices[i]` is slot i of `other`."""
        slots = list(self.slots)
        for i, slot in zip(indices, other.slots, strict=True):
            slots[i] = slot
        return replace(self, slots=tuple(slots))

    @staticmethod
    def cat(states: Sequence[RefinerState]) -> RefinerState:
        """Join along the slots."""
        return replace(states[0], slots=tuple(slot for state in states for slot in state.slots))

    # -- files ------------------------------------------------------------------------------------------

    def flat(self) -> dict[str, Tensor]:
        """Every tensor and counter with the slot axis first, under a name that begins with the refiner's hash."""
        out: dict[str, Tensor] = {}
        for name in _TENSORS:
            values = [getattr(slot, name) for slot in self.slots]
            out[name] = values[0][None] if len(values) == 1 else torch.stack(values)
        for name in _COUNTS:
            counts = [getattr(slot, name) for slot in self.slots]
            out[name] = torch.tensor(counts, dtype=torch.int64, device=self.slots[0].sink.device)
        return {f"{self.refiner}.{name}": value for name, value in out.items()}

    @classmethod
    def from_flat(cls, values: dict[str, Tensor]) -> RefinerState:
        """Inverse of `flat`.

        Raises:
            KeyError, ValueError: Tensors are missing, or of several refiners.
        """
        refiner, *others = {name.rpartition(".")[0] for name in values}
        if others or len(values) != len(_TENSORS) + len(_COUNTS):
            raise ValueError("the refiner's tensors are not whole")
        tensors = {name: values[f"{refiner}.{name}"] for name in _TENSORS}
        counts = {name: values[f"{refiner}.{name}"].tolist() for name in _COUNTS}
        many = range(len(counts["filled"]))
        # Clones where there are several: a slot that keeps its neighbours' memory alive would never be freed.
        own = (lambda value: value) if len(many) == 1 else torch.clone
        slots = tuple(
            RefinerSlot(
                **{name: own(value[i]) for name, value in tensors.items()},
                filled=counts["filled"][i],
                next_frame=counts["next_frame"][i],
            )
            for i in many
        )
        return cls(slots, refiner)
