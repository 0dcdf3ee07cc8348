"""The snapshots of a session: a tree, bounded in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.envs.sensors.observations import pose_vectors
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.files import replacing
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.pasts import read_past, remember, written_past

__all__ = ["Budget", "Node", "Tree", "describe", "load_moment", "remove_moment", "save_moment"]


@dataclass(frozen=True, eq=False)
class Node:
    """One snapshot."""

    id: str
    parent: str | None
    """The snapshot that the session had come from."""
    name: str | None
    automatic: bool
    n: int
    """The session's operation that took it."""
    step: int
    """Steps of the episode."""
    frame_index: int
    time: float
    """World time, seconds."""
    bytes: int
    pose: tuple[float, ...]
    """x, y, z in m, quaternion w, x, y, z."""

    def to_dict(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {"snapshot": self.id, **{k: v for k, v in self.__dict__.items() if k != "id"}, "pose": list(self.pose)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Node:
        """Inverse of `to_dict`."""
        given = {name: value for name, value in values.items() if name != "snapshot"}
        return cls(values["snapshot"], **(given | {"pose": tuple(values["pose"])}))


@dataclass
class Budget:
    """Bytes that the snapshots of all sessions together may hold, in memory and on the disk alike."""

    limit: int
    held: int = 0

    def short_of(self, size: int) -> bool:
        """Whether so many more do not fit."""
        return self.held + size > self.limit

    def require(self, size: int) -> None:
        """See that so many more fit.

        Raises:
            ServerError: `full`.
        """
        if self.short_of(size):
            raise ServerError(
                "full",
                f"snapshots hold {self.held / 1e9:.2f} of {self.limit / 1e9:.2f} GB; `forget` some, or start the "
                "server with more --snapshot-gb.",
            )


class Tree:
    """Snapshots by id, oldest first; their moments lie in memory, and in a folder once `save_moment` wrote them."""

    def __init__(self, budget: Budget, folder: Path) -> None:
        """Begin without any."""
        self._budget, self._folder = budget, folder
        self._nodes: dict[str, Node] = {}
        self._moments: dict[str, EnvSnapshot] = {}
        self.present: str | None = None
        """Where the session came from: the snapshot last taken or restored."""

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __contains__(self, snapshot: str) -> bool:
        return snapshot in self._nodes

    def path(self, snapshot: str) -> Path:
        """Where its file lies, once it is written."""
        return self._folder / f"{snapshot}.safetensors"

    def node(self, snapshot: str) -> Node:
        """One of them.

        Raises:
            ServerError: `unknown-snapshot`.
        """
        if snapshot not in self._nodes:
            raise ServerError("unknown-snapshot", "this session has no such snapshot; `snapshots` lists what it has.")
        return self._nodes[snapshot]

    def moment(self, snapshot: str) -> EnvSnapshot:
        """Its moment, from memory or from its file."""
        self.node(snapshot)
        return self._moments.get(snapshot) or load_moment(self.path(snapshot))

    @property
    def held(self) -> int:
        """Bytes of the snapshots."""
        return sum(node.bytes for node in self._nodes.values())

    def thinnable(self) -> list[str]:
        """Every other automatic snapshot of the older half."""
        automatic = [node.id for node in self._nodes.values() if node.automatic]
        return automatic[: max(2, len(automatic) // 2)][::2]

    def add(self, node: Node, moment: EnvSnapshot | None) -> None:
        """Take a snapshot in; room was made."""
        self._nodes[node.id] = node
        if moment is not None:
            self._moments[node.id] = moment
        self._budget.held += node.bytes

    def forget(self, snapshot: str) -> None:
        """Drop one, but not its file; its children become its parent's."""
        gone = self.node(snapshot)
        del self._nodes[snapshot]
        if self.present == snapshot:
            self.present = gone.parent
        self._moments.pop(snapshot, None)
        self._budget.held -= gone.bytes
        for child in [node for node in self._nodes.values() if node.parent == snapshot]:
            self._nodes[child.id] = replace(child, parent=gone.parent)


def describe(
    moment: EnvSnapshot, fps: float, *, id: str, parent: str | None, name: str | None, automatic: bool, n: int
) -> Node:
    """The node of a moment."""
    frame = int(moment.state.frame_index[0])
    pose = tuple(pose_vectors(moment.state.c2w[0].cpu().numpy()).tolist())
    return Node(id, parent, name, automatic, n, moment.elapsed_steps, frame, frame / fps, moment.nbytes, pose)


def save_moment(moment: EnvSnapshot, path: Path) -> None:
    """Write a moment: `EnvSnapshot.save`, and beside it what that leaves out: the frames of its step, and its past.

    The state comes last, so that where it is the rest is, too.
    """
    arrays: dict[str, NDArray[Any]] = written_past(moment)
    if moment.frames is not None and moment.frame_c2w is not None:
        arrays |= {"frames": moment.frames, "frame_c2w": moment.frame_c2w}
    if arrays:
        with replacing(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    moment.save(path)


def remove_moment(path: Path) -> None:
    """Remove what `save_moment` wrote."""
    path.unlink(missing_ok=True)
    path.with_suffix(".npz").unlink(missing_ok=True)


def load_moment(path: Path) -> EnvSnapshot:
    """Inverse of `save_moment`."""
    moment = EnvSnapshot.load(path)
    beside = path.with_suffix(".npz")
    if not beside.exists():
        return moment
    with np.load(beside, allow_pickle=False) as arrays:
        if "frames" in arrays:
            moment = replace(moment, frames=arrays["frames"], frame_c2w=arrays["frame_c2w"])
        remember(moment, read_past(arrays))
        return moment
