"""Clips as the release's own VAE codes them, made once and kept in files: the VAE is as slow as the training itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from sanawm_env.files import save_tensors, write_json
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.seeds import STAGE_SEEDS
from sanawm_env.training.clips.posed import PosedClips, PosedConfig, camera_of, fit_clip
from sanawm_env.world.conditioning import camera_chunk, camera_conditions
from sanawm_env.world.networks.anchor.views import to_pixels

__all__ = ["Clip", "ClipSource", "ReleaseClips", "posed", "procedural", "store_clips"]


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip that is not coded yet."""

    rgb: Tensor
    """(F, H, W, 3) uint8."""
    c2w: Tensor
    """(F, 4, 4) camera to world, metres."""
    intrinsics: Tensor
    """(4,) fx, fy, cx, cy in pixels."""


ClipSource = Callable[[int], Clip]
"""From an index to its clip, always the same one."""


def procedural(frames: int, height: int, width: int, seed: int, device: str, compile: bool) -> ClipSource:
    """Walks through rendered scenes of the world stage's seeds; each `seed` has a thousand of its own."""
    scenes = STAGE_SEEDS["world"]

    def clip(index: int) -> Clip:
        scene = scenes[(1000 * seed + index) % len(scenes)]
        made = make_clips([scene], frames, height, width, device=device, compile=compile)
        return Clip(made.rgb[0], made.c2w[0], made.intrinsics[0])

    return clip


def posed(data: Path, frames: int, height: int, width: int, seed: int) -> ClipSource:
    """Pieces of a dataset of posed clips, every clip once before any comes again.

    Raises:
        ValueError: No dataset, or no clip of it can be used.
    """
    found = PosedClips(PosedConfig(data=data), height, width, frames, seed=seed)
    order = torch.randperm(len(found.clips), generator=torch.Generator().manual_seed(seed)).tolist()

    def clip(index: int) -> Clip:
        generator = torch.Generator().manual_seed(1000 * seed + index)
        taken = found.clips[order[index % len(order)]]
        first = int(torch.randint(len(taken) - frames + 1, (), generator=generator))
        return Clip(
            torch.from_numpy(fit_clip(taken, height, width, first, frames)),
            torch.from_numpy(taken.c2w[first : first + frames]),
            torch.from_numpy(camera_of(taken, height, width)),
        )

    return clip


@torch.no_grad()
def store_clips(
    folder: Path, count: int, source: ClipSource, vae: Any, about: dict[str, Any], dtype: torch.dtype
) -> None:
    """Code clips until `count` are there; what is there already stays.

    Args:
        folder: Of the files.
        count: Clips wanted in all.
        source: Where clips come from.
        vae: The release's, on its device.
        about: What the clips depend on, JSON-ready.
        dtype: Of the VAE.

    Raises:
        ValueError: The folder holds clips of another kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = folder / "clips.json"
    if kind.exists() and json.loads(kind.read_text(encoding="utf-8")) != about:
        raise ValueError(f"{folder} holds clips of other settings; choose another --out, or delete it.")
    write_json(kind, about)
    for index in tqdm(range(count), unit="clip", desc="coding clips"):
        path = folder / f"{index:06d}.safetensors"
        if path.exists():
            continue
        clip = source(index)
        pixels = to_pixels(clip.rgb.to(vae.latents_mean.device), dtype).transpose(0, 1)[None]
        latents = vae.encode(pixels).to(torch.bfloat16)
        save_tensors(
            path,
            {
                "latents": latents[0].cpu().contiguous(),
                "c2w": clip.c2w.double().cpu().contiguous(),
                "intrinsics": clip.intrinsics.float().cpu().contiguous(),
            },
        )


class ReleaseClips:
    """Endless coded clips in random order, with the release's camera inputs."""

    def __init__(self, folder: Path, size: tuple[int, int], grid: tuple[int, int], stride: int, *, seed: int) -> None:
        """Look at a folder of `store_clips`.

        Args:
            folder: Of the files.
            size: Height and width of the frames, pixels.
            grid: Rows and columns of tokens.
            stride: Pixel frames per latent frame.
            seed: Of the order.
        """
        self.paths = sorted(folder.glob("*.safetensors"))
        self.size, self.grid, self.stride = size, grid, stride
        self.generator = torch.Generator().manual_seed(seed)
        self._order: Iterator[int] = iter(())

    def sample(self, count: int, device: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The next clips: latents `(B, C, T, h, w)` float32, and `raymap` and `plucker` of the transformer."""
        loaded = [load_file(self.paths[self._next()]) for _ in range(count)]
        latents = torch.stack([clip["latents"] for clip in loaded]).float().to(device)
        c2w = torch.stack([clip["c2w"] for clip in loaded])
        relative = torch.linalg.solve(c2w[:, :1], c2w)
        intrinsics = torch.stack([clip["intrinsics"] for clip in loaded])
        chunk = camera_chunk(relative[:, 1:], self.stride, "future")
        camera = camera_conditions(chunk, intrinsics, self.size, self.grid)
        return latents, {name: value.to(device) for name, value in camera.items()}

    def _next(self) -> int:
        found = next(self._order, None)
        if found is None:
            self._order = iter(torch.randperm(len(self.paths), generator=self.generator).tolist())
            found = next(self._order)
        return found
