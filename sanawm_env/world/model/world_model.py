"""`WorldModel`: start a world from an image and step it by camera poses, as two pure functions."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.world.accel.capture import Programs, Recorder
from sanawm_env.world.accel.device import as_device, as_dtype, check_window
from sanawm_env.world.checkpoints.local import located
from sanawm_env.world.checkpoints.prompts import Prompts
from sanawm_env.world.checkpoints.refiner.attach import load_refiner
from sanawm_env.world.checkpoints.refiner.options import read_options
from sanawm_env.world.checkpoints.untrained import untrained_modules
from sanawm_env.world.conditioning import Networks, check_poses
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.model.first_frame import begin, read_first_frames
from sanawm_env.world.model.loading import load_world
from sanawm_env.world.model.parts import check_refiner_latents, check_vae, token_grid
from sanawm_env.world.networks.refiner.refiner import StreamRefiner
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import Denoised, decode, denoise, isolated, read_counters, refine_chunk
from sanawm_env.world.schedules import check_sigmas
from sanawm_env.world.state import WorldState
from sanawm_env.world.state.empty import check_state_precision, empty_state
from sanawm_env.world.state.refiner import check_refiner, look_first, refiner_text

__all__ = ["WorldModel"]

Frames = NDArray[np.uint8]


class WorldModel:
    """A video world model as a simulator: `start` makes a `WorldState`, `step` makes the next one.

    Both are pure. They never modify a state, they draw no hidden random numbers, and on the CPU the same
    arguments give the same bits. They run in inference mode: states carry no gradients.

    **Slots.** A state holds B independent rollouts. On the CPU they are computed one after another with batch
    size 1 (`batched=False`): a matrix product of another shape may sum in another order, so a batched call
    would make a slot's last bits depend on how many neighbours it has. Thus slot i of a batch equals a batch
    of one bit for bit. With `batched=True`, the default elsewhere, slots that are in the same phase share one
    forward; they then agree with a batch of one up to rounding.

    **First frame.** The model's config decides between two rules (`config.model.first_chunk`):

    * `alone`: `start` commits frame 0 to the memory by itself. All steps are alike.
    * `plus_one` (release): `start` commits nothing; the first step runs frame 0, clean, together with the
      new latent frames, and its Plücker window looks at the first poses of that step.
    """

    def __init__(
        self,
        config: WorldConfig,
        transformer: SanaWMTransformer,
        vae: Any,
        checkpoint: str,
        *,
        batched: bool | None = None,
        state_precision: str | None = None,
    ) -> None:
        """Join the parts.

        Args:
            config: The world.
            transformer: Built from `config.model`, on its device and in its type.
            vae: A `networks.vae.tiny.VideoVAE`, on the same device and in the same type.
            checkpoint: Hash of the weights; states carry it.
            batched: Run slots in one forward; None decides by device.
            state_precision: See `load`.

        Raises:
            ValueError: The parts do not fit together.
        """
        self.config = config
        # As they are: a trainer may look at the network that it trains.
        self.transformer = transformer
        self.vae = vae
        self.checkpoint = checkpoint
        self.source: str | Path | None = None
        """What `load` was given, a folder with its whole path. None for a world that was put together by hand."""
        self.text_encoder: str | Path | None = None
        """Folder of the text encoder; None looks for one in `source`, then on the Hub (`checkpoints.prompts`)."""
        weight = transformer.x_embedder.proj.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.batched = self.device.type != "cpu" if batched is None else batched
        self.state_precision = check_state_precision(state_precision, self.dtype)
        """How states keep softmax window and tails; None is in `dtype`."""

        self.programs: Programs | None = None
        """Recorded programs that steps run through where one fits; None, the default, records nothing (`warmup`)."""
        self.latent_size = (config.height // vae.spatial_stride, config.width // vae.spatial_stride)
        """Rows and columns of the latent grid."""
        self.token_grid = token_grid(config, vae)
        """Rows and columns of tokens."""
        check_vae(config, vae)
        self.refiner: StreamRefiner | None = None
        """Stage 2 (`with_refiner`): frames are refined ones, and states hold its memory. None, the default, costs
        nothing."""
        self._pattern = self._empty(1, "meta")
        self._checked_sigmas: tuple[Sequence[float], tuple[float, ...]] = (config.sigmas, config.sigmas)

    @property
    def networks(self) -> Networks:
        """What a step computes with, as it is now: a trainer may look at the network that it trains."""
        return Networks(
            self.transformer, self.vae, self.config, self.device, self.dtype, self.latent_size, self.token_grid
        )

    @classmethod
    def load(
        cls,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str | None = None,
        *,
        batched: bool | None = None,
        preset: str | None = None,
        precision: str | None = None,
        refiner: Any = None,
        state_precision: str | None = None,
        text_encoder: str | Path | None = None,
        adapter: str | Path | None = None,
        merge_adapter: bool = True,
    ) -> WorldModel:
        """Load a checkpoint; for the published releases see docs/how-to/release.md.

        Args:
            checkpoint: Built-in name (`small-reflect`, `small`, `tiny`), path of a checkpoint folder or of a SANA-WM
                release, or a repository of the Hub (`Efficient-Large-Model/SANA-WM_streaming`, `...@revision`);
                `untrained` is a small world of random weights, for tests.
            device: Where to compute; `auto` is the first GPU, or the CPU.
            dtype: Type of weights and activations, or its name; None is float32, and bfloat16 for a release. The hash
                does not depend on it.
            batched: See the class.
            preset: How to run a release, a name in `checkpoints.presets.PRESETS`; None is its own.
            precision: `fp32`, `bf16`, `fp8`, `nvfp4` or `int8`, see `accel.precision`; it decides
                `dtype`, too. None leaves all to `dtype`. The hash stays that of the weights, so that a state made
                in one precision goes on in another with the same activations: the same world, rounded otherwise.
            refiner: Stage 2: `"stream"`, which lies beside the checkpoint, or a mapping of fields of
                `checkpoints.refiner.options.RefinerOptions` (`folder`, `kv_max_frames`, ...). None is without.
            state_precision: `bf16`, `fp8` or `int8`: how states keep their softmax window and tails; None is in the
                type of the activations. A state goes on only where it is kept alike (docs/reference/precision.md).
            text_encoder: Folder of `gemma-2-2b-it`, for a world with text that has none beside it.
            adapter: Folder of a LoRA adapter that was trained on the checkpoint. Hash and name of the world then tell
                both. An adapter folder in the place of `checkpoint` means its base with the adapter.
            merge_adapter: Add the adapter to the weights, or keep it beside them, see `checkpoints.adapters`.

        Raises:
            FileNotFoundError, ValueError, ImportError, PermissionError, ConnectionError: See
                `checkpoints.local` and `accel.precision.check_precision`.

        Warns:
            UserWarning: The weights were not trained to be stepped.
        """
        device, dtype, options = as_device(device), as_dtype(dtype), read_options(refiner)
        check_state_precision(state_precision, torch.float32)  # before minutes of loading
        loaded, stage2 = load_world(
            checkpoint, device, dtype, preset=preset, precision=precision, refiner=options, adapter=adapter,
            merge_adapter=merge_adapter,
        )  # fmt: skip
        if loaded.notice:
            warnings.warn(loaded.notice, stacklevel=2)
        world = cls(
            loaded.config, loaded.transformer, loaded.vae, loaded.checkpoint, batched=batched,
            state_precision=state_precision,
        )  # fmt: skip
        world.source, world.text_encoder = located(checkpoint), text_encoder
        Prompts(world)  # refuses a text encoder that cannot be
        if stage2 is not None:
            world = world.with_refiner(load_refiner(stage2, world.device, world.dtype, loaded.config.fps))
        return world

    def with_refiner(self, refiner: StreamRefiner | None) -> WorldModel:
        """A world of the same networks with stage 2, or with None without.

        Raises:
            ValueError: The refiner is made for other latents.
        """
        if refiner is not None:
            check_refiner_latents(refiner, self.vae)
        twin = copy.copy(self)
        twin.refiner = refiner
        return twin

    @classmethod
    def untrained(
        cls,
        config: WorldConfig | None = None,
        seed: int = 0,
        *,
        device: torch.device | str = "cpu",
        state_precision: str | None = None,
    ) -> WorldModel:
        """A small world with random weights, for tests: its frames are noise, its rules are the real ones."""
        made = untrained_modules(config, seed, device=device)
        return cls(made.config, made.transformer, made.vae, made.checkpoint, state_precision=state_precision)

    # Gymnasium deep-copies the arguments of an environment into every spec, once per wrapper; a world is one of them.
    # `copy.copy` shares the networks, too, and gives a world whose `batched` and `programs` can be set by themselves.

    def __deepcopy__(self, memo: dict[int, Any]) -> WorldModel:
        return self

    # -- the two functions ------------------------------------------------------------------------------

    def start(
        self,
        images: Frames,
        intrinsics: ArrayLike,
        seeds: Sequence[int],
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        refiner_text: Tensor | None = None,
    ) -> tuple[WorldState, Frames]:
        """Begin one rollout per image.

        Args:
            images: `(B, H, W, 3)` uint8 RGB at the world's resolution.
            intrinsics: `(B, 4)` fx, fy, cx, cy in pixels at that resolution.
            seeds: B noise seeds, 0 to 2**63 - 1.
            text: `(B, L, caption_channels)` embeddings; exactly for models with text conditioning.
            text_mask: `(B, L)`, non-zero where a token counts; None counts all.
            refiner_text: `(B, L, channels)` for the refiner, of `world.refiner.encode`; None is the empty prompt.

        Returns:
            The state at frame 0, and the given images as `(B, 1, H, W, 3)`.

        Raises:
            ValueError: An input that the world cannot take; names the fix.
            MemoryError: There is no room for the refiner's window.
        """
        with isolated(self.device):
            given = read_first_frames(self.config, images, intrinsics, seeds, text, text_mask)
            slots, length = len(given), given.text.shape[1]
            words = self._refiner_text(refiner_text, slots)
            begun = []
            for part in self._parts([0] * slots):
                state = begin(self.networks, self._empty(len(part), self.device, length), given, part)
                begun.append(state if self.refiner is None else look_first(self.refiner, state, words[part]))
            state = begun[0] if len(begun) == 1 else WorldState.cat(begun)
            return state, given.images[:, None].copy()

    def step(
        self, state: WorldState, c2w: ArrayLike, *, sigmas: Sequence[float] | None = None
    ) -> tuple[WorldState, Frames]:
        """Produce the next frames of every slot.

        Args:
            state: Of `start` or the step before; not modified.
            c2w: `(B, F, 4, 4)` camera-to-world poses of the next F frames, metres, relative to frame 0. F is
                a multiple of the VAE's temporal stride, at most `config.max_chunk_frames` times it.
            sigmas: Noise levels of the sampler; None is the checkpoint's.

        Returns:
            The next state, and `(B, F, H, W, 3)` uint8 RGB frames.

        Raises:
            ValueError: Poses, noise levels or a state that do not belong here; names the fix.
        """
        with isolated(self.device):
            poses, levels = self.check_step(state, c2w, sigmas)
            counters, nets = read_counters(state), self.networks
            parts = self._parts(counters.frames)
            if len(parts) == 1:
                done = denoise(nets, state.contiguous(), poses, levels, programs=self.programs, counters=counters)
                after, frames = self.finish(done)
                return after, frames.cpu().numpy()
            made = []
            for part in parts:
                some, known = state.select(part), counters.of(part)
                done = denoise(nets, some, poses[part], levels, programs=self.programs, counters=known)
                made.append(self.finish(done))
            after, frames = WorldState.cat([new for new, _ in made]), torch.cat([new for _, new in made])
            order = np.argsort(np.concatenate(parts), kind="stable").tolist()
            if order != list(range(len(order))):
                after, frames = after.select(order), frames[order]
            return after, frames.cpu().numpy()

    def stream(
        self,
        state: WorldState,
        chunks: Iterable[ArrayLike],
        *,
        sigmas: Sequence[float] | None = None,
        overlap: bool | None = None,
    ) -> Iterator[tuple[WorldState, Frames]]:
        """Repeated `step` along poses known in advance: the same states and frames.

        Args:
            state: As in `step`.
            chunks: Poses of each step, as `step` takes them.
            sigmas: As in `step`.
            overlap: Decode a chunk beside the denoising of the next, on a second CUDA stream (`accel.overlap`).
                None is off as long as this has never run on a GPU.

        Yields:
            What `step` returns, for each of `chunks`; ValueErrors come when the chunk's turn does.
        """
        from sanawm_env.world.accel.overlap import overlap_for, stream

        return stream(self, state, chunks, sigmas=sigmas, overlap=overlap_for(self.device) if overlap else None)

    def warmup(
        self,
        slots: int = 1,
        chunk_frames: int | None = None,
        *,
        sigmas: Sequence[float] | None = None,
        text_length: int | None = None,
        capture: bool | None = None,
        recorder: Recorder | None = None,
        progress: bool = True,
    ) -> dict[str, float]:
        """Run one step of every kind ahead, so that no later step is slow because it is the first of its kind.

        The arguments and the errors are those of `accel.warmup.warm_up`.

        Returns:
            Seconds by phase.
        """
        from sanawm_env.world.accel.warmup import warm_up

        return warm_up(
            self, slots, chunk_frames, sigmas=sigmas, text_length=text_length, capture=capture, recorder=recorder,
            progress=progress,
        )  # fmt: skip

    def begin_refining(self, state: WorldState, text: Tensor | None = None) -> WorldState:
        """Let stage 2 go on from where stage 1 alone has come to, at any frame; what is already seen stays as it is.

        The refiner's history is empty then, and fills within four blocks. Pure.

        Args:
            state: Of a world of the same checkpoint without refiner.
            text: As `refiner_text` of `start`.

        Raises:
            ValueError: A world without refiner, or a state that has a refiner's memory or does not belong here.
            MemoryError: There is no room for the refiner's window.
        """
        if self.refiner is None:
            raise ValueError("this world has no refiner; load it with refiner='stream', or use world.with_refiner.")
        check_refiner(state.refiner, None)
        state.check_fits(self._pattern, self.device)
        with isolated(self.device):
            words, parts = self._refiner_text(text, state.slots), self._parts([0] * state.slots)
            return WorldState.cat([look_first(self.refiner, state.select(part), words[part]) for part in parts])

    def finish(self, done: Denoised) -> tuple[WorldState, Tensor]:
        """What follows the denoising of a chunk: refined where there is a refiner, and decoded; as `sampler.decode`."""
        return decode(self.networks, done if self.refiner is None else refine_chunk(self.refiner, done))

    def _refiner_text(self, text: Tensor | None, slots: int) -> Any:
        """The refiner's text for all slots, once there is room for its window; None without a refiner."""
        if self.refiner is not None:
            check_window(slots * self.refiner.nbytes(*self.latent_size), slots, self.device)
        return refiner_text(self.refiner, text, slots)

    # -- slots that are computed together ---------------------------------------------------------------

    def _parts(self, frames: list[int]) -> list[list[int]]:
        """Slots that are computed together: one each, or all of one phase; `frames` are committed in each."""
        slots = range(len(frames))
        if not self.batched:
            return [[slot] for slot in slots]
        first = frames.count(0)
        if first in (0, len(frames)):
            return [list(slots)]
        return [[i for i in slots if frames[i]], [i for i in slots if not frames[i]]]

    def _empty(self, slots: int, device: torch.device | str, text_length: int = 0) -> WorldState:
        """A state of nothing, as `empty_state` makes one."""
        return empty_state(
            self.config, self.vae, self.checkpoint, slots, device=device, dtype=self.dtype, text_length=text_length,
            state_precision=self.state_precision,
        )  # fmt: skip

    def together(self, state: WorldState) -> bool:
        """Whether one forward steps all slots."""
        return len(self._parts(state.cache.frames.tolist())) == 1

    # -- checks -----------------------------------------------------------------------------------------

    def check_step(
        self, state: WorldState, c2w: ArrayLike, sigmas: Sequence[float] | None
    ) -> tuple[Tensor, tuple[float, ...]]:
        """The poses of a step on the world's device and its noise levels; raises ValueError as `step` does."""
        self.check_state(state)
        poses = check_poses(c2w, state.slots, self.vae.temporal_stride, self.config.max_chunk_frames)
        given, levels = self._checked_sigmas
        if sigmas is None:
            levels = self.config.sigmas
        elif sigmas is not given or not isinstance(sigmas, tuple):
            levels = check_sigmas(sigmas)
            self._checked_sigmas = (sigmas, levels)
        return torch.from_numpy(poses).to(self.device), levels

    def check_state(self, state: WorldState) -> None:
        """Refuse a state that `step` could not go on from.

        Raises:
            ValueError: Another checkpoint's state, or one on another device, of other shapes or types.
        """
        state.check_fits(self._pattern, self.device)
        if state.refiner is not None or self.refiner is not None:
            check_refiner(state.refiner, None if self.refiner is None else self.refiner.checkpoint)
