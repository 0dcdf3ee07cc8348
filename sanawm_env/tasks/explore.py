"""`Explore`: see as much as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Array, ResetContext, Task, TaskContext, check_positive

__all__ = ["Explore"]


@dataclass(frozen=True)
class Explore(Task):
    """Cover views: places, and directions to look in from there.

    A view is a cell of the ground (frame 0's x-z plane) together with a sector of headings. Every frame counts, also
    those inside a step. There is no depth in a generated world, hence no map of surfaces: views are what can be counted
    without trusting the picture.

    Observation `visited` `(sectors,)` float32: 1 for each heading sector already seen from the present cell, beginning
    with the sector of the present heading and going on to the right. Info has `views` (number seen) and `coverage`
    (share of `target_views`, at most 1); there is no goal, hence no distance and no SPL.
    """

    name: ClassVar[str] = "Explore"
    without: ClassVar[Mapping[str, str]] = {
        "progress": "a distance to a goal",
        "view_progress": "a goal with a direction of view",
        "goal_similarity": "a goal image",
        "deviation": "a path to follow (FollowPath)",
    }

    rewards: Mapping[str, float] = field(default_factory=lambda: {"novelty": 0.1, "success": 2.5, "slack": 0.01})
    """See `Task`."""
    cell: float = 1.0
    """Metres of a ground cell's side."""
    sectors: int = 12
    """Heading sectors of the full circle."""
    target_views: int = 48
    """Views that make success."""
    world_radius: float = 10.0
    """Metres from frame 0, along x and z, within which views count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            self.name,
            cell=self.cell,
            sectors=self.sectors,
            target_views=self.target_views,
            world_radius=self.world_radius,
        )
        if self.target_views > self._side**2 * self.sectors:
            raise ValueError(
                f"{self.name}: target_views {self.target_views} exceeds the {self._side**2 * self.sectors} views "
                "within world_radius; lower it."
            )

    @property
    def _side(self) -> int:
        return 2 * int(np.ceil(self.world_radius / self.cell))

    def entries(self, context: TaskContext) -> dict[str, spaces.Space[Any]]:
        """`visited`."""
        return {"visited": spaces.Box(0.0, 1.0, (self.sectors,), np.float32)}

    def read_goal(self, goal: Any, context: TaskContext) -> Any:
        """There is none."""
        raise ValueError("Explore has no goal; leave the option 'goal' out, and set target_views instead.")

    def begin(self, resets: Sequence[ResetContext], context: TaskContext) -> list[TaskState]:
        """Nothing is seen but the first view."""
        seen = np.zeros((self._side, self._side, self.sectors), dtype=np.bool_)
        return [self.follow(TaskState.of(self.name, seen=seen), at.c2w[None]) for at in resets]

    def state_shapes(self, context: TaskContext) -> Mapping[str, tuple[int | None, ...]]:
        """See `Task`."""
        return {"seen": (self._side, self._side, self.sectors)}

    def follow(self, state: TaskState, c2w: Array) -> TaskState:
        """Mark the views of all frames."""
        views = self._views(c2w)
        if state["seen"][views].all():
            return state
        seen = state["seen"].copy()
        seen[views] = True
        return state.with_(seen=seen)

    def measure(self, state: TaskState, c2w: Array, frame: NDArray[np.uint8]) -> dict[str, float]:
        """`views` and `coverage`."""
        views = float(state["seen"].sum())
        return {"views": views, "coverage": min(1.0, views / self.target_views)}

    def reached(self, state: TaskState, measures: Mapping[str, float]) -> bool:
        """Enough views."""
        return measures["coverage"] >= 1.0

    def observe(self, state: TaskState, c2w: Array) -> dict[str, NDArray[Any]]:
        """`visited`."""
        rows, columns, sectors = self._views(c2w[None])
        if not len(rows):  # beyond the counted ground there is nothing left to gain
            return {"visited": np.ones(self.sectors, np.float32)}
        return {"visited": np.roll(state["seen"][rows[0], columns[0]], -int(sectors[0])).astype(np.float32)}

    def _views(self, c2w: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Rows, columns and sectors of the poses `(F, 4, 4)` that lie within the counted ground."""
        cells = np.floor(c2w[:, [2, 0], 3] / self.cell).astype(np.intp) + self._side // 2
        inside = ((cells >= 0) & (cells < self._side)).all(1)
        ahead = c2w[inside, :3, 2]
        heading = np.arctan2(ahead[:, 0], ahead[:, 2]) / (2 * np.pi)  # turns to the right of frame 0's view
        # Sectors are centred on 0, so that trembling about a straight view does not count as two.
        sectors = np.floor(heading * self.sectors + 0.5).astype(np.intp) % self.sectors
        return cells[inside, 0], cells[inside, 1], sectors
