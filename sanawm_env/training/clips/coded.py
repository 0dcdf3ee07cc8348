"""Posed clips coded once: the latents of every clip are kept on the disk for later turns and later runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sanawm_env.files import cache_folder, save_tensors
from sanawm_env.scenes.posed_clips import PosedClip
from sanawm_env.training.clips.posed import PosedClips, camera_of, fit_clip
from sanawm_env.training.clips.variants import VARIANTS, Coded, code_variants
from sanawm_env.world.networks.vae.tiny import TinyVAE

__all__ = ["CodedClips"]


class CodedClips:
    """Random pieces of posed clips, as latents in all four variants."""

    def __init__(self, clips: PosedClips, vae: TinyVAE, folder: Path | None = None) -> None:
        """Nothing is coded yet.

        Args:
            clips: Where pieces come from; a whole number of latents after the first frame.
            vae: What codes them.
            folder: Where latents are kept; in `files.cache_folder` by default.
        """
        self.clips, self.vae = clips, vae
        self.folder = cache_folder() / "latents" if folder is None else folder
        digest = hashlib.sha256(f"{clips.height}x{clips.width} {vae.config}".encode())
        for name, value in sorted(vae.state_dict().items()):
            if not name.startswith("refine"):  # the decoder has no say in codes
                digest.update(value.detach().cpu().float().numpy().tobytes())
        self._vae = digest.hexdigest()

    def take(self, count: int) -> list[Coded]:
        """Pieces of the next clips: one block for each variant, in the order of `code_variants`."""
        pieces = [self._piece(self.clips.next()) for _ in range(count)]
        return [
            Coded(**{name: torch.stack([piece[v][name] for piece in pieces]) for name in pieces[0][v]})
            for v in range(VARIANTS)
        ]

    def _piece(self, clip: PosedClip) -> list[dict[str, Tensor]]:
        """All variants of a piece: tensors as of `Coded`, without the batch axis."""
        stride = self.vae.temporal_stride
        count = (self.clips.frames - 1) // stride
        whole = (len(clip) - 1) // stride
        first = self.clips.start(whole - count + 1)
        path = self._path(clip)
        if not path.exists():
            self._code(clip, path)
        try:
            with safe_open(path, "pt", device=str(self.vae.mean.device)) as file:
                return [self._variant(file, v, first, count, whole) for v in range(VARIANTS)]
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it.") from error

    def _variant(self, file: Any, v: int, first: int, count: int, whole: int) -> dict[str, Tensor]:
        """Latents `first` to `first + count` of `whole` in one variant."""
        stride, backwards, mirrored = self.vae.temporal_stride, v % 2 == 1, v >= 2
        # Played backwards, the same moments are counted from the end, and each still is where its latent ended.
        at = whole - first - count if backwards else first
        images = file.get_slice("images")[first + backwards : first + backwards + count]
        turned = ([0] if backwards else []) + ([2] if mirrored else [])
        return {
            "motion": file.get_slice("motion")[v, :, at : at + count],
            "stills": file.get_slice("stills")[v, :, at : at + count],
            "c2w": file.get_slice("c2w")[v, at * stride : (at + count) * stride + 1],
            "intrinsics": file.get_slice("intrinsics")[v],
            "images": images.flip(turned) if turned else images,
        }

    @torch.no_grad()
    def _code(self, clip: PosedClip, path: Path) -> None:
        frames = 1 + (len(clip) - 1) // self.vae.temporal_stride * self.vae.temporal_stride
        rgb = torch.from_numpy(fit_clip(clip, self.clips.height, self.clips.width, 0, frames))
        c2w = torch.from_numpy(clip.c2w[:frames]).float()
        camera = torch.from_numpy(camera_of(clip, self.clips.height, self.clips.width))
        given = [value[None].to(self.vae.mean.device) for value in (rgb, c2w, camera)]
        coded = list(code_variants(self.vae, *given))
        names = ("motion", "stills", "c2w", "intrinsics")
        found = {name: torch.cat([getattr(each, name) for each in coded]) for name in names}
        # All variants show the same images, turned.
        save_tensors(path, found | {"images": rgb[:: self.vae.temporal_stride]})

    def _path(self, clip: PosedClip) -> Path:
        """Of a clip's latents: another file for another VAE, size, or content of the clip."""
        assert clip.folder is not None
        digest = hashlib.sha256(f"{self._vae} {clip.folder.resolve()}".encode())
        for name in ("video.mp4", "camera.npz"):
            stat = (clip.folder / name).stat()
            digest.update(f" {stat.st_size} {stat.st_mtime_ns}".encode())
        return self.folder / f"{clip.name}-{digest.hexdigest()[:20]}.safetensors"
