"""`sanawm rollout`: a video of a world seen along a camera path."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from sanawm_env.cli.common.console import note
from sanawm_env.cli.common.outputs import check_outputs, check_sidecars
from sanawm_env.cli.common.world import WorldOptions

if TYPE_CHECKING:
    from sanawm_env.scenes.start_image import StartImage
    from sanawm_env.world.model import WorldModel

__all__ = ["TOUR", "Rollout"]

TOUR = "w-20,wd-20,d-28,none-8,a-72,none-8,wd-32,l-14,j-14,s-8"
"""What happens without --actions and --camera: 14 s of walking two metres and looking to both sides. Longer walks
end at a wall in most rooms, and the world model knows walls only as something it sees."""


@dataclass
class Rollout:
    """Write a video of a world along a camera path, with its poses and a recipe to make it again.

    Without any option: a stroll through a built-in scene, drawn by --seed.
    """

    out: Path = Path("rollout.mp4")
    """The video. Beside it come <stem>_c2w.npy, the pose of each frame, <stem>.json, the recipe, and a copy of
    --image."""
    seed: int = 1
    """Chooses the built-in scene and the noise."""
    image: Path | None = None
    """First frame of your own, any size; otherwise a built-in scene."""
    actions: str | None = None
    """Keys and frames, for example "w-32,dw-16,none-8"."""
    keymap: str = "nvlabs"
    """What the keys mean: nvlabs, nvlabs-2026-05, sglang, flashdreams or hy-worldplay."""
    camera: Path | None = None
    """Camera-to-world matrices (F, 4, 4), .npy, OpenCV axes, metres, in place of --actions."""
    intrinsics: Path | None = None
    """Of --image, in its pixels, .npy: (3, 3), (4,) fx fy cx cy, or one of those per pose."""
    fov: float | None = None
    """Horizontal field of view in degrees, in place of --intrinsics."""
    world: Annotated[WorldOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=WorldOptions)
    """The world, and how it is stepped."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used.
        """
        from tqdm import tqdm

        from sanawm_env.world.offline.provenance import frames_depend_on
        from sanawm_env.world.offline.recipe import Recipe, write_rollout
        from sanawm_env.world.rollout import rollout_chunks

        self._check_options()
        c2w, camera = self._path()
        env = self.world.env()
        model = env.model
        start, scene, noise, origin = self._start(model, len(c2w))
        texts = self.world.texts(model)
        image, copies = self._copy()
        self.out.parent.mkdir(parents=True, exist_ok=True)
        config = model.config
        recipe = Recipe(
            checkpoint=self.world.checkpoint,
            checkpoint_hash=model.checkpoint,
            seed=self.seed,
            scene_seed=scene,
            noise_seed=noise,
            image=image,
            camera=camera,
            intrinsics={"values": start.intrinsics.tolist()} | origin,
            sigmas=env.sigmas,
            chunk_frames=env.frames_per_step // model.vae.temporal_stride,
            frames=len(c2w),
            height=config.height,
            width=config.width,
            fps=config.fps,
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            checkpoint_name=config.name,
            prompt=self.world.prompt or "",
            depends_on=frames_depend_on(model),
        )
        chunks = rollout_chunks(
            model, [start], c2w[None], [noise], texts, chunk_frames=recipe.chunk_frames, sigmas=recipe.sigmas
        )  # fmt: skip
        with tqdm(total=len(c2w), unit="frames", desc=self.out.name, disable=None) as bar:
            seconds = write_rollout((frames[0] for frames in chunks), c2w, recipe, self.out, bar.update, copies)
        print(
            f"{self.out}: {len(c2w)} frames, {len(c2w) / config.fps:.1f} s of world time at "
            f"{config.width}x{config.height}, made in {seconds:.1f} s ({len(c2w) / seconds:.0f} frames/s)"
        )

    def _check_options(self) -> None:
        """Options that contradict one another, before anything costly begins."""
        if self.out.suffix.lower() != ".mp4":
            raise ValueError(f"--out must end in .mp4; got {self.out}.")
        if self.actions is not None and self.camera is not None:
            raise ValueError("give either --actions or --camera, not both.")
        if self.intrinsics is not None and self.fov is not None:
            raise ValueError("give either --intrinsics or --fov, not both.")
        if self.intrinsics is not None and self.image is None:
            raise ValueError("--intrinsics describe the picture of --image; give that too, or use --fov.")
        if self.seed < 0:
            raise ValueError(f"--seed must not be negative; got {self.seed}.")
        for path in (self.image, self.camera, self.intrinsics):
            if path is not None and not path.is_file():
                raise FileNotFoundError(f"no file {path}; check the path.")
        outputs = self._outputs()
        check_outputs(outputs, self._inputs().items())
        check_sidecars(outputs[1], ["sanawm_env.recipe"], outputs[2:])

    def _outputs(self) -> list[Path]:
        """Files to be written: the video, the recipe, and what else comes beside it."""
        return [self.out, self.out.with_suffix(".json"), self.out.with_name(f"{self.out.stem}_c2w.npy")]

    def _inputs(self) -> dict[str, Path | None]:
        """Files and folders that are read, by option."""
        return {
            "--image": self.image,
            "--camera": self.camera,
            "--intrinsics": self.intrinsics,
            "--text-encoder": self.world.text_encoder,
            "--checkpoint": Path(self.world.checkpoint),
        }

    def _path(self) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Poses relative to frame 0, and how they were given."""
        from sanawm_env.camera import load_poses, rollout_keys
        from sanawm_env.world.offline.recipe import file_hash, relative

        if self.camera is not None:
            return relative(load_poses(self.camera)), {"file": file_hash(self.camera)}
        actions = TOUR if self.actions is None else self.actions
        return rollout_keys(actions, self.keymap), {"actions": actions, "keymap": self.keymap}

    def _copy(self) -> tuple[dict[str, str] | None, dict[Path, Callable[[Path], Any]]]:
        """What the recipe says of --image, and the file that is to lie beside the video, so that it can be moved."""
        from sanawm_env.world.offline.recipe import copied_image

        if self.image is None:
            return None, {}
        image, copy = copied_image(self.out, self.image)
        there = copy.exists() and copy.samefile(self.image)  # the start of an older rollout, given again
        return image, {} if there else {copy: partial(shutil.copyfile, self.image)}

    def _start(self, model: WorldModel, frames: int) -> tuple[StartImage, int | None, int, dict[str, Any]]:
        """Frame 0, its scene seed, the noise seed, and where the intrinsics come from."""
        from gymnasium.utils.seeding import np_random

        from sanawm_env.camera import load_intrinsics
        from sanawm_env.scenes.start_image import built_in, draw_seeds, prepare, read_image

        scene, noise = draw_seeds(np_random(self.seed)[0])  # as SanaWMEnv.reset(seed=...) does
        config = model.config
        if self.image is None:
            start = built_in(scene, config.width, config.height, self.fov)
            return start, scene, noise, {"from": "scene"} if self.fov is None else {"from": "fov", "fov_deg": self.fov}
        image = read_image(self.image)
        camera = None
        if self.intrinsics is not None:
            camera = load_intrinsics(self.intrinsics, image.shape[1], image.shape[0])
            every = camera.per_frame(frames)
            if not np.allclose(every, every[0], rtol=1e-3):
                note("the intrinsics change along the path; this model holds those of frame 0.")
        start = prepare(
            image,
            config.width,
            config.height,
            intrinsics=camera,
            fov_deg=self.fov,
            default_fov_deg=config.default_fov_deg,
        )
        if start.fov_assumed:
            note(
                f"no --intrinsics given: assuming a horizontal field of view of {config.default_fov_deg:g} degrees "
                "(--fov sets another)."
            )
            return start, None, noise, {"from": "default_fov", "fov_deg": config.default_fov_deg}
        if self.intrinsics is None:
            return start, None, noise, {"from": "fov", "fov_deg": self.fov}
        from sanawm_env.world.offline.recipe import file_hash

        return start, None, noise, {"from": "file", "file": file_hash(self.intrinsics)}
