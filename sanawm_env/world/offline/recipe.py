"""One rollout along a given camera path: frames to a video, and the recipe that makes them again."""

from __future__ import annotations

import hashlib
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import RigidTransform

import sanawm_env
from sanawm_env.files import replacing, write_json
from sanawm_env.scenes.start_image import StartImage
from sanawm_env.video import VideoWriter
from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import rollout_chunks

if TYPE_CHECKING:
    from sanawm_env.world.checkpoints.prompts import Text

__all__ = ["FORMAT", "Recipe", "dream", "file_hash", "relative", "sidecars", "versions", "write_rollout"]

Frames = NDArray[np.uint8]

FORMAT = "sanawm_env.recipe"
"""What the JSON beside a video says it is."""


@dataclass
class Recipe:
    """Everything that the frames of a rollout depend on."""

    checkpoint: str
    """Name or folder."""
    checkpoint_hash: str
    """Hash of config and weights."""
    seed: int
    """Seed that scene and noise were drawn from."""
    scene_seed: int | None
    """Scene of the first frame; None when an image was given."""
    noise_seed: int
    """Seed of the sampler's noise."""
    image: dict[str, str] | None
    """Path and SHA-256 of the first frame's file."""
    camera: dict[str, Any]
    """The action string and its key map, or path and SHA-256 of the poses."""
    intrinsics: dict[str, Any]
    """fx, fy, cx, cy in pixels of the frames, and where they come from."""
    sigmas: tuple[float, ...]
    """Noise levels of the sampler."""
    chunk_frames: int
    """Latent frames per chunk."""
    frames: int
    """Frames of the video, the first frame counted in."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: float
    """Frames per second."""
    device: str
    """Where it ran; the same frames to the last bit are promised for `cpu`."""
    dtype: str
    """Type of weights and activations."""
    frames_sha256: str = ""
    """SHA-256 of all frames as raw RGB bytes, before video compression."""
    versions: dict[str, str] = field(default_factory=lambda: versions())
    """Of the software."""
    checkpoint_name: str = ""
    """Name of the world; for a release repository, commit and preset."""
    prompt: str = ""
    """Text, for a world that was trained with some."""

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, {"format": FORMAT, "version": 1} | asdict(self))


def dream(
    model: WorldModel,
    start: StartImage,
    c2w: NDArray[np.float64],
    noise_seed: int,
    *,
    chunk_frames: int,
    sigmas: Sequence[float] | None = None,
    text: Text | None = None,
    overlap: bool | None = None,
) -> Iterator[Frames]:
    """Frames along a camera path, chunk by chunk: `world.rollout.rollout_chunks` of one path; call that instead.

    Args:
        model: The world.
        start: Frame 0.
        c2w: `(F, 4, 4)` poses relative to frame 0, that of frame 0 first.
        noise_seed: Of the sampler.
        chunk_frames: Latent frames per step.
        sigmas: Noise levels; None is the checkpoint's.
        text: Of `Prompts.read`, for a world with text.
        overlap: See `WorldModel.stream`.

    Yields:
        `(n, H, W, 3)` uint8; F frames altogether, beginning with frame 0.

    Warns:
        DeprecationWarning: It will go.
    """
    warnings.warn("dream is deprecated; use sanawm_env.world.rollout.rollout_chunks.", DeprecationWarning, stacklevel=2)
    texts = None if text is None else [text]
    chunks = rollout_chunks(
        model, [start], c2w[None], [noise_seed], texts, chunk_frames=chunk_frames, sigmas=sigmas, overlap=overlap
    )
    for frames in chunks:
        yield frames[0]


def relative(c2w: NDArray[np.float64]) -> NDArray[np.float64]:
    """The poses `(F, 4, 4)` seen from frame 0, whose pose becomes the identity exactly."""
    transforms = RigidTransform.from_matrix(c2w)
    moved = (transforms[0].inv() * transforms).as_matrix()
    moved[0] = np.eye(4)
    return moved


def sidecars(out: Path) -> tuple[Path, Path]:
    """Where the poses and the recipe of a video go: `<stem>_c2w.npy` and `<stem>.json`."""
    return out.with_name(f"{out.stem}_c2w.npy"), out.with_suffix(".json")


def write_rollout(
    chunks: Iterator[Frames],
    c2w: NDArray[np.float64],
    recipe: Recipe,
    out: Path,
    progress: Callable[[int], Any] = lambda frames: None,
    also: Mapping[Path, Callable[[Path], Any]] | None = None,
) -> float:
    """Write `out`, `<stem>_c2w.npy` and `<stem>.json`: all of them whole, or the older ones stay.

    Args:
        chunks: Frames of a rollout, piece by piece.
        c2w: Poses of all frames.
        recipe: Its hash of the frames is filled in.
        out: The mp4; it takes its name last.
        progress: Called with the number of frames of each chunk.
        also: Further files beside the video, and what writes each of them.

    Returns:
        Seconds that it took.
    """
    began = time.perf_counter()
    digest = hashlib.sha256()
    poses_path, recipe_path = sidecars(out)
    with VideoWriter(out, recipe.fps) as video:
        for frames in chunks:
            video.write(frames)
            digest.update(np.ascontiguousarray(frames).tobytes())
            progress(len(frames))
        recipe.frames_sha256 = digest.hexdigest()
        video.finish()
        with ExitStack() as files:
            for path, write in (also or {}).items():
                write(files.enter_context(replacing(path)))
            recipe.save(files.enter_context(replacing(recipe_path)))
            with files.enter_context(replacing(poses_path)).open("wb") as file:
                np.save(file, c2w)
    return time.perf_counter() - began


def file_hash(path: Path) -> dict[str, str]:
    """Path and SHA-256 of a file."""
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide about frames."""
    packages = ("torch", "numpy", "scipy", "gymnasium", "av")
    found = {"python": platform.python_version(), "sanawm_env": sanawm_env.__version__}
    return found | {name: version(name) for name in packages}
