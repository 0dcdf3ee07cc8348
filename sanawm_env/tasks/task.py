"""`Task`: the rules that turn a world into an environment with a goal.

A task is a protocol of small methods: how an episode begins, what the task remembers of it, what it measures, when it
is done and what it adds to observations. `TaskRunner` calls them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.tasks.rewards import RewardTerm, check_rewards
from sanawm_env.tasks.state import TaskState
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["GoalForm", "ResetContext", "Task", "TaskContext", "check_positive", "check_range", "qualified_name"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TaskContext:
    """The environment that a task runs in: its world, its limits, its sizes."""

    model: WorldModel
    """The world. Pickles leave it out (None then): the environment around knows it as well, and weights are heavy."""
    sigmas: Sequence[float]
    """Noise levels of the sampler."""
    frames_per_step: int
    """Pixel frames F of one step."""
    max_translation: float
    """Metres per step that an action can command along each axis."""
    max_rotation: float
    """Radians per step that an action can command about each axis."""
    image_size: tuple[int, int]
    """Rows and columns of observed images."""

    def __post_init__(self) -> None:
        check_positive("the task's context", max_translation=self.max_translation, max_rotation=self.max_rotation)

    def with_model(self, model: WorldModel) -> TaskContext:
        """The same context around another model."""
        return replace(self, model=model)

    def __copy__(self) -> TaskContext:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TaskContext:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model": None}


@dataclass(frozen=True, eq=False)
class ResetContext:
    """What a task is given at the reset of one episode."""

    state: WorldState
    """One slot."""
    c2w: Array
    """`(4, 4)` pose of the camera."""
    frame: NDArray[np.uint8]
    """`(H, W, 3)` picture."""
    rng: np.random.Generator
    """The episode's random numbers."""
    goal: Any
    """Reset option `goal`, already read by `Task.read_goal`; None lets the task choose."""


@dataclass(frozen=True)
class Task(ABC):
    """What all tasks have in common: settings alone. What a task remembers of an episode is a `TaskState`."""

    name: ClassVar[str] = ""
    """As in the id `SanaWM/<name>-v0`."""
    without: ClassVar[Mapping[str, str]] = {}
    """Reward terms that the task cannot compute, and what they need."""

    task_class: str = field(default="", init=False, repr=False, compare=False)
    """Which class this is, in `to_dict` and in the JSON of an environment's spec: the name of a task of this package,
    `module:Class` of others."""
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Name of a reward term to its weight; see `tasks.rewards`."""
    terms: Mapping[str, RewardTerm] = field(default_factory=dict)
    """Reward terms of your own: name to a function of `tasks.rewards.Step`."""
    stop_action: bool = False
    """Whether the policy has to say that it is done (Habitat's STOP): actions get a seventh component, and above 0
    it ends the episode. Without it, reaching the goal does."""
    drift_limit: float | None = None
    """Decay of the picture (`tasks.metrics.decay`, 0 to 1) above which an episode is truncated; None never."""
    goal_env: bool = False
    """Goal form, as hindsight experience replay needs it: observations of exactly `observation`, `achieved_goal` and
    `desired_goal`, and `env.unwrapped.compute_reward`, which gives the reward. Not every task has one."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        ours = cls.__module__.startswith(__name__.rpartition(".")[0] + ".")
        cls.task_class = cls.name if ours else f"{cls.__module__}:{cls.__qualname__}"

    def __post_init__(self) -> None:
        check_rewards(self.rewards, self.terms, self.without)
        if self.goal_env and not isinstance(self, GoalForm):
            raise ValueError(
                f"{self.name} has no goal form (its goal is no vector); set goal_env=False, or use PointNav."
            )
        if self.drift_limit is not None and not 0 < self.drift_limit <= 1:
            raise ValueError(f"drift_limit must lie in (0, 1], or be None for no limit; got {self.drift_limit}.")

    def to_dict(self) -> dict[str, Any]:
        """Settings by name, with the class's own; `get_task` makes the task again, also after JSON."""
        return asdict(self)

    def state_shapes(self, context: TaskContext) -> Mapping[str, tuple[int | None, ...]]:
        """Shapes of the arrays that `begin` makes, by name; None stands for any length.

        Optional. It tells whether a state fits that was saved before states carried their task's settings.
        """
        return {}

    @abstractmethod
    def entries(self, context: TaskContext) -> dict[str, spaces.Space[Any]]:
        """Spaces that the task adds to observations."""

    @abstractmethod
    def read_goal(self, goal: Any, context: TaskContext) -> Any:
        """Check a reset option `goal`.

        Raises:
            ValueError: It cannot be a goal of this task; says what one is.
        """

    @abstractmethod
    def begin(self, resets: Sequence[ResetContext], context: TaskContext) -> list[TaskState]:
        """The first `TaskState` of each rollout."""

    def follow(self, state: TaskState, c2w: Array) -> TaskState:
        """The state after the camera went along poses `(F, 4, 4)`."""
        return state

    @abstractmethod
    def measure(self, state: TaskState, c2w: Array, frame: NDArray[np.uint8]) -> dict[str, float]:
        """Named numbers about the present, for info and rewards, from the pose `(4, 4)` and picture."""

    @abstractmethod
    def reached(self, state: TaskState, measures: Mapping[str, float]) -> bool:
        """Whether the goal is reached at this moment."""

    @abstractmethod
    def observe(self, state: TaskState, c2w: Array) -> dict[str, NDArray[Any]]:
        """Observations of `entries` at the pose `(4, 4)`, in memory of their own."""


@runtime_checkable
class GoalForm(Protocol):
    """What a task with a goal form adds."""

    def goal_space(self) -> spaces.Box:
        """Space of achieved and desired goals."""

    def achieved_goal(self, c2w: Array) -> NDArray[np.float32]:
        """The goal that a pose `(4, 4)` is at."""

    def desired_goal(self, state: TaskState) -> NDArray[np.float32]:
        """The episode's goal."""

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> NDArray[np.float32]:
        """Rewards `(...)` of achieved against desired goals `(..., n)`."""


def qualified_name(thing: Any) -> str:
    """`module.Class` or `module.function`, the same in every process."""
    return f"{thing.__module__}.{thing.__qualname__}"


def check_positive(task: str, **values: float) -> None:
    """Refuse lengths and angles that are not positive numbers.

    Raises:
        ValueError: Names the first.
    """
    for name, value in values.items():
        if not (isinstance(value, int | float | np.number) and np.isfinite(value) and value > 0):
            raise ValueError(f"{task}: {name} must be a positive number; got {value!r}.")


def check_range(task: str, name: str, low_high: tuple[float, float], least: float = 0.0) -> None:
    """Refuse a pair that is no range.

    Raises:
        ValueError: Not two finite numbers with least <= low <= high.
    """
    try:
        low, high = (float(value) for value in low_high)
    except (TypeError, ValueError):
        raise ValueError(f"{task}: {name} must be two numbers (low, high); got {low_high!r}.") from None
    if not (np.isfinite([low, high]).all() and least <= low <= high):
        raise ValueError(f"{task}: {name} must be (low, high) with {least:g} <= low <= high; got {low_high!r}.")
