"""The streaming refiner: `start` a state at a first frame, `refine` block after block. Pure.

A block attends to the raw first frame (the sink), to the last refined frames (the history) and to itself. The sink's
keys are kept unrotated and placed right before the history at every block; a last forward at noise level 0 writes the
refined block into the history (docs/model.md, "Refiner").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from sanawm_env.world.networks.refiner.config import StreamSettings
from sanawm_env.world.networks.refiner.layers import KeysValues
from sanawm_env.world.networks.refiner.rope import Rotation, frame_rotation, rotate
from sanawm_env.world.networks.refiner.state import RefinerSlot, RefinerState
from sanawm_env.world.networks.refiner.transformer import RefinerTransformer, TextMemory

__all__ = ["refine", "start", "to_latents", "to_tokens"]


def start(
    model: RefinerTransformer,
    settings: StreamSettings,
    first_latent: Tensor,
    text: Tensor,
    text_mask: Tensor | None = None,
    *,
    next_frame: int | Sequence[int] | None = None,
    refiner: str = "",
) -> RefinerState:
    """Look at the raw first frame, and remember it.

    Args:
        model: The network.
        settings: Of the stream.
        first_latent: `(B, C, sink_frames, h, w)` normalised stage-1 latents.
        text: `(B, L, caption_channels)`, as the connectors give it.
        text_mask: `(B, L)`, non-zero where a token counts; None counts all.
        next_frame: First latent frame of the first block, for all slots or each; None is the one after the sink.
            A later one is a cold start: the history is empty, and the sink stands right before the block.
        refiner: Name of weights and settings, which the state carries.

    Raises:
        ValueError: Latents or text of another shape, or a block that would begin inside the sink.
    """
    sink = settings.sink_frames
    check_latents(model, first_latent)
    batch, _, time, rows, columns = first_latent.shape
    if time != sink:
        raise ValueError(f"the refiner starts from the first {sink} latent frame(s); got {time}.")
    if text.ndim != 3 or text.shape[0] != batch or text.shape[2] != model.config.caption_channels:
        raise ValueError(
            f"the refiner's text must be ({batch}, L, {model.config.caption_channels}); got {tuple(text.shape)}."
        )
    following = sink if next_frame is None else next_frame
    begins = list(following) if isinstance(following, Sequence) else [following] * batch
    if len(begins) != batch or min(begins) < sink:
        raise ValueError(f"next_frame must be {batch} frames from {sink} on; got {next_frame}.")
    mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device) if text_mask is None else text_mask.bool()
    text = text.to(model.device, model.dtype)
    mask = mask.to(model.device)

    config, kind = model.config, settings.kv_dtype or model.dtype
    tokens = to_tokens(first_latent.to(model.device, model.dtype))
    count = tokens.shape[1]
    sinks = torch.empty(batch, config.layers, 2, count, config.width, dtype=kind, device=model.device)

    def keep(layer: int, raw: Tensor, own: KeysValues) -> None:
        sinks[:, layer, 0], sinks[:, layer, 1] = raw.to(kind), own.v.to(kind)

    by = frame_rotation(config, [range(sink)], rows, columns, settings.fps, model.device)
    model(tokens, sigma_of(0.0, model), model.text_memory(text, mask), by, keep=keep, keys_only=True)
    shape = (len(settings.layers_with_history(config.layers)), 2, settings.history_frames * rows * columns)
    return RefinerState(
        tuple(
            RefinerSlot(
                sink=sinks[i] if batch == 1 else sinks[i].clone(),
                history=torch.zeros(*shape, config.width, dtype=kind, device=model.device),
                text=text[i].clone(),
                text_mask=mask[i].clone(),
                filled=0,
                next_frame=int(begins[i]),
            )
            for i in range(batch)
        ),
        refiner,
    )


def refine(
    model: RefinerTransformer, settings: StreamSettings, state: RefinerState, latents: Tensor, noise: Tensor
) -> tuple[RefinerState, Tensor]:
    """Refine the next block of every slot.

    Args:
        model: The network.
        settings: Of the stream, those of `start`.
        state: Of `start` or the block before; not modified. Slots must have equally long histories, not be at equal
            blocks: rotations are per slot.
        latents: `(B, C, T, h, w)` stage-1 latents of the block, T at most `block_frames`.
        noise: Standard normal noise like them.

    Returns:
        The next state, and the refined latents in the type of the weights.

    Raises:
        ValueError: Latents of another shape, or slots whose histories differ in length.
    """
    check_latents(model, latents)
    batch, _, time, rows, columns = latents.shape
    if batch != len(state) or not 1 <= time <= settings.block_frames or noise.shape != latents.shape:
        raise ValueError(
            f"a block is ({len(state)}, {model.config.channels}, 1 to {settings.block_frames}, h, w) latents and noise "
            f"of that shape; got {tuple(latents.shape)} and {tuple(noise.shape)}."
        )
    if len({slot.filled for slot in state.slots}) > 1:
        raise ValueError(
            f"slots with {[slot.filled for slot in state.slots]} frames of history cannot share a forward; refine "
            "those of equal length together (state.select)."
        )
    memory = _Memory(model, settings, state, rows, columns)
    by = memory.rotation([range(slot.next_frame, slot.next_frame + time) for slot in state.slots])
    text = _text_memory(model, state)
    dtype, levels = model.dtype, settings.sigmas
    z, eps = latents.to(model.device, dtype), noise.to(model.device, dtype)
    x = ((1 - levels[0]) * z.float() + levels[0] * eps.float()).to(dtype)
    writer = memory.writer(time)
    for now, following in pairwise(levels):
        late = settings.commit == "last_predict" and following == levels[-1]
        keep = writer.keep if writer is not None and late else None
        v = model(to_tokens(x), sigma_of(now, model), text, by, past=memory.past, keep=keep)
        clean = (x.float() - now * to_latents(v, rows, columns).float()).to(dtype)
        share = following / now
        x = (share * x.float() + (1 - share) * clean.float()).to(dtype)
    if writer is None:
        return _moved(state, time), x
    if settings.commit == "exact":
        model(
            to_tokens(x), sigma_of(0.0, model), text, by, past=memory.past, keep=writer.keep, keys_only=True
        )  # fmt: skip
    return writer.state(), x


def to_tokens(latents: Tensor) -> Tensor:
    """`(B, C, T, h, w)` to `(B, T*h*w, C)`."""
    return latents.flatten(2).transpose(1, 2)


def to_latents(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Inverse of `to_tokens`."""
    return tokens.transpose(1, 2).unflatten(2, (-1, rows, columns))


def sigma_of(level: float, model: RefinerTransformer) -> Tensor:
    """A noise level that all tokens share."""
    return torch.full((1, 1), level, dtype=torch.float32, device=model.device)


def check_latents(model: RefinerTransformer, latents: Tensor) -> None:
    """Refuse what are no latents of the network.

    Raises:
        ValueError: Another number of axes or channels.
    """
    if latents.ndim != 5 or latents.shape[1] != model.config.channels:
        raise ValueError(
            f"the refiner takes latents (B, {model.config.channels}, T, h, w); got {tuple(latents.shape)}."
        )


class _Memory:
    """Sink and history of some slots, as the layers of one block's forwards see them."""

    def __init__(
        self, model: RefinerTransformer, settings: StreamSettings, state: RefinerState, rows: int, columns: int
    ) -> None:
        self._model, self._settings, self._state, self._grid = model, settings, state, (rows, columns)
        self._layers = settings.layers_with_history(model.config.layers)
        self._filled = state.slots[0].filled
        sink = settings.sink_frames
        begins = [slot.next_frame - sink for slot in state.slots]
        self._beside = self.rotation([range(begin, begin + sink) for begin in begins])
        self._before = self._beside
        if self._filled:
            self._before = self.rotation([range(b - self._filled, b - self._filled + sink) for b in begins])

    def rotation(self, frames: Sequence[Sequence[int]]) -> Rotation:
        """Of tokens of some frames, a list per slot; one for all where they are alike."""
        same = all(list(each) == list(frames[0]) for each in frames)
        model, (rows, columns) = self._model, self._grid
        return frame_rotation(
            model.config, frames[:1] if same else frames, rows, columns, self._settings.fps, model.device
        )

    def past(self, layer: int) -> list[KeysValues]:
        """See `transformer.Past`."""
        slots, dtype = self._state.slots, self._model.dtype
        remembers = self._filled and layer in self._layers
        k, v = (torch.stack([slot.sink[layer, i] for slot in slots]).to(dtype) for i in (0, 1))
        seen = [KeysValues(rotate(k, self._before if remembers else self._beside), v)]
        if remembers:
            tokens, place = self._filled * self._grid[0] * self._grid[1], self._layers.index(layer)
            newest = [slot.history[place, :, -tokens:] for slot in slots]
            k, v = (torch.stack([part[i] for part in newest]).to(dtype) for i in (0, 1))
            seen.append(KeysValues(k, v))
        return seen

    def writer(self, frames: int) -> _Writer | None:
        """Takes the keys and values of a block; None where no history is kept."""
        if not self._settings.history_frames:
            return None
        return _Writer(self._state, self._layers, frames, self._settings.history_frames)


class _Writer:
    """The histories after a block, written layer by layer."""

    def __init__(self, state: RefinerState, layers: Sequence[int], frames: int, most: int) -> None:
        self._state, self._layers, self._frames, self._most = state, layers, frames, most
        self._after = [torch.empty_like(slot.history) for slot in state.slots]

    def keep(self, layer: int, raw: Tensor, own: KeysValues) -> None:
        """See `transformer.Keep`."""
        if layer not in self._layers:
            return
        place = self._layers.index(layer)
        for i, (slot, after) in enumerate(zip(self._state.slots, self._after, strict=True)):
            room = after.shape[2]
            for part, new in enumerate(own):
                values = new[i, -room:].to(after.dtype)
                after[place, part, room - len(values) :] = values
                after[place, part, : room - len(values)] = slot.history[place, part, len(values) :]

    def state(self) -> RefinerState:
        """After the block."""
        filled = min(self._most, self._state.slots[0].filled + self._frames)
        return _moved(self._state, self._frames, filled, self._after)


def _moved(
    state: RefinerState, frames: int, filled: int = 0, histories: Sequence[Tensor] | None = None
) -> RefinerState:
    slots = tuple(
        RefinerSlot(
            sink=slot.sink,
            history=slot.history if histories is None else histories[i],
            text=slot.text,
            text_mask=slot.text_mask,
            filled=filled,
            next_frame=slot.next_frame + frames,
        )
        for i, slot in enumerate(state.slots)
    )
    return RefinerState(slots, state.refiner)


def _text_memory(model: RefinerTransformer, state: RefinerState) -> TextMemory:
    text = torch.stack([slot.text for slot in state.slots])
    return model.text_memory(text, torch.stack([slot.text_mask for slot in state.slots]))
