"""The one walker: a world along camera paths that are known in advance, as chunks or as one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sanawm_env.camera import relative_to_first
from sanawm_env.world.checkpoints.prompts import Text
from sanawm_env.world.conditioning import check_text
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["Start", "StartLike", "begin", "rollout", "rollout_chunks", "rollout_images", "starts_of", "states_along"]

Frames = NDArray[np.uint8]


class StartLike(Protocol):
    """A first frame and its camera: `Start`, or `scenes.start_image.StartImage`."""

    @property
    def image(self) -> Frames:
        """`(H, W, 3)` RGB at the world's resolution."""
        ...

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """`(4,)` fx, fy, cx, cy in pixels of `image`."""
        ...


class Start(NamedTuple):
    """See `StartLike`."""

    image: Frames
    intrinsics: NDArray[np.float64]


def starts_of(images: Frames, intrinsics: ArrayLike) -> list[Start]:
    """A start of each of `(B, H, W, 3)` images and their `(B, 4)` intrinsics.

    Raises:
        ValueError: Not as many images as intrinsics.
    """
    cameras = np.asarray(intrinsics, dtype=np.float64)
    if len(images) != len(cameras):
        raise ValueError(f"each image needs its intrinsics; got {len(images)} images and {len(cameras)} intrinsics.")
    return [Start(image, camera) for image, camera in zip(images, cameras, strict=True)]


def rollout_chunks(
    world: WorldModel,
    starts: Sequence[StartLike],
    paths: ArrayLike,
    seeds: Sequence[int],
    texts: Sequence[Text] | None = None,
    *,
    chunk_frames: int | None = None,
    sigmas: Sequence[float] | None = None,
    overlap: bool | None = None,
    refiner_texts: Sequence[Tensor] | None = None,
) -> Iterator[Frames]:
    """Roll a world along camera paths, all side by side, and hand the frames out chunk by chunk.

    A minute of 720p is ten gigabytes; here no more than a chunk of it lies in memory.

    A path that ends inside a chunk gets a shorter last chunk. (To fill it up by standing still would denoise frames
    that nobody asked for, and since the frames of a chunk see each other, they would change those that were. A path
    that goes on standing still is another path.) Only a latent frame cannot be cut: where the path ends inside one,
    its last pose is held to fill that frame, and the pixel frames beyond the path are dropped.

    Args:
        world: The world.
        starts: B first frames at the world's resolution, with their cameras.
        paths: `(B, F, 4, 4)` camera-to-world poses in any world frame, metres; that of the first frame first.
        seeds: B noise seeds.
        texts: For worlds with text: embeddings `(1, L, channels)` and mask `(1, L)` of each path, as
            `Prompts(world).texts(*prompts)` gives them; None for worlds without.
        chunk_frames: Latent frames per step; None is the checkpoint's default.
        sigmas: Noise levels of the sampler; None is the checkpoint's.
        overlap: See `WorldModel.stream`.
        refiner_texts: For worlds with a refiner: `world.refiner.encode(prompt)` of each path; None is the empty prompt.

    Returns:
        An iterator of `(B, n, H, W, 3)` uint8 frames, F altogether; the given images come first, by themselves.

    Raises:
        ValueError: A chunk length that the world does not have, paths or texts of another number or shape, text for a
            world without or none for a world with text, at once.
            Other inputs are checked by `WorldModel` when their turn comes.
    """
    chunk = chunk_length(world, chunk_frames)
    given = torch.from_numpy(np.asarray(paths, dtype=np.float64).copy())
    if given.ndim != 4 or given.shape[0] != len(starts) or given.shape[1] < 1 or given.shape[2:] != (4, 4):
        raise ValueError(f"paths must be ({len(starts)}, F, 4, 4), a path per image; got {tuple(given.shape)}.")
    _joined(world, texts, len(starts))
    poses = relative_to_first(given).numpy()[:, 1:]

    def walk() -> Iterator[Frames]:
        state, frames = begin(world, starts, seeds, texts, refiner_texts)
        yield frames
        for _, frames in states_along(world, state, poses, chunk_frames=chunk, sigmas=sigmas, overlap=overlap):
            yield frames

    return walk()


def begin(
    world: WorldModel,
    starts: Sequence[StartLike],
    seeds: Sequence[int],
    texts: Sequence[Text] | None = None,
    refiner_texts: Sequence[Tensor] | None = None,
) -> tuple[WorldState, Frames]:
    """The state at frame 0, and the given images `(B, 1, H, W, 3)`: `WorldModel.start` for `states_along`.

    Arguments and errors are those of `rollout_chunks`.
    """
    text = _joined(world, texts, len(starts))
    images, cameras = np.stack([s.image for s in starts]), np.stack([s.intrinsics for s in starts])
    words = None if refiner_texts is None else torch.cat(list(refiner_texts))
    return world.start(images, cameras, seeds, *text, refiner_text=words)


def states_along(
    world: WorldModel,
    state: WorldState,
    poses: NDArray[np.float64],
    *,
    chunk_frames: int | None = None,
    sigmas: Sequence[float] | None = None,
    overlap: bool | None = None,
) -> Iterator[tuple[WorldState, Frames]]:
    """A world from a state onwards along poses that are known in advance, with the state after each chunk.

    Args:
        world: The world.
        state: Of B slots.
        poses: `(B, n, 4, 4)` camera-to-world relative to frame 0, metres: those of the frames to come.
        chunk_frames: As in `rollout_chunks`, and so are `sigmas` and `overlap`.
        sigmas: See there.
        overlap: See there.

    Yields:
        The state, and frames `(B, m, H, W, 3)`, n altogether. Where the path ends inside a latent frame, the last
        state is that in which the last pose was held to fill it.
    """
    chunk, stride = chunk_length(world, chunk_frames), world.vae.temporal_stride
    count = poses.shape[1]
    if count:
        poses = np.concatenate([poses, np.repeat(poses[:, -1:], -count % stride, axis=1)], axis=1)
    begins = range(0, poses.shape[1], chunk * stride)
    chunks = (poses[:, begin : begin + chunk * stride] for begin in begins)
    steps = world.stream(state, chunks, sigmas=sigmas, overlap=overlap)
    for begin, (reached, frames) in zip(begins, steps, strict=True):
        yield reached, frames[:, : count - begin]


def rollout(
    world: WorldModel,
    starts: Sequence[StartLike],
    paths: ArrayLike,
    seeds: Sequence[int],
    texts: Sequence[Text] | None = None,
    *,
    chunk_frames: int | None = None,
    sigmas: Sequence[float] | None = None,
    refiner_texts: Sequence[Tensor] | None = None,
) -> Frames:
    """All frames of `rollout_chunks` as one array `(B, F, H, W, 3)`; see there."""
    chunks = rollout_chunks(
        world, starts, paths, seeds, texts, chunk_frames=chunk_frames, sigmas=sigmas, refiner_texts=refiner_texts
    )
    made = np.empty((*np.shape(paths)[:2], world.config.height, world.config.width, 3), np.uint8)
    done = 0
    for frames in chunks:
        made[:, done : done + frames.shape[1]] = frames
        done += frames.shape[1]
    return made


def rollout_images(
    world: WorldModel,
    images: Frames,
    intrinsics: ArrayLike,
    c2w: ArrayLike,
    seeds: Sequence[int],
    texts: Sequence[Text] | None = None,
    *,
    chunk_frames: int | None = None,
    sigmas: Sequence[float] | None = None,
) -> Frames:
    """`rollout` from images and intrinsics that lie in arrays; known as `sanawm_env.evaluation.rollout`."""
    return rollout(world, starts_of(images, intrinsics), c2w, seeds, texts, chunk_frames=chunk_frames, sigmas=sigmas)


def _joined(world: WorldModel, texts: Sequence[Text] | None, count: int) -> tuple[Tensor, ...]:
    """Embeddings and mask of `count` paths as `WorldModel.start` takes them; nothing for a world without text.

    Raises:
        ValueError: Texts of another number or shape, for a world without text, or none for a world with text.
    """
    text: tuple[Tensor, ...] = ()
    if texts is not None:
        lengths = {tuple(part.shape[1:]) for pair in texts for part in pair[:1]}
        if len(texts) != count or len(lengths) != 1:
            raise ValueError(
                f"texts must be {count} pairs of embeddings and mask of one length, one per path; got "
                f"{len(texts)} of shapes {sorted(lengths)}."
            )
        text = tuple(torch.cat(part) for part in zip(*texts, strict=True))
    values, mask = text or (None, None)
    check_text(values, mask, count, world.config.model.caption_channels)
    return text


def chunk_length(world: WorldModel, chunk_frames: int | None) -> int:
    """Latent frames of a step, None being the checkpoint's.

    Raises:
        ValueError: A number that the world does not have.
    """
    config = world.config
    chunk = config.chunk_frames if chunk_frames is None else chunk_frames
    if not 1 <= chunk <= config.max_chunk_frames:
        raise ValueError(f"chunk_frames must lie in 1..{config.max_chunk_frames} for this checkpoint; got {chunk}.")
    return chunk
