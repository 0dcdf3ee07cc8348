"""Tasks: goals, rewards and metrics inside a world.

A task is a frozen dataclass of settings; `gym.make("SanaWM/PointNav-v0")` plays one with its defaults, and
`gym.make("SanaWM/PointNav-v0", task=PointNav(success_distance=0.5))` with others. To write your own, subclass `Task`
and pass an object of it: `gym.make("SanaWM-v0", task=MyTask())`.
"""

from __future__ import annotations

from sanawm_env.tasks.episode import Episode
from sanawm_env.tasks.explore import Explore
from sanawm_env.tasks.follow_path import FollowPath
from sanawm_env.tasks.image_nav import ImageNav
from sanawm_env.tasks.loop_closure import LoopClosure
from sanawm_env.tasks.point_nav import PointNav
from sanawm_env.tasks.referee import Referee
from sanawm_env.tasks.rewards import TERMS, RewardTerm, Step
from sanawm_env.tasks.task import Beginning, GoalForm, Stage, Task

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
    "RewardTerm",
    "Stage",
    "Step",
    "Task",
    "get_task",
]

TASKS: dict[str, type[Task]] = {task.name: task for task in (PointNav, ImageNav, FollowPath, Explore, LoopClosure)}
"""The tasks that have an id `SanaWM/<name>-v0`."""


def get_task(task: str | Task) -> Task:
    """A task by its name, with default settings; a task itself is passed through.

    Raises:
        ValueError: An unknown name, or something else.
    """
    if isinstance(task, Task):
        return task
    if isinstance(task, str) and task in TASKS:
        return TASKS[task]()
    raise ValueError(f"task must be one of {', '.join(TASKS)}, or a sanawm_env.tasks.Task; got {task!r}.")


# --- SHIM, to be dropped at the merge of branch `tasks`
from dataclasses import dataclass as _dc
from dataclasses import replace as _rp
from typing import Any as _A

from sanawm_env.tasks.referee import Moment as _M

TaskState, ResetContext, TaskContext = Episode, Beginning, Stage


@_dc(frozen=True, eq=False)
class TaskView:
    state: _A
    c2w: _A
    frame: _A


class TaskRunner(Referee):
    context = property(lambda self: self.stage)

    def step_many(self, views, poses, frames, stops):
        out = []
        for i, v in enumerate(views):
            r = self.judge(_M(v.state, v.c2w, v.frame), poses[i], frames[i], stop=bool(stops is not None and stops[i]))

            class R:
                pass

            x = R()
            x.state, x.reward, x.terminated, x.truncated, x.info = (
                r.episode,
                r.reward,
                r.terminated,
                r.truncated,
                r.info,
            )
            out.append(x)
        return out

    def info(self, v):
        return self.describe(_M(v.state, v.c2w, v.frame)) | {"reward_terms": dict.fromkeys(self.task.rewards, 0.0)}

    def observe(self, v):
        return self.task.observe(v.state, v.c2w)

    def check(self, state):
        if state.task != self.task.name:
            raise ValueError(
                f"the moment holds the task {state.task}, this environment plays {self.task.name}; begin an episode there with reset(options={{'state': ...}})."
            )

    def with_model(self, model):
        return TaskRunner(self.task, _rp(self.stage, model=model))
