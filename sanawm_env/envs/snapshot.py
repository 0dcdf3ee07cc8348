"""`EnvSnapshot`: one moment of an environment, as a value."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from sanawm_env.camera.keymaps import KeyMap
from sanawm_env.camera.trajectory import KeyboardState
from sanawm_env.envs.sensors.contact import Contact
from sanawm_env.files import save_tensors
from sanawm_env.tasks import TaskState
from sanawm_env.world.state import TASK, StateError, WorldState

__all__ = ["EnvSnapshot"]

_KEY = "sanawm_env.env"


@dataclass(frozen=True, eq=False)
class EnvSnapshot:
    """The world's state and the bookkeeping of the environment around it.

    It shares memory with nothing that can change: taking one costs no copy, and it stays valid however long
    the environment runs on.
    """

    state: WorldState
    """State of one rollout (one slot)."""
    elapsed_steps: int = 0
    """Steps since the last reset."""
    keyboard: KeyboardState | None = None
    """Inertia of the keys, in action mode `keys`; None is at rest."""
    frames: NDArray[np.uint8] | None = None
    """`(N, H, W, 3)` frames of the last step, so that a restored environment shows the same observation. Not
    written by `save`: after `load` it is None, which stands for the state's last frame alone."""
    frame_c2w: NDArray[np.float64] | None = None
    """`(N, 4, 4)` poses of `frames`."""
    task: TaskState | None = None
    """What the environment's task remembers; None without a task."""
    depth: NDArray[np.float32] | None = None
    """`(H, W)` z-depth of the last frame, metres, where a sensor asked for it. Not written by `save`: whoever adopts
    the moment computes it anew from `state`."""
    contact: Contact | None = None
    """What the body has touched; None where contact is not sensed."""

    def __post_init__(self) -> None:
        if self.state.slots != 1:
            raise ValueError(
                f"an EnvSnapshot holds one slot, the state has {self.state.slots}; pick one with state.select([i])."
            )
        for name in ("frames", "frame_c2w", "depth"):
            if (value := getattr(self, name)) is not None:
                value = value.view()
                value.flags.writeable = False
                object.__setattr__(self, name, value)

    @property
    def nbytes(self) -> int:
        """Bytes of the world's state."""
        return self.state.nbytes

    def equal(self, other: EnvSnapshot) -> bool:
        """Whether both would go on alike: equal bits of state, task, keyboard, contact and step counter."""
        mine, theirs = _bookkeeping(self), _bookkeeping(other)
        del mine["task_fingerprint"], theirs["task_fingerprint"]  # the tasks compare it, where both know theirs
        tasks = other.task is None if self.task is None else self.task.equal(other.task)
        return mine == theirs and tasks and self.state.equal(other.state)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, which `WorldState.load` reads as well.

        A file of that name is replaced only once the new one is whole.
        """
        metadata = self.state.metadata() | {_KEY: json.dumps(_bookkeeping(self))}
        tensors = self.state.flat()
        if self.task is not None:
            tensors |= {TASK + name: torch.from_numpy(np.array(self.task[name])) for name in self.task}
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | Path, checkpoint: str | None = None) -> EnvSnapshot:
        """Read a file of `save`, or of `WorldState.save`, onto the CPU.

        Args:
            path: The file.
            checkpoint: Hash that the state must carry (`WorldModel.checkpoint`); None accepts any.

        Raises:
            FileNotFoundError: No such file.
            ValueError: See `WorldState.load`.
        """
        state = WorldState.load(path, checkpoint)
        if state.slots != 1:
            raise StateError(
                f"{path} holds a state of {state.slots} slots, an EnvSnapshot one; read it with WorldState.load and "
                "pick one with state.select([i]), or restore it into a vector environment of as many slots."
            )
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY, "{}")
            remembered = {
                name.removeprefix(TASK): file.get_tensor(name).numpy().copy()
                for name in file.keys()
                if name.startswith(TASK)
            }
        try:
            values = json.loads(text)
            keyboard = values.get("keyboard")
            held = None if keyboard is None else _keyboard(keyboard)
            task = values.get("task")
            fingerprint = str(values.get("task_fingerprint", ""))
            episode = None if task is None else TaskState(str(task), remembered, fingerprint)
            touched = values.get("contact")
            contact = None if touched is None else _contact(touched)
            return cls(state, int(values.get("elapsed_steps", 0)), held, task=episode, contact=contact)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(f"{path}: the environment's part is broken ({error}); save the snapshot again.") from None


def _bookkeeping(snapshot: EnvSnapshot) -> dict[str, Any]:
    """JSON-ready dictionary of everything but the world; floats survive JSON bit for bit."""
    keyboard = snapshot.keyboard
    return {
        "elapsed_steps": snapshot.elapsed_steps,
        "task": None if snapshot.task is None else snapshot.task.task,
        "task_fingerprint": "" if snapshot.task is None else snapshot.task.fingerprint,
        "keyboard": None
        if keyboard is None
        else {
            "keymap": keyboard.keymap.to_dict(),
            "c2w": keyboard.c2w.tolist(),
            "pitch": keyboard.pitch,
            "velocity": list(keyboard.velocity),
            "asked": sorted(keyboard.asked),
        },
        "contact": None if snapshot.contact is None else asdict(snapshot.contact),
    }


def _contact(values: dict[str, Any]) -> Contact:
    return Contact(int(values["collisions"]), bool(values["collided"]), float(values["clearance"]))


def _keyboard(values: dict[str, Any]) -> KeyboardState:
    forward, right, yaw, pitch = values["velocity"]
    return KeyboardState(
        KeyMap.from_dict(values["keymap"]),
        np.array(values["c2w"]),
        values["pitch"],
        (forward, right, yaw, pitch),
        frozenset(values["asked"]),
    )
