"""Train a policy with Stable-Baselines3 in a task, and measure it on held-out worlds as it learns.

    python -m sanawm_env.policies.sb3.train --algo ppo --task PointNav --steps 30000 --minutes 20 --out runs/ppo

`out` then has curve.jsonl (one evaluation a line, that of random actions first), curve.png, model.zip and
settings.json. See docs/how-to/reinforcement-learning.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import tyro
from sanawm_env.policies.sb3 import curve
from sanawm_env.policies.sb3.evaluator import Act, Evaluator, random_act
from sanawm_env.policies.sb3.learners import load_learner, make_learner
from sanawm_env.policies.sb3.make import make_training_envs
from sanawm_env.policies.sb3.settings import TrainSettings
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed

from sanawm_env.envs.options import as_device
from sanawm_env.files import replacing, write_json
from sanawm_env.scenes.seeds import TRAINING_RESETS
from sanawm_env.world.model import WorldModel

__all__ = ["main", "train"]

_MUST_AGREE = (
    "algo",
    "task",
    "task_args",
    "discrete",
    "hindsight",
    "obs_mode",
    "obs_size",
    "envs",
    "eval_seeds",
    "seed",
    "prompt",
)
"""Settings that a resumed run shares with its beginning: else its curve would not be one curve."""


def train(settings: TrainSettings) -> list[curve.Point]:
    """Train, until the steps or the minutes are used up.

    Returns:
        All evaluations, those of a resumed run's beginning included; the first is that of random actions.

    Raises:
        ValueError: `out` holds a run already and `resume` is not set, or resuming with settings that do not agree.
        FileNotFoundError: No run to resume, or no such checkpoint.
    """
    past = _past(settings)
    torch.set_num_threads(settings.threads)
    world = WorldModel.load(settings.checkpoint, as_device(settings.device), batched=True)
    envs = make_training_envs(settings, world)
    evaluator = Evaluator(settings, settings.eval_seeds, world)
    if settings.resume:
        learner = load_learner(settings, envs, settings.out / "model.zip")
        # Evaluations that came after the model was saved are made again.
        past = [point for point in past if point.steps <= learner.num_timesteps]
        set_random_seed(settings.seed + learner.num_timesteps)
    else:
        learner = make_learner(settings, envs)
        settings.out.mkdir(parents=True, exist_ok=True)
        _write_settings(settings)
    envs.seed(settings.training_seed(learner.num_timesteps))
    run = _Run(settings, evaluator, learner, past)
    if not past:
        run.measure("random", random_act(evaluator, settings.seed))
    if learner.num_timesteps < settings.steps:
        # Stable-Baselines3 counts the steps to come; ours are counted from the very beginning.
        ahead = settings.steps - learner.num_timesteps
        learner.learn(ahead, callback=run, reset_num_timesteps=not settings.resume)
    run.finish()
    envs.close()
    _plot(settings.out)
    return run.points


class _Run(BaseCallback):
    """Evaluates every so often, saves, and watches the clock."""

    def __init__(
        self, settings: TrainSettings, evaluator: Evaluator, learner: BaseAlgorithm, past: list[curve.Point]
    ) -> None:
        super().__init__()
        self.points = past
        self._settings, self._evaluator, self._learner = settings, evaluator, learner
        self._began = time.perf_counter() - 60 * (past[-1].minutes if past else 0.0)
        # A kill may have come between the saving of a model and its evaluation.
        measured = bool(past) and (past[-1].policy, past[-1].steps) == (settings.algo, learner.num_timesteps)
        self._next = learner.num_timesteps + measured * settings.eval_every

    def _on_training_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._evaluate()
            self._next += self._settings.eval_every

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._evaluate()
            self._next += self._settings.eval_every
        return not self._settings.minutes or self._minutes() < self._settings.minutes

    def finish(self) -> None:
        """The last evaluation, after the last update."""
        self._evaluate(again=True)
        if isinstance(self._learner, OffPolicyAlgorithm):
            with replacing(self._settings.out / "replay.pkl") as temporary:
                self._learner.save_replay_buffer(temporary)

    def measure(self, name: str, act: Act, again: bool = False) -> None:
        """Evaluate a policy and write a line; `again` replaces an earlier line of the same steps."""
        steps = 0 if name == "random" else self._learner.num_timesteps
        episodes = self._evaluator.evaluate(act)
        point = curve.Point(
            name,
            steps,
            steps * self._evaluator.frames_per_step,
            self._minutes(),
            tuple(self._evaluator.seeds),
            episodes,
        )
        if again and self.points and (self.points[-1].policy, self.points[-1].steps) == (name, steps):
            self.points.pop()
        self.points.append(point)
        curve.write(self._settings.out / "curve.jsonl", self.points)
        _tell(point)

    def _evaluate(self, again: bool = False) -> None:
        with replacing(self._settings.out / "model.zip") as temporary:
            self._learner.save(temporary)
        self.measure(self._settings.algo, self._act, again)

    def _act(self, observations: Any) -> Any:
        return self._learner.predict(observations, deterministic=True)[0]

    def _minutes(self) -> float:
        return (time.perf_counter() - self._began) / 60


def _past(settings: TrainSettings) -> list[curve.Point]:
    """Evaluations of the run to go on with.

    Raises:
        FileNotFoundError, ValueError: See `train`.
    """
    saved, model, measured = (settings.out / name for name in ("settings.json", "model.zip", "curve.jsonl"))
    if not settings.resume:
        # One that was killed before it saved a model has nothing to go on from, and is begun anew.
        if model.exists() or (measured.exists() and any(point.policy != "random" for point in curve.read(measured))):
            raise ValueError(f"{settings.out} holds a run already; add --resume, or choose another --out.")
        return []
    for path in (saved, model):
        if not path.is_file():
            raise FileNotFoundError(f"no file {path} to resume from; leave --resume out.")
    before, now = json.loads(saved.read_text(encoding="utf-8"))["settings"], _as_json(settings)
    for name in _MUST_AGREE:
        if before.get(name) != now[name]:
            raise ValueError(
                f"the run in {settings.out} has {name} {before.get(name)!r}, this one {now[name]!r}; "
                "resume with the settings of its settings.json, or choose another --out."
            )
    return curve.read(measured) if measured.exists() else []


def _write_settings(settings: TrainSettings) -> None:
    first = settings.training_seed(0)
    about = {
        "settings": _as_json(settings),
        "seeds": {
            "held_out": f"evaluations reset with {settings.eval_seeds[0]}..{settings.eval_seeds[-1]}",
            "training": f"slots begin with {first}..{first + settings.envs - 1}, later episodes are drawn from their "
            f"random numbers; all reset seeds of training lie below {TRAINING_RESETS.stop}",
        },
        "versions": {name: version(name) for name in ("sanawm_env", "stable-baselines3", "torch", "gymnasium", "numpy")}
        | {"python": platform.python_version()},
        "cpus": os.cpu_count(),
    }
    write_json(settings.out / "settings.json", about)


def _as_json(settings: TrainSettings) -> dict[str, Any]:
    derived = {name: getattr(settings, name) for name in ("discrete", "hindsight", "eval_seeds")}
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings) | derived, default=str))
    return values


def _tell(point: curve.Point) -> None:
    parts = [f"{point.policy:>6} {point.steps:>8,} steps {point.minutes:6.1f} min"]
    for name in ("return", "success", "spl", "soft_spl", "coverage", "progress"):
        if name in point.episodes:
            mean, low, high = curve.interval(point.episodes[name], name)
            parts.append(f"{name} {mean:.3f} [{low:.3f}, {high:.3f}]")
    print("  ".join(parts), flush=True)


def _plot(folder: Path) -> None:
    try:
        from sanawm_env.policies.sb3.plot import plot
    except ImportError:
        print("no curve.png: pip install matplotlib, then python -m sanawm_env.policies.sb3.plot", file=sys.stderr)
        return
    plot([folder], folder / "curve.png")


def main() -> None:
    """The command line; Ctrl-C and SIGTERM end it with one line, and leave whole files."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = tyro.cli(TrainSettings, description=__doc__)
        train(settings)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        print("interrupted; --resume goes on from the last evaluation.", file=sys.stderr)
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    main()
