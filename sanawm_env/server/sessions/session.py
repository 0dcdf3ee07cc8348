"""`Session`: one rollout with its numbered operations. Only the host's worker thread touches it."""

from __future__ import annotations

import copy
import hashlib
import json
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from sanawm_env.envs.sensors.observations import first
from sanawm_env.envs.simulator import Simulator, StepResult
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.server.errors import ServerError
from sanawm_env.server.protocol import Numbered
from sanawm_env.server.sessions.journal import Journal
from sanawm_env.server.sessions.pasts import past_of, remember
from sanawm_env.server.sessions.snapshots import Node, Tree, describe

__all__ = ["Session", "content", "new_id", "refusing"]

KEPT_ANSWERS = 4
"""Each holds the frames of its step."""


@dataclass(eq=False)
class Session:
    """What a session is while it lies in memory; its folder has the same."""

    id: str
    settings: dict[str, Any]
    simulator: Simulator
    rng: np.random.Generator
    """Of the resets that bring no seed."""
    tree: Tree
    journal: Journal
    n: int = 0
    """Operations done."""
    now: Slots | None = None
    """The present, of one slot; None before the first reset."""
    before: tuple[int, Slots] | None = None
    """The present before the last step, and the number of the operation that led there."""
    saved: int = 0
    """The operation whose moment was last given to the disk."""
    answers: OrderedDict[int, tuple[str, dict[str, Any]]] = field(default_factory=OrderedDict)
    """The last answers by number, each with the content of its request."""
    playing: bool = False
    used: float = field(default_factory=time.monotonic)
    """When a request last came."""
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=512))
    """Seconds from request to answer of the last steps."""

    @property
    def nbytes(self) -> int:
        """Bytes of the present and of the moment before it; snapshots are counted by the budget."""
        held = {id(slots.state): slots.state.nbytes for slots in (self.now, self.before and self.before[1]) if slots}
        return sum(held.values())

    def require(self) -> Slots:
        """The present.

        Raises:
            ServerError: `not-begun`.
        """
        if self.now is None:
            raise ServerError("not-begun", "the session has no world yet; send a reset.")
        return self.now

    # -- numbers --------------------------------------------------------------------------------------------

    def repeated(self, message: Numbered, text: str) -> dict[str, Any] | None:
        """The answer, if this operation was done already; None if it is the next.

        Raises:
            ServerError: `gap`, `old` or `conflict`.
        """
        if message.n is None or message.n == self.n + 1:
            return None
        if message.n > self.n + 1 or message.n < 1:
            raise ServerError("gap", f"the session's next operation is number {self.n + 1}; got {message.n}.")
        if message.n not in self.answers:
            raise ServerError("old", f"operation {message.n} was done, and its answer is no longer kept.")
        known, answer = self.answers[message.n]
        if known != text:
            raise ServerError(
                "conflict", f"operation {message.n} was another one: somebody else controls this session, too."
            )
        return answer

    def done(self, line: dict[str, Any], text: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Count an operation: write it down, keep its answer."""
        self.journal.append({"n": self.n + 1, **line})
        self.n += 1
        return self.keep(text, answer | {"session": self.id, "n": self.n})

    def keep(self, text: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Keep the answer of the last operation."""
        self.answers[self.n] = text, answer
        while len(self.answers) > KEPT_ANSWERS:
            self.answers.popitem(last=False)
        return answer

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Put everything back if the disk refuses an operation: what is not written has not happened.

        Raises:
            ServerError: `failed`, in place of an OSError.
        """
        names = ("settings", "simulator", "rng", "now", "before", "saved")
        held = {name: getattr(self, name) for name in names}
        present, nodes = self.tree.present, {node.id for node in self.tree}
        try:
            yield
        except BaseException as error:
            for name, value in held.items():
                setattr(self, name, value)
            for node in [node for node in self.tree if node.id not in nodes]:
                self.tree.forget(node.id)
            self.tree.present = present
            if isinstance(error, OSError):
                reason = error.strerror or type(error).__name__
                raise ServerError(
                    "failed", f"the data folder cannot be written ({reason}); free some space."
                ) from error
            raise

    # -- operations -----------------------------------------------------------------------------------------

    def stepped(self, action: Any, after: Slots, result: StepResult, seconds: float) -> dict[str, Any]:
        """Make a step's outcome the present; returns the answer's content."""
        now = self.require()
        if (past := past_of(now.only)) is not None:
            remember(after.only, past.then(action))
        self.before, self.now = (self.n, now), after
        return self.shown(result) | {
            "reward": float(result.rewards[0]),
            "terminated": bool(result.terminated[0]),
            "truncated": bool(result.truncated[0]),
            "step_ms": round(1e3 * seconds, 3),
        }

    def entered(self, now: Slots) -> dict[str, Any]:
        """Make a moment without a step the present; returns the answer's content."""
        self.before, self.now = None, now
        return self.shown(None)

    def shown(self, result: StepResult | None) -> dict[str, Any]:
        """Observation and info of the present; what begins with `_` is for the server itself."""
        observations, infos = self.simulator.show(self.require(), () if result is None else result.infos)
        return {
            "type": "result",
            "info": {key: first(value) for key, value in infos.items()},
            "observation": first(observations),
            "reward": 0.0,
            "terminated": False,
            "truncated": False,
            "rng": None,
            "step_ms": 0.0,
            "_frames": self.require().step_frames(0),
            "_step": self.require().elapsed_steps[0],
        }

    def begin(self, seed: int | None, options: dict[str, Any]) -> Slots:
        """The beginning of an episode, as `SanaWMEnv.reset` has it; the random numbers advance only if it comes about.

        Raises:
            ServerError: `invalid`.
        """
        if seed is not None and seed < 0:
            raise ServerError("invalid", f"a seed is a whole number of at least 0; got {seed}.")
        rng = copy.deepcopy(self.rng) if seed is None else seeding.np_random(seed)[0]
        with refusing():
            begun = self.simulator.begin([self.simulator.plan(options or None)], [rng])
        self.rng = rng
        return begun

    def snapshot(self, name: str | None, automatic: bool, moment: EnvSnapshot | None = None) -> Node:
        """A new node of the tree; room was made. The operation is counted afterwards."""
        here = moment is None
        taken = self.require().only if moment is None else moment
        node = describe(
            taken, self.simulator.model.config.fps, id=new_id(6), name=name, automatic=automatic, n=self.n + 1,
            parent=self.tree.present if here else None,
        )  # fmt: skip
        self.tree.add(node, taken)
        if here:
            self.tree.present = node.id
        return node

    # -- description ----------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """As the protocol's `session`."""
        simulator, config = self.simulator, self.simulator.model.config
        seconds = simulator.step_seconds
        translation, rotation = simulator.controls.limits
        times = np.array(self.latencies) * 1e3
        return {
            "type": "session",
            "session": self.id,
            "n": self.n,
            "begun": self.now is not None,
            "settings": self.settings,
            "playing": self.playing,
            "frames_per_step": simulator.frames_per_step,
            "step_seconds": seconds,
            "fps": config.fps,
            "size": [config.height, config.width],
            "max_translation": simulator.max_translation,
            "max_rotation": simulator.max_rotation,
            "max_speed": translation / seconds,
            "max_turn": rotation / seconds,
            "keys": list(simulator.keys),
            "action_space": space_dict(simulator.action_space),
            "observation_space": space_dict(simulator.observation_space),
            "goal_form": simulator.goal_form is not None,
            "recordable": self.now is not None and past_of(self.now.only) is not None,
            "state_bytes": 0 if self.now is None else self.now.state.nbytes,
            "snapshot": self.tree.present,
            "rng": self.rng.bit_generator.state,
            "latency_ms": {f"p{q}": round(float(np.percentile(times, q)), 3) if len(times) else None for q in (50, 95)},
        }


def space_dict(space: Any) -> dict[str, Any]:
    """A Gymnasium space as a tree for `wire.encode`."""
    if isinstance(space, spaces.Box):
        low, high = (a.flat[0].item() if (a == a.flat[0]).all() else a for a in (space.low, space.high))
        return {"box": {"low": low, "high": high, "shape": list(space.shape), "dtype": str(space.dtype)}}
    if isinstance(space, spaces.MultiBinary):
        return {"multi_binary": list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"dict": {name: space_dict(each) for name, each in space.items()}}
    raise ServerError("invalid", f"spaces of type {type(space).__name__} cannot be sent.")


def content(message: Numbered, payload: bytes = b"") -> tuple[dict[str, Any], str]:
    """What a numbered request asks for: for the journal, and as text to compare."""
    line = {key: value for key, value in asdict(message).items() if key not in ("id", "n", "session")}
    line["type"] = message.type
    if payload:
        line["payload"] = hashlib.sha256(payload).hexdigest()
    return line, json.dumps(line, sort_keys=True)


def new_id(size: int = 9) -> str:
    """A name that nobody guesses: letters and digits, `-` and `_`; not beginning with those."""
    return "s" + secrets.token_urlsafe(size)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what the world refuses into `invalid`, in one line."""
    try:
        yield
    except ServerError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, OSError) as error:
        raise ServerError("invalid", " ".join(str(error).split())[:500] or type(error).__name__) from None
