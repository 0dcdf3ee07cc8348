"""`demonstrations`: what the policies of a dataset saw and did, for behaviour cloning (`policies.imitation`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.resize import resized
from sanawm_env.data.episode import Episode
from sanawm_env.envs.sensors.observations import pose_vectors
from sanawm_env.policies.demonstrations import IMAGE, Demonstrations

__all__ = ["demonstrations"]

POSE = "pose"


def demonstrations(
    episodes: Iterable[Episode],
    entries: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Demonstrations:
    """Pairs of observation and action, one per step of each episode.

    Args:
        episodes: Of any reader that knows steps: `get_format("lerobot").load().read(path)`.
        entries: Entries of the observation to keep; None is the pose and all that the task showed.
        image_size: Rows and columns of the picture, which the pairs then hold as well; None leaves it out.

    Raises:
        ValueError: No steps, entries that an episode lacks, or episodes of different actions.
    """
    seen: dict[str, list[NDArray[np.float32]]] = {}
    pictures: list[NDArray[np.uint8]] = []
    done: list[NDArray[np.float32]] = []
    names = None if entries is None else tuple(entries)
    for episode in episodes:
        steps = len(episode.actions)
        if not steps:
            raise ValueError(f"episode {episode.name!r} has no actions to imitate; leave it out.")
        here = {POSE: pose_vectors(episode.c2w[:: episode.frames_per_step]), **episode.entries}
        names = names or tuple(sorted(here))
        if missing := [name for name in names if name not in here]:
            raise ValueError(
                f"episode {episode.name!r} has no entry {missing[0]!r}; it has {', '.join(sorted(here))}. Imitate "
                "episodes of one task at a time."
            )
        if done and done[0].shape[1:] != episode.actions.shape[1:]:
            raise ValueError(f"episode {episode.name!r} has other actions than the one before it; imitate one kind.")
        for name in names:
            seen.setdefault(name, []).append(np.asarray(here[name][:steps], np.float32))
        done.append(np.asarray(episode.actions, np.float32))
        if image_size is not None:
            pictures += decision_frames(episode, image_size)
    if not done:
        raise ValueError("there are no episodes to imitate.")
    joined: dict[str, NDArray[np.generic]] = {name: np.concatenate(values) for name, values in seen.items()}
    if image_size is not None:
        joined[IMAGE] = np.stack(pictures)
    actions = np.concatenate(done)
    # A normalised pose delta, with STOP or without; `SanaWMEnv` refuses everything outside.
    limits = ((-1.0,) * actions.shape[1], (1.0,) * actions.shape[1]) if actions.ndim == 2 else None
    return Demonstrations(joined, actions, limits=limits)


def decision_frames(episode: Episode, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """The frames `(h, w, 3)` in which an action was chosen: the first of each step, without the last of all.

    Raises:
        ValueError: The video is shorter than the episode.
    """
    every, found, index = episode.frames_per_step, [], 0
    for piece in episode.frames:
        for frame in piece:
            if index % every == 0:
                found.append(np.ascontiguousarray(resized(frame, size)))
            index += 1
    if index != len(episode):
        raise ValueError(f"episode {episode.name!r} has {len(episode)} poses and {index} frames.")
    return found[: len(episode.actions)]
