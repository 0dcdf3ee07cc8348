"""`Retelling`: a walk played again from its beginning, on its way to a dataset.

Nothing is kept while somebody walks but the actions; frames, rewards and what the task showed follow from them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from sanawm_env.data.collection.plan import Item
from sanawm_env.data.collection.recorder import EpisodeRecorder, Played
from sanawm_env.data.collection.slots.seat import Seat, goal_of, numbers_of, of_slot, text_of
from sanawm_env.envs.simulator import Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.server.sessions.host import Host
from sanawm_env.server.sessions.operations import reset_options
from sanawm_env.server.sessions.pasts import Past
from sanawm_env.server.sessions.session import refusing
from sanawm_env.world.offline.provenance import frames_depend_on

__all__ = ["Retelling"]

_BY_PERSON = "sanawm play"
"""Who acted, in recipes: a person, or policies that were handed the controls."""

Rows: TypeAlias = "tuple[NDArray[np.uint8], NDArray[np.float32] | None]"
"""Frames `(F, H, W, 3)` and their depth `(F, H, W)`, if there is any."""


class Retelling:
    """One episode. `begin` and `step` are called in the host's thread, between other sessions' steps."""

    def __init__(self, host: Host, past: Past, end: EnvSnapshot) -> None:
        """Read how the episode began; in the host's thread.

        Args:
            host: Where it was walked.
            past: How its last moment came about.
            end: That moment.
        """
        self._host, self._past, self._end = host, past, end
        self.simulator: Simulator = host.simulators.get(dict(past.beginning.settings))
        self.entries = numbers_of(self.simulator)
        self.seed = past.beginning.seed
        """Of the reset."""
        self.actions = past.actions
        """Oldest first."""
        options = dict(past.beginning.options)
        settings = {
            name: value for name, value in past.beginning.settings.items() if value is not None or name in _NONE
        }
        # A picture of the settings, with its camera, is that of the recipe as well unless the reset brought another.
        picture = {name: settings.pop(name) for name in ("image", "intrinsics") if name in settings}
        if options.get("image") is None:
            options = picture | {name: value for name, value in options.items() if value is not None}
        self.image: str | None = options.pop("image", None)
        """Id of the first frame; None is a built-in scene."""
        self._options = {name: value for name, value in options.items() if value is not None}
        if self.simulator.task is not None:
            settings["task"] = self.simulator.task.to_dict()
        self._settings = settings
        self._now: Slots | None = None
        self._seat: Seat | None = None

    def begin(self, item: Item, recorder: EpisodeRecorder) -> Rows:
        """Begin it; frame 0."""
        past, simulator = self._past.beginning, self.simulator
        given = reset_options(self._host, past.options)
        with refusing():
            begun = simulator.begin([simulator.plan(given or None)], [seeding.np_random(past.seed)[0]])
        seat = self._seat = Seat(item, recorder, self.entries)
        seat.intrinsics = begun.state.intrinsics[0].cpu().numpy().astype(np.float64)
        seat.goal = goal_of(begun)
        frame = begun.last_frames[0][None]
        seat.begin(frame, begun.c2w[:1])
        observations, infos = simulator.show(begun)
        seat.look(of_slot(observations, 0), of_slot(infos, 0))
        self._now = begun
        return frame, simulator.step_depth(begun, 0)

    def step(self, action: NDArray[np.float32]) -> Rows:
        """One step; its frames."""
        seat, simulator = self._seat, self.simulator
        assert seat is not None and self._now is not None, "begin comes first"
        with refusing():
            after, result = simulator.step(self._now, [action])
        observations, infos = simulator.show(after, result.infos)
        seat.look(of_slot(observations, 0), of_slot(infos, 0))
        ends = bool(result.terminated[0]), bool(result.truncated[0])
        seat.step(action, after.step_poses(0), float(result.rewards[0]), *ends)
        self._now = after
        return after.step_frames(0), simulator.step_depth(after, 0)

    @property
    def ended(self) -> bool:
        """Whether the task or a limit has ended it; what was walked afterwards does not belong to the episode."""
        return self._seat is not None and self._seat.ended

    @property
    def exact(self) -> bool:
        """Whether it came to the very moment that was walked to, bit for bit."""
        assert self._now is not None, "begin comes first"
        return self._now.state.equal(self._end.state)

    def played(self, image: str | None, loading: dict[str, Any]) -> Played:
        """All of it, for the recorder.

        Args:
            image: File of the first frame within the dataset.
            loading: Arguments of `SanaWMEnv` that the world was loaded with, such as `precision`.
        """
        seat, simulator = self._seat, self.simulator
        assert seat is not None, "begin comes first"
        model = simulator.model
        about = {
            "checkpoint": str(model.source or model.config.name),
            "checkpoint_hash": model.checkpoint,
            "checkpoint_name": model.config.name,
            "env": self._settings | loading,
            "options": self._options,
            "image": None if image is None else {"file": image, "sha256": image.rpartition("/")[2].partition(".")[0]},
            "policy": _BY_PERSON,
            "depends_on": frames_depend_on(model),
        }
        prompt = self._options.get("prompt") or self._settings.get("prompt")
        text = text_of(simulator.task, prompt)
        return seat.played(about, text, simulator.frames_per_step, model.config.fps, None, ())


_NONE = ("episode_seconds",)
"""Settings in which None says something."""
