"""Policies and tasks as they are named on a command line: `name,setting=value,...`."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias

from sanawm_env.registration import TASK_NAMES

if TYPE_CHECKING:
    from sanawm_env.tasks import Task

__all__ = ["Spec", "check_distinct", "env_arguments", "make_task", "parse_spec", "policy_maker", "read_tasks"]

Spec: TypeAlias = "tuple[str, dict[str, Any]]"


def parse_spec(text: str) -> Spec:
    """Take `name,setting=value,...` apart.

    Values are Python literals (`3`, `(1, 2)`, `None`; also `true`, `false`, `none`), anything else is a string.

    Returns:
        The name and the settings.

    Raises:
        ValueError: A setting comes twice.
    """
    name, *pairs = re.split(r",(?=[A-Za-z_]\w*=)", text)
    settings: dict[str, Any] = {}
    for key, _, value in (pair.partition("=") for pair in pairs):
        if key in settings:
            raise ValueError(f"{text!r} has the setting {key!r} twice; leave one out.")
        settings[key] = _literal(value)
    return name, settings


def read_tasks(texts: Sequence[str]) -> list[tuple[str, Spec]]:
    """Tasks by their names or ids; `suite` becomes all five.

    Returns:
        For each task what it is to be called, which includes its settings, and its name and settings.

    Raises:
        ValueError: None, an unknown task, or one that comes twice.
    """
    found: list[tuple[str, Spec]] = []
    for text in texts:
        name, settings = parse_spec(text)
        bare = name.removeprefix("SanaWM/").removesuffix("-v0")
        if bare not in (*TASK_NAMES, "suite"):
            raise ValueError(f"unknown task {name!r}; known are {', '.join(TASK_NAMES)}, and suite for all five.")
        rest = text[len(name) :]
        found += [(each + rest, (each, settings)) for each in (TASK_NAMES if bare == "suite" else (bare,))]
    if not found:
        raise ValueError("no task to play: give --task PointNav, for example.")
    check_distinct("--task", [text for text, _ in found])
    return found


def make_task(name: str, settings: dict[str, Any]) -> Task:
    """The task with those settings.

    Raises:
        ValueError: It has no such setting, or cannot have that value.
    """
    from sanawm_env.tasks import TASKS

    kind = TASKS[name]
    known = [each.name for each in fields(kind) if each.init]
    if unknown := [key for key in settings if key not in known]:
        raise ValueError(f"task {name} has no setting {unknown[0]!r}; it has {', '.join(known)}.")
    return kind(**settings)


def env_arguments(texts: Sequence[str], own: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `SanaWMEnv` as `--env` takes them, `max_rotation=0.2` for instance.

    Args:
        texts: Of the option.
        own: Arguments that the command sets by options of its own, and what to use in their place.

    Raises:
        ValueError: An argument that does not exist, or is one of `own`.
    """
    from sanawm_env.envs.settings import Settings

    _, given = parse_spec(",".join(("env", *texts)))
    known = [field.name for field in fields(Settings) if field.name not in own]
    for name in given:
        if name not in known:
            fix = f"use {own[name]}" if name in own else f"known are {', '.join(known)}"
            raise ValueError(f"--env cannot set {name!r}; {fix}.")
    return given


def policy_maker() -> Callable[..., Any]:
    """`make_policy`, imported when it is needed; it finds policies of the user's own in the working folder, too."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a console script looks beside itself only
    from sanawm_env.policies import make_policy

    return make_policy


def check_distinct(option: str, values: Sequence[str]) -> None:
    """Refuse values of an option that come twice.

    Raises:
        ValueError: Names the option and the first.
    """
    if twice := [value for value in values if list(values).count(value) > 1]:
        raise ValueError(f"{option} has {twice[0]!r} twice; leave one out.")


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false", "none"):
        text = text.capitalize()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
