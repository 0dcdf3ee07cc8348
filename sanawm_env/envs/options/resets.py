"""From reset options to the beginnings of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from sanawm_env.envs.options.arguments import as_moment, check_options
from sanawm_env.envs.settings import Settings
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.scenes.start_image import FittedImage, IntrinsicsSource, StartImage, built_in, draw_seeds, fit
from sanawm_env.tasks import TaskRunner
from sanawm_env.world.checkpoints.prompts import Prompts, Text
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["Moment", "ResetPlan", "ResetPlanner"]

Moment: TypeAlias = "EnvSnapshot | WorldState | str | Path"


@dataclass(frozen=True, eq=False)
class ResetPlan:
    """How one episode begins, once the options for it are known to be good."""

    moment: EnvSnapshot | None = None
    """Where to go on from, in place of a first frame."""
    start: StartImage | None = None
    """The first frame; None leaves it to the episode's random numbers."""
    goal: Any = None
    """The task's goal; None leaves it to the task."""
    text: Text | None = None
    """Of the prompt; None for a world without text."""
    refiner_text: torch.Tensor | None = None
    """Of the prompt, for the refiner; None for a world without."""


class ResetPlanner:
    """What settings and options say of beginnings. It keeps no model, so that whoever has one may change it."""

    def __init__(self, model: WorldModel, settings: Settings, frames_per_step: int) -> None:
        """Read the picture of the settings.

        Raises:
            ValueError, FileNotFoundError: A picture, camera, prompt or text encoder that cannot be used.
        """
        self._settings, self._config, self._frames = settings, model.config, frames_per_step
        self._prompts = Prompts(model, settings.text_encoder)
        self._prompts.check(settings.prompt)
        # Read and fitted once: it may be a large picture, and every reset begins with it.
        self._picture: FittedImage | None = None
        if settings.image is not None:
            self._picture = fit(settings.image, model.config.width, model.config.height)
            self._seen_by(self._picture, settings.intrinsics)  # a bad camera should fail here and not at reset

    def plan(self, options: dict[str, Any] | None, model: WorldModel, runner: TaskRunner | None) -> ResetPlan:
        """Check the `options` of one slot's reset, and read what they name; see `Simulator.plan`."""
        given = check_options(options)
        goal = None
        if "goal" in given:
            if runner is None:
                raise ValueError("this environment has no task, hence no goal; make one with task='PointNav', say.")
            goal = runner.task.read_goal(given["goal"], runner.context)
        if "state" in given:
            past = self.belonging(given["state"], model)
            return ResetPlan(replace(past, elapsed_steps=0, task=None, depth=None, contact=None), goal=goal)
        start = self._first_frame(given)
        words = given.get("prompt", self._settings.prompt)
        text, refined = self._prompts.read(words), None
        if model.refiner is not None:
            refined = model.refiner.encode(words or "")
        return ResetPlan(start=start, goal=goal, text=text, refiner_text=refined)

    def begin(
        self, plans: Sequence[ResetPlan], rngs: Sequence[np.random.Generator], model: WorldModel
    ) -> list[EnvSnapshot]:
        """The first moment of each episode, the task's part left out; new worlds all in one call."""
        begun = [plan.moment for plan in plans]
        fresh = [i for i, moment in enumerate(begun) if moment is None]
        if fresh:
            started = self._start_worlds([plans[i] for i in fresh], [rngs[i] for i in fresh], model)
            for i, moment in zip(fresh, started, strict=True):
                begun[i] = moment
        return [moment for moment in begun if moment is not None]

    def belonging(self, moment: Moment, model: WorldModel) -> EnvSnapshot:
        """A moment on the world's device, once it is known to be one of this world.

        Raises:
            ValueError, FileNotFoundError: It is not, or there is no usable file.
        """
        snapshot = as_moment(moment, model.checkpoint, self._frames)
        state = snapshot.state.to(model.device) if snapshot.state.device != model.device else snapshot.state
        model.check_state(state)
        return replace(snapshot, state=state)

    def _start_worlds(
        self, plans: Sequence[ResetPlan], rngs: Sequence[np.random.Generator], model: WorldModel
    ) -> list[EnvSnapshot]:
        starts, seeds, settings = [], [], self._settings
        for plan, rng in zip(plans, rngs, strict=True):
            scene, noise = draw_seeds(rng)
            given = plan.start
            starts.append(
                given or built_in(scene, self._config.width, self._config.height, settings.fov_deg, settings.level)
            )
            seeds.append(noise)
        images, cameras = np.stack([s.image for s in starts]), np.stack([s.intrinsics for s in starts])
        texts = [plan.text for plan in plans if plan.text is not None]
        embeddings, masks = (torch.cat(part) for part in zip(*texts, strict=True)) if texts else (None, None)
        refined = [plan.refiner_text for plan in plans if plan.refiner_text is not None]
        words = torch.cat(refined) if refined else None
        state, frames = model.start(images, cameras, seeds, embeddings, masks, refiner_text=words)
        parts = [state] if len(plans) == 1 else [state.select([k]) for k in range(len(plans))]
        return [EnvSnapshot(part, 0, None, frames[k], np.eye(4)[None]) for k, part in enumerate(parts)]

    def _first_frame(self, given: dict[str, Any]) -> StartImage | None:
        """The first frame that options or arguments ask for; None leaves it to the random numbers."""
        if (image := given.get("image")) is not None:
            picture = fit(image, self._config.width, self._config.height)
            return self._seen_by(picture, given.get("intrinsics"))
        if self._picture is not None:
            return self._seen_by(self._picture, given.get("intrinsics", self._settings.intrinsics))
        if "intrinsics" in given:
            raise ValueError("option 'intrinsics' describes an image; give the option 'image' as well.")
        return None

    def _seen_by(self, picture: FittedImage, intrinsics: IntrinsicsSource | None) -> StartImage:
        """A picture with a camera: the given intrinsics, or the field of view of the settings."""
        return picture.start(
            intrinsics=intrinsics,
            fov_deg=self._settings.fov_deg if intrinsics is None else None,
            default_fov_deg=self._config.default_fov_deg,
        )
