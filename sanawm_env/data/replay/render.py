"""Frames of a recipe, made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.episode import Frames
from sanawm_env.data.recipe import EpisodeRecipe
from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.scenes.start_image import StartImage, built_in, fit
from sanawm_env.world.checkpoints.prompts import Prompts, takes_prompts
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.recipe import Recipe, poses_hash
from sanawm_env.world.rollout import rollout_chunks

__all__ = ["find_image", "rerender", "rerender_rollout"]

_OF_THE_WORLD = ("device", "dtype", "precision", "state_precision")
"""Arguments of an environment that its world settles."""
_FOR_THE_EYE = {"info_frames": True, "render_mode": None}
"""Arguments that change no frame, as replaying needs them."""


def rerender(
    recipe: EpisodeRecipe, root: Path, world: WorldModel | None = None, *, text_encoder: Path | None = None
) -> Iterator[Frames]:
    """The frames of an episode, step by step.

    Args:
        recipe: The recipe.
        root: Folder that its image is relative to: that of the dataset.
        world: Its world, if it has been loaded; then device and type are that one's.
        text_encoder: Folder in place of the recipe's own.

    Yields:
        `(1, H, W, 3)` frame 0, then `(k, H, W, 3)` of each step, uint8 RGB; one for each of the recipe's digests.

    Raises:
        ValueError: The checkpoint, or the image, has another hash than the recipe's.
        FileNotFoundError: One of them is missing.
    """
    arguments = recipe.env | _FOR_THE_EYE
    if world is not None:
        arguments = {name: value for name, value in arguments.items() if name not in _OF_THE_WORLD}
    if text_encoder is not None:
        arguments["text_encoder"] = text_encoder
    options: dict[str, Any] = dict(recipe.options)
    if recipe.image is not None:
        options["image"] = find_image(recipe.image, root)
    env = SanaWMEnv(recipe.checkpoint if world is None else world, **arguments)
    if env.model.checkpoint != recipe.checkpoint_hash:
        raise ValueError(
            f"the recipe needs the checkpoint of hash {recipe.checkpoint_hash}, and {recipe.checkpoint!r} here has the "
            f"hash {env.model.checkpoint}; give the world that it was made with."
        )
    if not takes_prompts(env.model):  # there it is a label of the episode
        options.pop("prompt", None)
    _, info = env.reset(seed=recipe.seed, options=options)
    yield info["frames"][:1]
    for action in recipe.actions:
        *_, info = env.step(np.asarray(action, env.action_space.dtype))
        yield info["frames"]


def rerender_rollout(
    recipe: Recipe, poses: Path, world: WorldModel, *, text_encoder: Path | None = None
) -> Iterator[Frames]:
    """The frames of `sanawm rollout`, chunk by chunk.

    Args:
        recipe: The recipe.
        poses: `<stem>_c2w.npy` beside it.
        world: Its world.
        text_encoder: Folder, for a world with text that has none beside it.

    Yields:
        `(n, H, W, 3)` uint8 RGB, frame 0 by itself first.

    Raises:
        ValueError: Poses or image are not those that it was made with.
        FileNotFoundError: They are missing.
    """
    try:
        c2w = np.load(poses)
    except ValueError as error:
        raise ValueError(f"{poses} cannot be read as poses ({error}); run the rollout again.") from None
    if c2w.shape != (recipe.frames, 4, 4) or recipe.poses_sha256 not in ("", poses_hash(c2w)):
        raise ValueError(f"{poses} are not the {recipe.frames} poses that the recipe was made with; run it again.")
    config, camera = world.config, np.asarray(recipe.intrinsics["values"], np.float64)
    if recipe.image is None:
        fov = recipe.intrinsics.get("fov_deg")
        if fov is None and recipe.intrinsics.get("from") == "fov":  # version 1 left the angle to the intrinsics
            fov = round(float(np.degrees(2 * np.arctan(config.width / 2 / camera[0]))), 4)
        start = built_in(int(recipe.scene_seed or 0), config.width, config.height, fov)
    else:
        picture = fit(find_image(recipe.image, poses.parent), config.width, config.height)
        start = StartImage(picture.image, camera, False)
    texts = Prompts(world, text_encoder).texts(recipe.prompt) if config.reads_text else None
    chunks = rollout_chunks(
        world, [start], c2w[None], [recipe.noise_seed], texts,
        chunk_frames=recipe.chunk_frames, sigmas=recipe.sigmas,
    )  # fmt: skip
    for frames in chunks:
        yield frames[0]


def find_image(image: Mapping[str, str], root: Path) -> Path:
    """The first frame that a recipe names.

    Args:
        image: Its `file`, relative to `root`, and `sha256`; older rollouts know `path` as it was given.
        root: Of the dataset, or where the rollout lies.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It has another hash.
    """
    places = [root / image["file"]] if "file" in image else []
    if "path" in image:  # as it was given, or moved along with the video
        places += [Path(image["path"]), root / Path(image["path"]).name]
    found = [place for place in places if place.is_file()]
    if not found:
        raise FileNotFoundError(f"the first frame {places[0]} is missing; put the image of that name there again.")
    for place in found:
        if hashlib.sha256(place.read_bytes()).hexdigest() == image["sha256"]:
            return place
    raise ValueError(
        f"{found[0]} is another image than the recipe's (SHA-256 {image['sha256'][:12]}...); put the first one there."
    )
