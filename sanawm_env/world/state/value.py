"""`WorldState`: everything that one rollout is, as a value.

A step makes a new state and never touches the old one, so that a snapshot is a reference, a fork is a
repetition along the slot axis, and a vector environment is one state with many slots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sanawm_env.files import save_tensors
from sanawm_env.world.networks.anchor.keyframes import Keyframes
from sanawm_env.world.networks.cache import ModelCache, own
from sanawm_env.world.networks.refiner.state import RefinerState
from sanawm_env.world.noise import check_seeds
from sanawm_env.world.state.errors import StateError, misfit, other_precision, unlike
from sanawm_env.world.state.files import CACHE, FORMAT, REFINER, VAE, VERSION, as_fields, read_state
from sanawm_env.world.state.refiner import check_joinable
from sanawm_env.world.state.tensors import same_bits

__all__ = ["WorldState"]


@dataclass(frozen=True, eq=False)
class WorldState:
    """The complete state of B independent rollouts ("slots"); every tensor has the slot axis first."""

    cache: ModelCache
    """The transformer's memory: GDN matrices, softmax window, convolution tails."""
    vae_tails: dict[str, Tensor]
    """The video decoder's convolution tails."""
    c2w: Tensor
    """`(B, 4, 4)` float64 camera-to-world pose of the last frame, metres, relative to frame 0."""
    frame_index: Tensor
    """`(B,)` int64, pixel frames produced since frame 0; 0 at the start."""
    noise_seed: Tensor
    """`(B,)` int64. With `cache.frames` it is the whole state of the noise generator."""
    intrinsics: Tensor
    """`(B, 4)` float32 fx, fy, cx, cy in pixels of the world's frames."""
    first_latent: Tensor
    """`(B, C, 1, h, w)` encoded frame 0. Kept for ever, so that a state's bytes never change."""
    text: Tensor
    """`(B, L, Ct)` text embeddings, or `(B, 0, 0)` when the model has no text conditioning."""
    text_mask: Tensor
    """`(B, L)` bool, True where a token counts."""
    first_frame: Tensor
    """`(B, H, W, 3)` uint8 frame 0, or `(B, 0, 0, 3)` when the world is not anchored (`networks.anchor.views`)."""
    first_disparity: Tensor
    """`(B, H/2, W/2)` float32 inverse z-depth of frame 0, 1/m, or `(B, 0, 0)`."""
    key_frame: Tensor
    """`(B, K, H, W, 3)` uint8 frames of its own that the anchor keeps (`networks.anchor.keyframes`); K is 0 without."""
    key_disparity: Tensor
    """`(B, K, H/2, W/2)` float32, their inverse z-depth, 1/m."""
    key_c2w: Tensor
    """`(B, K, 4, 4)` float64, their poses relative to frame 0, metres."""
    key_used: Tensor
    """`(B, K)` bool, which places are taken."""
    last_frame: Tensor
    """`(B, H, W, 3)` uint8, so that a restored world can be looked at before it is stepped."""
    checkpoint: str
    """Hash of the weights that made this state."""
    checkpoint_name: str = ""
    """Which weights those were, with their revision if they came from the Hub; says what to load, decides nothing."""
    refiner: RefinerState | None = None
    """Stage 2's keys and values, of as many slots; None in a world without. Copies of a slot share it as long as they
    have the same past."""
    state_precision: str = ""
    """How softmax window and tails are kept: `bf16`, `fp8` or `int8`; empty is in the type of the activations."""

    def __post_init__(self) -> None:
        # For states that users and files make. What this project makes of a whole state is whole (`changed`).
        slots = self.c2w.shape[0]
        for name, value in self._named().items():
            if value.ndim == 0 or value.shape[0] != slots:
                raise ValueError(f"state tensor '{name}' {tuple(value.shape)} has no axis of {slots} slots.")
        if self.refiner is not None and len(self.refiner) != slots:
            raise ValueError(f"the refiner's memory is of {len(self.refiner)} slots, the state of {slots}.")

    # -- looking ----------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """Number of rollouts B."""
        return self.c2w.shape[0]

    def __len__(self) -> int:
        return self.slots

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors; the same from the first frame of a rollout to its last."""
        return sum(map(attrgetter("nbytes"), self.tensors()))

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.c2w.device

    @property
    def keyframes(self) -> Keyframes:
        """What the anchor keeps beside frame 0."""
        return Keyframes(self.key_frame, self.key_disparity, self.key_c2w, self.key_used)

    def with_keyframes(self, keys: Keyframes) -> WorldState:
        """The same with others."""
        return self.changed(key_frame=keys.frame, key_disparity=keys.disparity, key_c2w=keys.c2w, key_used=keys.used)

    def tensors(self) -> list[Tensor]:
        """Every tensor as it lies in memory; those of the refiner are a slot's each, and may be shared."""
        return self._leaves(self) if self.refiner is None else self._leaves(self) + self.refiner.tensors()

    def flat(self) -> dict[str, Tensor]:
        """Every tensor under a dotted name."""
        refiner = {} if self.refiner is None else self.refiner.flat()
        return self._named() | {REFINER + name: value for name, value in refiner.items()}

    def _named(self) -> dict[str, Tensor]:
        out = {CACHE + name: value for name, value in self.cache.flat().items()}
        out |= {VAE + name: value for name, value in self.vae_tails.items()}
        return out | {name: getattr(self, name) for name in _PLAIN}

    def equal(self, other: WorldState) -> bool:
        """Whether both states hold the same bits (so NaN equals itself, and 0.0 differs from -0.0)."""
        mine, theirs = self.flat(), other.flat()
        if self.checkpoint != other.checkpoint or mine.keys() != theirs.keys():
            return False
        return all(same_bits(value, theirs[name]) for name, value in mine.items())

    def check_fits(self, pattern: WorldState, device: torch.device) -> None:
        """Refuse a state that a world could not go on from.

        Args:
            pattern: A state of the world with any number of slots and any length of text; may be on the meta device.
            device: The world's.

        Raises:
            ValueError: Another checkpoint's state, or one on another device, of other shapes or types.
        """
        kept_alike = self.checkpoint == pattern.checkpoint and self.state_precision == pattern.state_precision
        if not kept_alike or self.c2w.device.type != device.type or not _alike(self, pattern):
            raise misfit(self, pattern, device)

    # -- new states from old ones -----------------------------------------------------------------------

    def map(self, fn: Callable[[Tensor], Tensor]) -> WorldState:
        """Apply `fn` to every tensor."""
        made = self._rebuilt(map(fn, self._leaves(self)), None if self.refiner is None else self.refiner.map(fn))
        made.__post_init__()
        return made

    def changed(self, **fields: Any) -> WorldState:
        """`dataclasses.replace` for values that are known to have this state's slots: nothing is looked at."""
        made = object.__new__(WorldState)
        made.__dict__.update(self.__dict__, **fields)
        return made

    def fork(self, n: int, reseed: Sequence[int] | None = None) -> WorldState:
        """Repeat every slot n times, slot 0's copies first.

        Args:
            n: Copies of each slot.
            reseed: New noise seeds for all `B * n` slots of the result; None keeps the seeds, so that copies
                under the same actions stay equal bit for bit.

        Returns:
            A state of `B * n` slots that shares no memory with this one but a refiner's, which nobody writes.

        Raises:
            ValueError: n below 1, or not one valid seed per new slot.
        """
        if n < 1:
            raise ValueError(f"fork needs at least one copy; got n = {n}.")
        slots = [i for i in range(self.slots) for _ in range(n)]
        forked = self._rebuilt(
            [value.repeat_interleave(n, dim=0) for value in self._leaves(self)], self._refined(slots)
        )
        if reseed is None:
            return forked
        seeds = torch.tensor(check_seeds(reseed, forked.slots), dtype=torch.int64, device=self.device)
        return forked.changed(noise_seed=seeds)

    def select(self, indices: Sequence[int]) -> WorldState:
        """Copy some slots, in the order given; an index may repeat.

        Raises:
            IndexError: An index outside 0..B-1.
        """
        places = self._checked(indices)
        index = torch.tensor(places, device=self.c2w.device)
        return self._rebuilt([value.index_select(0, index) for value in self._leaves(self)], self._refined(places))

    def narrow(self, start: int, slots: int = 1) -> WorldState:
        """Some neighbouring slots as views: nothing is copied, and all of this state's memory stays alive with them.

        Raises:
            IndexError: Slots outside 0..B-1.
        """
        if start < 0 or slots < 1 or start + slots > self.slots:
            raise IndexError(f"slots {start} to {start + slots - 1} do not lie in 0..{self.slots - 1}.")
        views = [value[start : start + slots] for value in self._leaves(self)]
        return self._rebuilt(views, self._refined(range(start, start + slots)))

    def replace_slots(self, indices: Sequence[int], other: WorldState) -> WorldState:
        """A copy in which slot `indices[i]` is slot i of `other`: one operation per tensor, however many slots.

        Raises:
            IndexError: An index outside 0..B-1.
            ValueError: `other` has another number of slots than there are indices, indices repeat, or the
                two states belong to different checkpoints or shapes.
        """
        places = self._checked(indices)
        if len(set(places)) != other.slots or len(places) != other.slots:
            raise ValueError(f"{other.slots} new slots need as many different indices; got {places}.")
        index = torch.tensor(places, device=self.c2w.device)
        mine, theirs = self._leaves(self), self._matching(other)
        refiner = None
        if self.refiner is not None and other.refiner is not None:
            refiner = self.refiner.replace_slots(places, other.refiner)
        return self._rebuilt([a.index_copy(0, index, b) for a, b in zip(mine, theirs, strict=True)], refiner)

    @classmethod
    def cat(cls, states: Sequence[WorldState]) -> WorldState:
        """Join states along the slot axis.

        Raises:
            ValueError: No state, or states of different checkpoints or shapes.
        """
        if not states:
            raise ValueError("cat needs at least one state.")
        head = states[0]
        parts = [head._leaves(head), *(head._matching(other) for other in states[1:])]
        refined = [state.refiner for state in states if state.refiner is not None]
        refiner = RefinerState.cat(refined) if refined else None
        return head._rebuilt(map(torch.cat, zip(*parts, strict=True)), refiner)

    def to(self, device: torch.device | str) -> WorldState:
        """The state on another device."""
        refiner = None if self.refiner is None else self.refiner.map(lambda value: value.to(device))
        return self._rebuilt([value.to(device) for value in self._leaves(self)], refiner)

    def without_refiner(self) -> WorldState:
        """The state of stage 1 alone, which a world without refiner goes on from."""
        return self.changed(refiner=None)

    def contiguous(self) -> WorldState:
        """The state with every tensor in aligned memory of its own, no larger than the tensor; itself if it is so.

        A view into a larger activation would keep all of it alive; and strides or another alignment can lead
        a kernel to another rounding than the same numbers in their usual place.
        """
        leaves = self._leaves(self)
        owned = own(leaves)
        return self if owned is leaves else self._rebuilt(owned, self.refiner)

    # -- files ------------------------------------------------------------------------------------------

    def metadata(self) -> dict[str, str]:
        """What a state file says of itself beside its tensors."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "checkpoint": self.checkpoint,
            "checkpoint_name": self.checkpoint_name,
        } | ({"state_precision": self.state_precision} if self.state_precision else {})

    def save(self, path: str | Path) -> None:
        """Write a safetensors file. A file of that name is replaced only once the new one is whole."""
        save_tensors(path, self.flat(), self.metadata())

    @classmethod
    def load(cls, path: str | Path, checkpoint: str | None = None) -> WorldState:
        """Read a file written by `save`, onto the CPU.

        Args:
            path: The file.
            checkpoint: Hash that the state must carry (`WorldModel.checkpoint`); None accepts any.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not a whole state file, another format version, or the state of another checkpoint.
        """
        tensors, origin = read_state(path, checkpoint)
        try:
            return cls(**as_fields(tensors, _PLAIN), **origin)
        except (KeyError, ValueError, IndexError) as error:
            raise StateError(f"{path} is not a usable world state ({error}); save it again.") from None

    # -- helpers ----------------------------------------------------------------------------------------

    def _leaves(self, like: WorldState) -> list[Tensor]:
        """Every tensor, in the order that those of `like` have.

        Raises:
            KeyError: The two hold tensors of other names.
        """
        out = self.cache.leaves(like.cache)
        if len(self.vae_tails) != len(like.vae_tails):
            raise KeyError("vae")
        out += map(self.vae_tails.__getitem__, like.vae_tails)
        out += _plain_of(self)
        return out

    def _refined(self, slots: Sequence[int]) -> RefinerState | None:
        """The refiner's memory of some slots."""
        return None if self.refiner is None else self.refiner.select(slots)

    def _rebuilt(self, leaves: Iterable[Tensor], refiner: RefinerState | None) -> WorldState:
        """A state of the same names and checkpoint out of other tensors: inverse of `_leaves`."""
        take = iter(leaves)
        cache = self.cache.rebuilt(take)
        tails = dict(zip(self.vae_tails, take, strict=False))
        return self.changed(cache=cache, vae_tails=tails, refiner=refiner, **dict(zip(_ORDER, take, strict=True)))

    def _checked(self, indices: Sequence[int]) -> list[int]:
        values = list(map(int, indices))
        if not values or min(values) < 0 or max(values) >= self.c2w.shape[0]:
            raise IndexError(f"give at least one slot index in 0..{self.slots - 1}; got {values}.")
        return values

    def _matching(self, other: WorldState) -> list[Tensor]:
        """The tensors of `other` in this state's order, once they are known to fit beside those of this state."""
        if self.checkpoint != other.checkpoint:
            raise StateError(
                f"states of checkpoints {self.checkpoint!r} and {other.checkpoint!r} cannot be joined; "
                "make both with the same WorldModel."
            )
        check_joinable(self.refiner, other.refiner)
        if self.state_precision != other.state_precision:
            raise other_precision(other.state_precision, self.state_precision)
        try:
            theirs = other._leaves(self)
        except KeyError:
            theirs = []
        for a, b in zip(self._leaves(self), theirs, strict=False):
            if a.dtype != b.dtype or a.shape[1:] != b.shape[1:] or a.device != b.device:
                break
        else:
            if theirs:
                return theirs
        raise unlike(self.flat(), other.flat())


_NOT_PLAIN = ("cache", "vae_tails", "checkpoint", "checkpoint_name", "refiner", "state_precision")
_PLAIN = tuple(field.name for field in dataclasses.fields(WorldState) if field.name not in _NOT_PLAIN)
"""Fields that are one tensor each."""
_WORDS = 2
_ORDER = (*(name for name in _PLAIN if name not in ("text", "text_mask")), "text", "text_mask")
"""The same as `_leaves` has them: the `_WORDS` whose length is free come last."""
_plain_of = attrgetter(*_ORDER)


def _alike(state: WorldState, pattern: WorldState) -> bool:
    """Whether shapes without slots and types are the same, text of any length; this is asked at every step."""
    try:
        mine, wanted = state._leaves(pattern), pattern._leaves(pattern)
    except KeyError:
        return False
    free = len(wanted) - _WORDS
    for i, (a, b) in enumerate(zip(mine, wanted, strict=True)):
        if a.dtype != b.dtype or (i < free and a.shape[1:] != b.shape[1:]):
            return False
    return True
