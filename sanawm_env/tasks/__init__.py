"""Tasks: goals, rewards and metrics inside a world.

A task is a frozen dataclass of settings; `gym.make("SanaWM/PointNav-v0")` plays one with its defaults, and
`gym.make("SanaWM/PointNav-v0", task=PointNav(success_distance=0.5))` with others. To write your own, subclass `Task`
and pass an object of it: `gym.make("SanaWM-v0", task=MyTask())`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sanawm_env.tasks.explore import Explore
from sanawm_env.tasks.follow_path import FollowPath
from sanawm_env.tasks.image_nav import ImageNav
from sanawm_env.tasks.loop_closure import LoopClosure
from sanawm_env.tasks.point_nav import PointNav
from sanawm_env.tasks.rewards import TERMS, RewardTerm, Step
from sanawm_env.tasks.runner import TaskRunner, TaskStep, TaskView
from sanawm_env.tasks.settings import from_dict
from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import GoalForm, ResetContext, Task, TaskContext

__all__ = [
    "TASKS",
    "TERMS",
    "Beginning",
    "Episode",
    "Explore",
    "FollowPath",
    "GoalForm",
    "ImageNav",
    "LoopClosure",
    "PointNav",
    "Referee",
    "ResetContext",
    "RewardTerm",
    "Stage",
    "Step",
    "Task",
    "TaskContext",
    "TaskRunner",
    "TaskState",
    "TaskStep",
    "TaskView",
    "get_task",
]

# Names of before; users' own tasks import them.
Referee, Stage, Beginning, Episode = TaskRunner, TaskContext, ResetContext, TaskState

TASKS: dict[str, type[Task]] = {task.name: task for task in (PointNav, ImageNav, FollowPath, Explore, LoopClosure)}
"""The tasks that have an id `SanaWM/<name>-v0`."""


def get_task(task: str | Task | Mapping[str, Any]) -> Task:
    """A task by its name, with default settings, or from `Task.to_dict`; a task itself is passed through.

    Raises:
        ValueError: An unknown name, settings that no task has, or something else.
    """
    if isinstance(task, Task):
        return task
    if isinstance(task, str) and task in TASKS:
        return TASKS[task]()
    if isinstance(task, Mapping):
        return from_dict(task)
    raise ValueError(f"task must be one of {', '.join(TASKS)}, or a sanawm_env.tasks.Task; got {task!r}.")
