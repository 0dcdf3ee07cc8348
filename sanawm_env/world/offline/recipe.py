"""One rollout along a given camera path: frames to a video, and the recipe that makes them again."""

from __future__ import annotations

import hashlib
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

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

__all__ = [
    "FORMAT",
    "Recipe",
    "copied_image",
    "dream",
    "file_hash",
    "frames_digest",
    "poses_hash",
    "relative",
    "sidecars",
    "versions",
    "write_rollout",
]

Frames = NDArray[np.uint8]

FORMAT = "sanawm_env.recipe"
"""What the JSON beside a video says it is."""
VERSION = 2
"""Of what is written here; version 1 has no `kind`, no digests and no copy of the image."""


@dataclass
class Recipe:
    """Everything that the frames of a rollout depend on; `sanawm replay` makes them again from it."""

    kind: ClassVar[str] = "rollout"
    """Which recipe this is, in the JSON."""

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
    """`path` and `sha256` of the first frame's file; `file` is its copy beside the video, by which it is found."""
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
    digests: list[str] = field(default_factory=list)
    """`frames_digest` of frame 0 and of each chunk: tells where two renderings part. Version 1 has none."""
    depends_on: dict[str, Any] = field(default_factory=dict)
    """`world.offline.provenance.frames_depend_on`: what the bits depend on beside the inputs, such as threads."""
    poses_sha256: str = ""
    """`poses_hash` of the poses beside the video."""

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, {"format": FORMAT, "version": VERSION, "kind": self.kind} | asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `save` wrote, of this version or an older one.

        Raises:
            ValueError: Something else, or of a newer version.
        """
        if values.get("format") != FORMAT or values.get("kind", cls.kind) != cls.kind:
            raise ValueError(f"this is no recipe of a {cls.kind}; give the JSON that sanawm wrote beside a video.")
        version = values.get("version")
        if not isinstance(version, int) or not 1 <= version <= VERSION:
            raise ValueError(
                f"the recipe is of version {version} and this package reads 1 to {VERSION}; install the version of "
                f"sanawm_env that wrote it ({(values.get('versions') or {}).get('sanawm_env', 'unknown')})."
            )
        known = {each.name for each in fields(cls)}
        try:
            recipe = cls(**{key: value for key, value in values.items() if key in known})
        except TypeError as error:
            raise ValueError(f"the recipe was cut short or edited: {error}.") from None
        recipe.sigmas = tuple(recipe.sigmas)
        return recipe


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
        recipe: The hashes of frames and poses are filled in.
        out: The mp4; it takes its name last.
        progress: Called with the number of frames of each chunk.
        also: Further files beside the video, and what writes each of them.

    Returns:
        Seconds that it took.
    """
    began = time.perf_counter()
    digest = hashlib.sha256()
    recipe.digests, recipe.poses_sha256 = [], poses_hash(c2w)
    poses_path, recipe_path = sidecars(out)
    with VideoWriter(out, recipe.fps) as video:
        for frames in chunks:
            video.write(frames)
            digest.update(np.ascontiguousarray(frames).data)
            recipe.digests.append(frames_digest(frames))
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


def frames_digest(frames: Frames) -> str:
    """16 hex digits that tell frames `(n, H, W, 3)` from others."""
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()[:16]


def poses_hash(c2w: NDArray[np.float64]) -> str:
    """SHA-256 of poses `(F, 4, 4)`, of their bits as float64."""
    return hashlib.sha256(np.ascontiguousarray(c2w, dtype=np.float64).data).hexdigest()


def copied_image(out: Path, image: Path) -> tuple[dict[str, str], Path]:
    """What a recipe says of a given first frame, and where its copy beside the video belongs.

    The copy is named by its hash, so that no later rollout of that name can put another picture in its place.
    """
    hashed = file_hash(image)
    copy = out.with_name(f"{out.stem}_image-{hashed['sha256'][:12]}{image.suffix.lower()}")
    return hashed | {"file": copy.name}, copy


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide about frames."""
    packages = ("torch", "numpy", "scipy", "gymnasium", "av")
    found = {"python": platform.python_version(), "sanawm_env": sanawm_env.__version__}
    return found | {name: version(name) for name in packages}
