"""Where frames were, over time: odometry and tf as tracks, interpolated as tf2 does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

__all__ = ["BACKWARDS", "Disconnected", "Track", "ancestors", "between", "matrix", "stamp_of", "steady"]

Poses = NDArray[np.float64]
Stamps = NDArray[np.int64]

BACKWARDS = 100_000_000
"""Nanoseconds by which messages may be out of order; a clock that goes back further was set, or a bag looped."""


class Disconnected(ValueError):
    """No chain of transforms leads from one frame to the other."""


@dataclass(frozen=True, eq=False)
class Track:
    """Poses of a frame in another one, over time."""

    stamps: Stamps
    """`(n,)` nanoseconds, increasing."""
    poses: Poses
    """`(n, 4, 4)`."""

    @classmethod
    def of(cls, stamps: Sequence[int], poses: Sequence[Poses]) -> Track:
        """From samples in any order; of two with one stamp the first counts."""
        times, first = np.unique(np.asarray(stamps, np.int64), return_index=True)
        return cls(times, np.stack([poses[index] for index in first]))

    def at(self, stamps: Stamps) -> Poses:
        """`(k, 4, 4)` at these times: straight lines and great arcs between samples, at rest before and after them."""
        if len(self.stamps) == 1:
            return np.repeat(self.poses, len(stamps), axis=0)
        # Relative to the first sample, since seconds since 1970 leave a float half a microsecond.
        known = (self.stamps - self.stamps[0]) / 1e9
        asked = np.clip((np.asarray(stamps) - self.stamps[0]) / 1e9, 0.0, known[-1])
        found = np.tile(np.eye(4), (len(asked), 1, 1))
        found[:, :3, :3] = Slerp(known, Rotation.from_matrix(self.poses[:, :3, :3]))(asked).as_matrix()
        for axis in range(3):
            found[:, axis, 3] = np.interp(asked, known, self.poses[:, axis, 3])
        return found

    def until(self, count: int) -> Track:
        """Its first samples."""
        return Track(self.stamps[:count], self.poses[:count])

    def jump(self, max_speed: float, max_turn: float = 2 * np.pi) -> tuple[int, str] | None:
        """The first sample that lies where nothing could have got to, and what is wrong with it in words.

        Args:
            max_speed: Metres per second.
            max_turn: Radians per second.
        """
        seconds = np.diff(self.stamps) / 1e9
        moved = np.linalg.norm(np.diff(self.poses[:, :3, 3], axis=0), axis=-1)
        turns = Rotation.from_matrix(self.poses[:, :3, :3])
        turned = (turns[:-1].inv() * turns[1:]).magnitude() if len(seconds) else np.zeros(0)
        # A little noise between two samples that lie close together is no jump.
        far = (moved > max_speed * seconds) & (moved > 0.05)
        wide = (turned > max_turn * seconds) & (turned > np.deg2rad(5))
        if not (far | wide).any():
            return None
        index = int(np.argmax(far | wide))
        how = f"{moved[index]:.2f} m" if far[index] else f"{np.rad2deg(turned[index]):.0f} degrees"
        return index + 1, f"{how} in {seconds[index] * 1000:.0f} ms"


def between(tree: Mapping[str, Mapping[str, Track]], base: str, frame: str, stamps: Stamps) -> Poses:
    """Poses `(k, 4, 4)` of one frame in another, through the transforms that connect them.

    Args:
        tree: By child, then by parent: the child in the parent.
        base: In which.
        frame: Of which.
        stamps: `(k,)` nanoseconds.

    Raises:
        Disconnected: Nothing connects them.
        ValueError: tf goes round in a circle, or a frame on the way has two parents.
    """
    up = ancestors(tree, frame, until=base)
    if up[-1] == base:
        return _along(tree, up, stamps)
    down = ancestors(tree, base)
    shared = next((each for each in up if each in down), None)
    if shared is None:
        raise Disconnected(
            f"no transform leads from {base!r} to {frame!r}; tf knows {', '.join(sorted(_names(tree))) or 'nothing'}."
        )
    found = _along(tree, up[: up.index(shared) + 1], stamps)
    inverse: Poses = np.linalg.inv(_along(tree, down[: down.index(shared) + 1], stamps)) @ found
    return inverse


def steady(stamps: Sequence[int] | NDArray[np.int64]) -> int:
    """How many stamps there are before the clock goes backwards; a little disorder is none."""
    given = np.asarray(stamps, np.int64)
    if not len(given):
        return 0
    back = given < np.maximum.accumulate(given) - BACKWARDS
    return int(np.argmax(back)) if back.any() else len(given)


def stamp_of(header: Any) -> int:
    """Nanoseconds of a header."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def matrix(position: Any, turn: Any) -> Poses:
    """`(4, 4)` of a point or vector and a quaternion.

    Raises:
        ValueError: Not finite, or a quaternion of length 0.
    """
    found = np.eye(4)
    quaternion, found[:3, 3] = np.array([turn.x, turn.y, turn.z, turn.w]), (position.x, position.y, position.z)
    if not (np.isfinite(quaternion).all() and np.isfinite(found).all() and np.linalg.norm(quaternion) > 1e-6):
        raise ValueError(f"a pose is no pose: position {found[:3, 3].tolist()}, quaternion {quaternion.tolist()}.")
    found[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    return found


def ancestors(tree: Mapping[str, Mapping[str, Track]], frame: str, until: str | None = None) -> list[str]:
    """A frame and those above it, up to the topmost or to `until`.

    Raises:
        ValueError: tf goes round in a circle, or one of them has two parents.
    """
    found = [frame]
    while found[-1] != until and (parents := tree.get(found[-1])):
        if len(parents) > 1:
            raise ValueError(
                f"tf gives the frame {found[-1]!r} several parents, {' and '.join(map(repr, sorted(parents)))}; record "
                "one of their publishers alone."
            )
        (parent,) = parents
        if parent in found:
            raise ValueError(f"tf goes round in a circle: {' -> '.join([*found[found.index(parent) :], parent])}.")
        found.append(parent)
    return found


def _along(tree: Mapping[str, Mapping[str, Track]], frames: Sequence[str], stamps: Stamps) -> Poses:
    """Of the first frame in the last one, which are neighbours in tf one after another."""
    found = np.tile(np.eye(4), (len(stamps), 1, 1))
    for child, parent in pairwise(frames):
        found = tree[child][parent].at(stamps) @ found
    return found


def _names(tree: Mapping[str, Mapping[str, Track]]) -> set[str]:
    return set(tree) | {parent for parents in tree.values() for parent in parents}
