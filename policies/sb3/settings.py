"""`TrainSettings`: everything that a training run depends on, checked before anything is loaded."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sanawm_env.scenes.seeds import HELD_OUT_RESETS, LEARNER_RESETS, TRAINING_RESETS
from sanawm_env.tasks import TASKS, Task
from sanawm_env.tasks.task import GoalForm

__all__ = ["TrainSettings"]

_SEEDS_EACH = len(TRAINING_RESETS) // 100
"""Reset seeds of one training run."""


@dataclass(frozen=True)
class TrainSettings:
    """A training run of Stable-Baselines3 in one of the tasks."""

    out: Path
    """Folder for curve.jsonl, curve.png, model.zip and settings.json."""
    algo: Literal["ppo", "sac", "dqn"] = "ppo"
    """Algorithm; dqn acts by four discrete actions, the others by pose deltas unless `actions` says otherwise."""
    task: str = "PointNav"
    """Task, as in the id SanaWM/<task>-v0."""
    task_args: str = "{}"
    """Settings of the task as JSON, for instance '{"success_distance": 0.5, "distance": [1, 2]}'."""
    actions: Literal["auto", "delta", "discrete"] = "auto"
    """Pose deltas, or forward, left, right and stop; auto lets the algorithm choose."""
    obs_mode: Literal["frame", "pose"] = "frame"
    """With the picture, or without it."""
    obs_size: tuple[int, int] = (36, 64)
    """Rows and columns of the pictures that the policy sees."""
    her: bool | None = None
    """Hindsight experience replay in the task's goal form; None does it with sac on a task that has one."""
    steps: int = 50_000
    """Environment steps, all slots together."""
    minutes: float = 0.0
    """Wall-clock minutes, evaluations included, after which training stops early; 0 is no such limit."""
    envs: int = 8
    """Slots that are stepped together."""
    seed: int = 0
    """Of the network, the exploration and the training worlds."""
    max_episode_steps: int = 40
    """Steps after which an episode is cut."""
    chunk_frames: int = 1
    """Latent frames per step: the shortest steps give most decisions per second."""
    checkpoint: str = "tiny"
    """Built-in world or checkpoint folder; `tiny` makes two to three times the frames per second of `small`."""
    prompt: str | None = None
    """Text of all worlds, for a checkpoint that is conditioned on text."""
    text_encoder: str | None = None
    """Folder of that checkpoint's text encoder; None looks beside the checkpoint, then on the Hub."""
    eval_every: int = 4096
    """Environment steps between evaluations; there is one before training and one after it, too."""
    eval_episodes: int = 20
    """Episodes of an evaluation, the same held-out worlds each time."""
    eval_seed: int = LEARNER_RESETS.start
    """Reset seed of the first held-out world; the next ones follow it. Far from the first ones of
    `sanawm evaluate-policy`, so that a final test is on worlds that nobody has looked at before."""
    learning_rate: float = 3e-4
    """Of Adam."""
    gamma: float = 0.97
    """Discount per step."""
    rollout_steps: int = 64
    """ppo: steps per slot between two updates."""
    epochs: int = 8
    """ppo: passes over a rollout."""
    batch_size: int = 128
    """Transitions of a gradient step."""
    buffer_size: int = 50_000
    """sac, dqn: transitions kept; a picture of 36x64 pixels takes 7 KB, twice per transition."""
    learning_starts: int = 500
    """sac, dqn: steps of random actions before learning begins."""
    threads: int = 1
    """Threads of PyTorch; with 1 a run is repeatable bit for bit."""
    device: str = "auto"
    """Of the world and of the learner: cpu, cuda, or auto."""
    resume: bool = False
    """Go on from model.zip in `out`; `steps` and `minutes` count from the very beginning."""

    def __post_init__(self) -> None:
        if self.algo not in ("ppo", "sac", "dqn"):
            raise ValueError(f"algo must be ppo, sac or dqn; got {self.algo!r}.")
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}; got {self.task!r}.")
        if self.actions not in ("auto", "delta", "discrete") or self.obs_mode not in ("frame", "pose"):
            raise ValueError("actions must be auto, delta or discrete, and obs_mode frame or pose.")
        if self.algo == "sac" and self.actions == "discrete":
            raise ValueError("sac needs continuous actions; use --actions delta, or --algo dqn or ppo.")
        if self.algo == "dqn" and self.actions == "delta":
            raise ValueError("dqn needs discrete actions; use --actions discrete, or --algo ppo or sac.")
        if self.her and self.algo == "ppo":
            raise ValueError("hindsight replay needs a replay buffer, which ppo has not; use --algo sac or dqn.")
        if self.her and not self._has_goal_form:
            forms = ", ".join(name for name, task in TASKS.items() if issubclass(task, GoalForm))
            raise ValueError(f"{self.task} has no goal form for hindsight replay; use {forms}, or --no-her.")
        positive = (
            "steps",
            "envs",
            "max_episode_steps",
            "chunk_frames",
            "eval_every",
            "eval_episodes",
            "rollout_steps",
        )
        for name in (*positive, "epochs", "batch_size", "buffer_size", "learning_rate", "threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        if not 0 < self.gamma <= 1 or self.minutes < 0 or self.learning_starts < 0:
            raise ValueError("gamma must lie in (0, 1]; minutes and learning_starts must not be negative.")
        if not 0 <= self.seed < 100 or self.envs > _SEEDS_EACH // 2:
            raise ValueError(f"seed must lie in 0..99, and envs be at most {_SEEDS_EACH // 2}: seeds are set aside.")
        held_out = self.eval_seed, self.eval_seed + self.eval_episodes - 1
        if not all(seed in HELD_OUT_RESETS for seed in held_out):
            raise ValueError(
                f"evaluations must reset with seeds in {HELD_OUT_RESETS}, which training does not use; "
                f"got {held_out[0]}..{held_out[1]}, choose another eval_seed."
            )
        if self.algo == "ppo" and self.rollout_steps * self.envs < 2:
            raise ValueError("ppo needs two transitions at least; raise rollout_steps or envs.")
        self.make_task()

    @property
    def discrete(self) -> bool:
        """Whether actions are the four discrete ones."""
        return self.actions == "discrete" or self.algo == "dqn"

    @property
    def hindsight(self) -> bool:
        """Whether experience is replayed in hindsight."""
        return self.her if self.her is not None else self.algo == "sac" and self._has_goal_form

    @property
    def eval_seeds(self) -> list[int]:
        """Reset seeds of the held-out worlds."""
        return list(range(self.eval_seed, self.eval_seed + self.eval_episodes))

    def training_seed(self, steps_done: int) -> int:
        """Reset seed of the first slot, the next ones follow; later episodes are drawn from their random numbers.

        Args:
            steps_done: Steps of earlier runs, so that a resumed one meets other worlds.
        """
        return _SEEDS_EACH * self.seed + steps_done % (_SEEDS_EACH // 2)

    def make_task(self) -> Task:
        """The task with its settings.

        Raises:
            ValueError: `task_args` is no JSON object of the task's fields, or has a bad value.
        """
        kind = TASKS[self.task]
        known = [
            field.name for field in dataclasses.fields(kind) if field.init and field.name not in ("terms", "goal_env")
        ]
        try:
            given = json.loads(self.task_args)
        except ValueError as error:
            raise ValueError(f"task_args must be JSON such as '{{\"stop_action\": true}}'; {error}.") from None
        if not isinstance(given, dict) or (unknown := sorted(set(given) - set(known))):
            what = f"unknown {', '.join(unknown)}" if isinstance(given, dict) else f"got {given!r}"
            raise ValueError(f"task_args must be a JSON object of {', '.join(known)}; {what}.")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return kind(**values, goal_env=self.hindsight)

    @property
    def _has_goal_form(self) -> bool:
        return issubclass(TASKS[self.task], GoalForm)
