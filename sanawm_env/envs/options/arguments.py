"""Reading of arguments and reset options, apart from the environment's own logic."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanawm_env.envs.snapshot import EnvSnapshot
    from sanawm_env.world.config import WorldConfig
    from sanawm_env.world.networks.refiner.refiner import StreamRefiner

__all__ = ["OPTIONS", "as_chunk_frames", "as_moment", "as_size", "check_options"]

OPTIONS = ("image", "prompt", "intrinsics", "state", "goal")
"""Keys that `SanaWMEnv.reset(options=...)` knows."""


def check_options(options: dict[str, Any] | None) -> dict[str, Any]:
    """The given options as a new dictionary, without those that are None.

    Raises:
        ValueError: No dictionary, an unknown key, or keys that exclude one another.
    """
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise ValueError(f"options must be a dictionary or None; got {type(options).__name__}.")
    unknown = sorted(str(key) for key in options if key not in OPTIONS)
    if unknown:
        raise ValueError(f"unknown reset option {', '.join(map(repr, unknown))}; allowed are {', '.join(OPTIONS)}.")
    given = {key: value for key, value in options.items() if value is not None}
    others = ", ".join(repr(key) for key in given if key not in ("state", "goal"))
    if "state" in given and others:
        raise ValueError(f"option 'state' already holds image, camera and text; leave out {others}.")
    return given


def as_moment(moment: Any, checkpoint: str, frames_per_step: int) -> EnvSnapshot:
    """An `EnvSnapshot` from whatever may stand for one.

    Args:
        moment: `EnvSnapshot`, `WorldState` with one slot, or the path of a file of either.
        checkpoint: Hash that a state must carry.
        frames_per_step: Turns the frame index of a bare state into a number of steps.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another type, another checkpoint, or more than one slot.
    """
    from sanawm_env.envs.snapshot import EnvSnapshot
    from sanawm_env.world.state import StateError, WorldState

    if isinstance(moment, str | Path):
        moment = EnvSnapshot.load(moment, checkpoint)
    if isinstance(moment, WorldState):
        if moment.slots != 1:
            raise StateError(f"the state has {moment.slots} slots, an environment one; use state.select([i]).")
        moment = EnvSnapshot(moment, int(moment.frame_index[0]) // frames_per_step)
    if not isinstance(moment, EnvSnapshot):
        raise ValueError(
            f"a state is an EnvSnapshot, a WorldState or a file of one; got {type(moment).__name__}. "
            "Take one with env.unwrapped.snapshot()."
        )
    return moment


def as_chunk_frames(chunk: int | None, config: WorldConfig, refiner: StreamRefiner | None) -> int:
    """Latent frames of one step; None is the checkpoint's default.

    Raises:
        ValueError: More than the checkpoint makes at once, none at all, or no multiple of the refiner's blocks.
    """
    if chunk is None:
        chunk = config.chunk_frames
    if not 1 <= chunk <= config.max_chunk_frames:
        raise ValueError(f"chunk_frames must lie in 1..{config.max_chunk_frames} for this checkpoint; got {chunk}.")
    if refiner is not None and chunk % refiner.settings.block_frames:
        raise ValueError(
            f"the refiner repaints blocks of {refiner.settings.block_frames} latent frames, and a step shows what "
            f"its action did: chunk_frames must be a multiple of {refiner.settings.block_frames}; got {chunk}."
        )
    return chunk


def as_size(size: Any, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of observed images; None is the world's own.

    Raises:
        ValueError: Not two whole numbers, below 1, or larger than the world's frames.
    """
    if size is None:
        return height, width
    try:
        rows, columns = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        rows = columns = 0
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise ValueError(
            f"obs_size must be (rows, columns), at most the world's {height}x{width} pixels; got {size!r}. "
            "To enlarge images, use gymnasium.wrappers.ResizeObservation."
        )
    return rows, columns
