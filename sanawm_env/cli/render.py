"""`sanawm render`: a clip of the models that see it whole, the bidirectional one and the chunk-causal teacher."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from sanawm_env.cli.common.console import note
from sanawm_env.cli.common.world import WorldOptions
from sanawm_env.cli.rollout import Rollout

if TYPE_CHECKING:
    from sanawm_env.world.model import WorldModel
    from sanawm_env.world.offline.clip import Text

__all__ = ["ClipOptions", "Render"]


@dataclass(frozen=True)
class ClipOptions(WorldOptions):
    """The model, and how it is sampled."""

    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = "Efficient-Large-Model/SANA-WM_bidirectional"
    """Release folder, or repository of the Hub."""
    chunk_frames: int | None = None
    """Latent frames per chunk of the chunk-causal teacher; the checkpoint's default otherwise."""
    steps: int | None = None
    """Euler steps; 60 otherwise."""


@dataclass
class Render(Rollout):
    """Render a whole clip offline with SANA-WM_bidirectional or SANA-WM_chunk_causal: 60 steps, guidance 5.

    Image, camera, prompt and seed are given as to `sanawm rollout`; the clip cannot be stepped or continued.
    """

    out: Path = Path("render.mp4")
    """The video. Beside it come <stem>_c2w.npy, the pose of each frame, <stem>.json, the recipe, and a copy of
    --image."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    cfg: float | None = None
    """Guidance scale: 5 for checkpoints with text conditioning, otherwise 1, which is none."""
    flow_shift: float = 9.8
    """Shift of the noise levels."""
    seconds: float | None = None
    """Cut the camera path to so much of it."""
    frames: int | None = None
    """Cut the camera path to so many frames, the first counted in; in place of --seconds."""
    mode: Literal["auto", "bidirectional", "chunk_causal"] = "auto"
    """How the weights see a clip. Auto knows the releases and refuses weights that were trained to be stepped."""
    vae: Path | None = None
    """Folder of the VAE that encodes and decodes; otherwise the release's vae/, or a causal one if it has none."""
    latents: bool = False
    """Also write <stem>_latents.safetensors, which `sanawm refine` prefers to the video."""
    world: Annotated[ClipOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ClipOptions)
    """The model, and how it is sampled."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used.
        """
        import time

        from tqdm import tqdm

        from sanawm_env.envs.options import as_device, as_dtype
        from sanawm_env.world.model import WorldModel
        from sanawm_env.world.offline.clip import (
            STEPS,
            chunk_starts,
            clip_latents,
            decode_clip,
            euler_sigmas,
            staggered,
        )
        from sanawm_env.world.offline.clip import offline_mode as find_mode
        from sanawm_env.world.offline.clip_recipe import RenderRecipe, save_latents
        from sanawm_env.world.offline.provenance import frames_depend_on
        from sanawm_env.world.offline.recipe import write_rollout

        self._check_options()
        where = self.world
        steps = STEPS if self.world.steps is None else self.world.steps
        sigmas = euler_sigmas(steps, self.flow_shift)
        c2w, camera = self._path()
        with warnings.catch_warnings():
            # That these weights are not made for stepping is no news here.
            warnings.filterwarnings("ignore", message=".*was trained to see")
            world = WorldModel.load(where.checkpoint, as_device(where.device), as_dtype(where.dtype))
        config = world.config
        mode = find_mode(world) if self.mode == "auto" else self.mode
        c2w = self._cut(c2w, config.fps)
        start, scene, noise, origin = self._start(world, len(c2w))
        guidance, text, negative = self._texts(world)
        vae = self._vae(world)

        latent_frames = 1 - (1 - len(c2w)) // world.vae.temporal_stride
        chunk = (self.world.chunk_frames or config.chunk_frames) if mode == "chunk_causal" else latent_frames
        chunks = 1
        if mode == "chunk_causal":
            chunks = len(chunk_starts(latent_frames, chunk, config.model.first_chunk))
        image, copies = self._copy()
        recipe = RenderRecipe(
            checkpoint=self.world.checkpoint,
            checkpoint_hash=world.checkpoint,
            seed=self.seed,
            scene_seed=scene,
            noise_seed=noise,
            image=image,
            camera=camera,
            intrinsics={"values": start.intrinsics.tolist()} | origin,
            sigmas=sigmas,
            chunk_frames=chunk,
            frames=len(c2w),
            height=config.height,
            width=config.width,
            fps=config.fps,
            device=str(world.device),
            dtype=str(world.dtype).removeprefix("torch."),
            mode=mode,
            flow_shift=self.flow_shift,
            guidance=guidance,
            prompt=self.world.prompt or "",
            negative_prompt=self.negative_prompt,
            vae=None if vae is None else str(vae[0]),
            depends_on=frames_depend_on(world),
        )
        self.out.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        own = None if vae is None else vae[1]
        with tqdm(total=len(staggered(chunks, steps)), unit="calls", desc=self.out.name, disable=None) as bar:
            latents = clip_latents(
                world,
                start,
                c2w,
                noise,
                mode=mode,
                steps=steps,
                shift=self.flow_shift,
                guidance=guidance,
                text=text,
                negative=negative,
                chunk_frames=self.world.chunk_frames,
                vae=own,
                progress=bar.update,
            )
        also: dict[Path, Any] = {path: partial(save_latents, latents=latents) for path in self._outputs()[3:]} | copies
        write_rollout(decode_clip(world, latents, len(c2w), own), c2w, recipe, self.out, also=also)
        print(
            f"{self.out}: {len(c2w)} frames, {len(c2w) / config.fps:.1f} s of world time at "
            f"{config.width}x{config.height}, rendered in {time.perf_counter() - began:.1f} s ({mode}, {steps} steps)"
        )

    def _check_options(self) -> None:
        super()._check_options()
        if self.seconds is not None and self.frames is not None:
            raise ValueError("give either --seconds or --frames, not both.")
        if self.frames is not None and self.frames < 2:
            raise ValueError(f"--frames must be at least 2 frames; got {self.frames}.")
        if self.vae is not None and not (self.vae / "config.json").is_file():
            raise FileNotFoundError(f"no VAE in {self.vae}; give a folder with config.json and *.safetensors.")
        if self.cfg is not None and not np.isfinite(self.cfg):
            raise ValueError(f"--cfg must be a finite number; got {self.cfg}.")
        if self.mode == "bidirectional" and self.world.chunk_frames is not None:
            raise ValueError("--chunk-frames belongs to the chunk-causal teacher; leave it out with bidirectional.")

    def _outputs(self) -> list[Path]:
        latents = [self.out.with_name(f"{self.out.stem}_latents.safetensors")] if self.latents else []
        return [*super()._outputs(), *latents]

    def _inputs(self) -> dict[str, Path | None]:
        return super()._inputs() | {"--vae": self.vae}

    def _cut(self, c2w: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
        """The part of the path that is asked for."""
        if self.seconds is None and self.frames is None:
            return c2w
        wanted = self.frames if self.frames is not None else 1 + round((self.seconds or 0) * fps)
        if not 2 <= wanted <= len(c2w):
            raise ValueError(
                f"the camera path has {len(c2w)} frames ({(len(c2w) - 1) / fps:g} s), {wanted} are asked for; "
                "give 2 frames up to that many, or a longer path."
            )
        return c2w[:wanted]

    def _texts(self, world: WorldModel) -> tuple[float, Text | None, Text | None]:
        """Guidance scale, and the embeddings of prompt and negative prompt."""
        from sanawm_env.world.checkpoints.prompts import Prompts
        from sanawm_env.world.offline.clip_recipe import negative_text

        prompts = Prompts(world, self.world.text_encoder)
        prompts.check(self.world.prompt)
        if not prompts.reads:
            if (self.cfg is not None and self.cfg > 1) or self.negative_prompt:
                raise ValueError(
                    f"checkpoint {world.config.name!r} was trained without text, so there is nothing to guide by; "
                    "leave --cfg and --negative-prompt out."
                )
            return 1.0, None, None
        from sanawm_env.world.offline.clip import GUIDANCE

        guidance = GUIDANCE if self.cfg is None else self.cfg
        if self.negative_prompt and guidance <= 1:
            note("the negative prompt has no effect without guidance (--cfg above 1).")
        negative = negative_text(world, prompts, self.negative_prompt) if guidance > 1 else None
        return guidance, prompts.read(self.world.prompt), negative

    def _vae(self, world: WorldModel) -> tuple[Path, Any] | None:
        """Folder and VAE in place of the world's own, if any."""
        from sanawm_env.world.checkpoints.local import resolve
        from sanawm_env.world.offline.vae import WholeClipVAE, own_vae

        folder = self.vae or own_vae(resolve(self.world.checkpoint))
        if folder is None:
            return None
        vae = WholeClipVAE(folder, world.device, world.dtype)
        ours = (world.vae.latent_channels, world.vae.temporal_stride, world.vae.spatial_stride)
        theirs = vae.network
        found = (
            theirs.config.latent_channels,
            theirs.temporal_compression_ratio,
            theirs.spatial_compression_ratio,
        )
        if found != ours:
            raise ValueError(
                f"the VAE in {folder} has (channels, temporal, spatial stride) {found}, the checkpoint {ours}; "
                "give the VAE that belongs to it."
            )
        return folder, vae
