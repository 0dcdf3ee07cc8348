"""A task's settings as text: to tell apart the states of tasks with other settings, and to make a task again from JSON.

Gymnasium writes the spec of an environment as JSON with `dataclasses.asdict`; the field `Task.task_class` keeps the
task's name in it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Task, qualified_name

__all__ = ["differences", "fingerprint", "from_dict", "misfits", "qualified_name"]

# -- fingerprints -----------------------------------------------------------------------------------------------


def fingerprint(task: Task, entries: Mapping[str, spaces.Space[Any]]) -> str:
    """All settings of a task, and the shapes of what it observes, as canonical JSON: equal text, equal settings.

    Text and not a hash, so that a refusal can say what differs.
    """
    values = {field.name: _canonical(getattr(task, field.name)) for field in fields(task) if field.init}
    seen = {f"observation {name}": f"{space.dtype} {space.shape}" for name, space in entries.items()}
    return json.dumps({"class": task.task_class, **values, **seen}, sort_keys=True, separators=(",", ":"))


def differences(theirs: str, ours: str, task: Task) -> list[str]:
    """What differs between the fingerprint of a state and a task's own, in words.

    A setting that the state does not know (an older version wrote it) counts as its default.
    """
    try:
        there, here = json.loads(theirs), json.loads(ours)
        names = sorted({*there, *here})
    except (ValueError, TypeError):
        return ["its settings cannot be read"]
    # Through JSON as the others went, where a tuple is a list.
    defaults = {field.name: json.loads(json.dumps(_canonical(_default(field)))) for field in fields(task)}
    wrong = []
    for name in names:
        mine = here.get(name, "none")
        its = there[name] if name in there else defaults.get(name, "none")
        if json.dumps(mine, sort_keys=True) != json.dumps(its, sort_keys=True):
            wrong.append(f"{name} {_short(its)} there and {_short(mine)} here")
    return wrong


def misfits(
    state: TaskState,
    shapes: Mapping[str, tuple[int | None, ...]],
    entries: Mapping[str, spaces.Space[Any]],
    task: Task,
) -> list[str]:
    """What of a state without a fingerprint does not fit a task, in words.

    Args:
        state: The state.
        shapes: `Task.state_shapes`, and the runner's own.
        entries: Spaces of what the task observes.
        task: The task.
    """
    wrong = []
    for name, shape in shapes.items():
        if name not in state:
            wrong.append(f"{name} is missing")
        elif not _fits(state[name].shape, shape):
            wrong.append(f"{name} has the shape {state[name].shape} there and {shape} here")
    if wrong:
        return wrong
    try:
        observed = task.observe(state, np.eye(4))
        return [
            f"{name} would be observed in the shape {np.shape(observed[name])}, not {space.shape}"
            for name, space in entries.items()
            if np.shape(observed[name]) != space.shape
        ]
    except Exception as error:  # whatever a user's task raises over arrays that are not its own
        return [f"nothing can be observed from it ({type(error).__name__}: {error})"]


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or w == n for n, w in zip(shape, wanted, strict=True))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _canonical(value: Any) -> Any:
    """A setting as JSON can hold it: equal for equal settings, and the same in every process."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, np.generic):
        return _canonical(value.item())
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return f"{data.dtype} {data.shape} sha256 {hashlib.sha256(data.tobytes()).hexdigest()[:16]}"
    if isinstance(value, Mapping):
        return {str(key): _canonical(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_canonical(each) for each in value), key=json.dumps)
    if isinstance(value, Sequence):
        return [_canonical(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: _canonical(getattr(value, field.name)) for field in fields(value)}
        return {"class": qualified_name(type(value)), **own}
    if hasattr(value, "__qualname__"):  # a class or a function
        return qualified_name(value)
    plain = type(value).__repr__ is object.__repr__  # names an address, another one in every process
    return qualified_name(type(value)) if plain or callable(value) else repr(value)


# -- JSON -------------------------------------------------------------------------------------------------------


def from_dict(values: Mapping[str, Any]) -> Task:
    """The task of `Task.to_dict`, also after JSON made lists of its tuples.

    Args:
        values: Settings by name; `task_class` names the class, and where it is missing the settings' names do.

    Raises:
        ValueError: No such class, no such setting, or a value that the task refuses.
    """
    kind = _find_class(values)
    known = {field.name: field for field in fields(kind) if field.init}
    given = {name: value for name, value in values.items() if name != "task_class"}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"task {kind.__name__} has no setting {unknown[0]!r}; it has {', '.join(known)}.")
    for name, value in given.items():
        if isinstance(value, list) and isinstance(_default(known[name]), tuple):
            given[name] = tuple(value)
    return kind(**given)


def _find_class(values: Mapping[str, Any]) -> type[Task]:
    classes = {kind.task_class: kind for kind in _subclasses(Task)}
    name = values.get("task_class")
    if name is None:
        fitting = [k for k in classes.values() if {field.name for field in fields(k) if field.init} == values.keys()]
        if len(fitting) == 1:
            return fitting[0]
        raise ValueError("a task's settings need 'task_class', the name of the task, 'PointNav' for instance.")
    if not isinstance(name, str):
        raise ValueError(f"'task_class' is the name of a task; got {name!r}.")
    if name not in classes and ":" in name:
        module, _, path = name.partition(":")
        try:
            importlib.import_module(module)  # defines the class, if it is there
        except (ImportError, TypeError, ValueError) as error:
            raise ValueError(f"the task {path} lives in the module {module}, which is not here ({error}).") from None
        classes = {kind.task_class: kind for kind in _subclasses(Task)}
    if name not in classes:
        raise ValueError(f"there is no task {name!r}; import the module that defines it first.")
    return classes[name]


def _subclasses(kind: Any) -> Iterator[type[Task]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default
