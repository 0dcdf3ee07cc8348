"""Stage 2 on finished rollouts: the release's LTX-2 refiner, block after block of a clip.

The refiner is a second diffusion model, 38 GB on disk besides its text encoder, and repaints latents block by block. So
it runs after the search, on the few clips that are worth it. Facts: docs/model.md, "Refiner".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sanawm_env.video import read_video
from sanawm_env.world.accel.device import look_at
from sanawm_env.world.checkpoints.refiner.files import StreamFiles
from sanawm_env.world.checkpoints.refiner.load import load_networks
from sanawm_env.world.checkpoints.refiner.text import HiddenStates, connect
from sanawm_env.world.networks.refiner.config import StreamSettings
from sanawm_env.world.networks.refiner.stream import refine, start
from sanawm_env.world.networks.vae.frames import to_frames
from sanawm_env.world.offline.refiner_files import RefinerFiles, Rollout
from sanawm_env.world.offline.vae import EXTRA, WholeClipVAE

__all__ = ["SEED", "Offload", "Refiner", "check_memory", "check_ready"]

Offload = Literal["none", "model", "sequential"]
SEED = 42
"""Of the refiner's noise, as released; one generator runs through all blocks of a clip."""


class Refiner:
    """A loaded refiner, for any number of clips."""

    def __init__(
        self,
        files: RefinerFiles,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        offload: Offload = "none",
    ) -> None:
        """Load it.

        Args:
            files: Of `find_refiner`.
            device: Where it runs.
            dtype: Of the weights.
            offload: `model` keeps one part at a time on the GPU, `sequential` one layer, which needs accelerate.

        Raises:
            ImportError: diffusers, transformers or accelerate is not installed.
            MemoryError: The weights do not fit; says what would.
            ValueError: Offloading without a GPU, or files that cannot be read.
        """
        self.files, self.device, self.dtype, self.offload = files, torch.device(device), dtype, offload
        check_ready(files, self.device, offload)
        home = self.device if offload == "none" else torch.device("cpu")
        parts = StreamFiles(files.transformer, files.connectors, files.text_encoder)
        self.transformer, connectors, _ = load_networks(parts, home, dtype)
        self.connectors = connectors.to(home)
        self.encoder = HiddenStates(files.text_encoder, home, dtype)
        if offload == "sequential":
            from accelerate import cpu_offload

            cpu_offload(self.encoder.model, self.device)
            self.transformer.stream_layers(self.device)
        self.vae = WholeClipVAE(files.vae, home, dtype)

    @torch.inference_mode()
    def refine(self, rollout: Rollout, prompt: str, seed: int = SEED) -> NDArray[np.uint8]:
        """Refine one clip. Pure.

        Args:
            rollout: What to refine.
            prompt: Text; the release's captions describe the scene.
            seed: Of the noise.

        Returns:
            `(F - 1, H, W, 3)` uint8: frame 0 is the refiner's anchor and is not shown.

        Raises:
            ValueError: A clip too short, of an unfit size or damaged.
            MemoryError: It did not fit while running.
        """
        wanted = rollout.recipe["frames"]
        try:
            latents = self._latents(rollout)
            refined = self._refined(latents, self._text(prompt), float(rollout.recipe["fps"]), seed)
            with self._at_work(self.vae.network, always=True):
                frames = to_frames(self.vae.decode(refined)[:1, :, 1:wanted])[0]
        except torch.OutOfMemoryError as error:
            fix = {"none": "--offload model", "model": "--offload sequential"}.get(self.offload, "a larger GPU")
            raise MemoryError(
                f"{rollout.video} did not fit on {self.device} while it was refined; use {fix}."
            ) from error
        return frames.cpu().numpy()

    def _text(self, prompt: str) -> Tensor:
        with self._at_work(self.encoder.model):
            states, mask = self.encoder(prompt, self.device)
        with self._at_work(self.connectors, always=True):
            return connect(self.connectors, states, mask, self.dtype)

    def _refined(self, latents: Tensor, text: Tensor, fps: float, seed: int) -> Tensor:
        """Refined latents `(1, C, T, h, w)`, the first frame as it was."""
        settings, generator = StreamSettings(fps=fps), torch.Generator().manual_seed(seed)
        with self._at_work(self.transformer):
            made = [latents[:, :, :1].to(self.device, self.dtype)]
            state = start(self.transformer, settings, made[0], text)
            for block in latents[:, :, 1:].split(settings.block_frames, dim=2):
                noise = torch.randn(block.shape, generator=generator, dtype=self.dtype, device="cpu")
                state, refined = refine(self.transformer, settings, state, block, noise)
                made.append(refined)
        return torch.cat(made, dim=2)

    def _latents(self, rollout: Rollout) -> Tensor:
        """Stage-1 latents `(1, C, T, h, w)`: stored ones, or the video encoded."""
        if rollout.latents is not None:
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                latents = load_file(rollout.latents)["latents"]
            except (SafetensorError, KeyError) as error:
                raise ValueError(f"{rollout.latents} holds no latents ({error}); delete it or render again.") from None
        else:
            frames, _ = read_video(rollout.video)
            side = self.vae.network.spatial_compression_ratio
            if len(frames) < 2 or frames.shape[1] % side or frames.shape[2] % side:
                raise ValueError(
                    f"{rollout.video} is {len(frames)} frames of {frames.shape[1]}x{frames.shape[2]}; the refiner "
                    f"takes 2 frames or more, with sides that are multiples of {side} px."
                )
            # The VAE takes 1 + 8k frames: the last one is held, and what it adds is cut off at the end.
            extra = -(len(frames) - 1) % self.vae.network.temporal_compression_ratio
            clip = np.concatenate([frames, np.repeat(frames[-1:], extra, axis=0)])
            pixels = torch.from_numpy(clip).permute(3, 0, 1, 2)[None]
            with self._at_work(self.vae.network, always=True) as network:
                latents = self.vae.encode(pixels.to(network.device, network.dtype).div(127.5).sub(1)).cpu()
        channels = self.transformer.config.channels
        if latents.ndim != 5 or latents.shape[0] != 1 or latents.shape[1] != channels or latents.shape[2] < 2:
            raise ValueError(
                f"{rollout.source} gives latents {tuple(latents.shape)}, the refiner takes "
                f"(1, {channels}, 2 or more, h, w)."
            )
        return latents

    @contextmanager
    def _at_work(self, module: Any, *, always: bool = False) -> Iterator[Any]:
        """A part on the device while it is used; with layers streamed, only what is to be there `always`."""
        moves = self.offload == "model" or (self.offload == "sequential" and always)
        if moves:
            module.to(self.device)
        try:
            yield module
        finally:
            if moves:
                module.to("cpu")


def check_ready(files: RefinerFiles, device: torch.device, offload: Offload) -> None:
    """Refuse what cannot be loaded, before anything is; for who will load it after hours of other work.

    Raises:
        ImportError: diffusers, transformers or accelerate is not installed.
        MemoryError: See `check_memory`.
        ValueError: Offloading without a GPU.
    """
    if offload != "none" and device.type == "cpu":
        raise ValueError("offloading moves weights off a GPU, there is none in use; leave --offload out.")
    try:
        from diffusers import AutoencoderKLLTX2Video  # noqa: F401
        from transformers import Gemma3ForConditionalGeneration  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the refiner needs diffusers 0.42 and transformers: {EXTRA}") from error
    check_memory(files, device, offload)
    if offload == "sequential":
        _need_accelerate()


def check_memory(files: RefinerFiles, device: torch.device, offload: Offload) -> None:
    """Refuse before loading what cannot fit: the weights alone, activations come on top.

    Raises:
        MemoryError: Says what is needed, what there is, and what would fit.
    """
    sizes = files.bytes
    needed = {"none": sum(sizes.values()), "model": max(sizes.values()), "sequential": 0}[offload]
    free = look_at("cpu").memory if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
    if free is None or needed <= free:
        return
    fix = "take a machine with more memory"
    if device.type != "cpu":
        fix = "use --offload model" if offload == "none" and max(sizes.values()) <= free else "use --offload sequential"
    raise MemoryError(
        f"the refiner's weights need {needed / 1e9:.1f} GB on {device}, {free / 1e9:.1f} GB are free; {fix}."
    )


def _need_accelerate() -> None:
    try:
        import accelerate  # noqa: F401
    except ImportError as error:
        raise ImportError("offloading layer by layer needs accelerate: pip install accelerate") from error
