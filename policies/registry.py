"""`make_policy`: a policy by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from sanawm_env.policies.base import Policy

__all__ = ["POLICIES", "make_policy", "policy_names"]

POLICIES: dict[str, str] = {
    "scripted:follow": "sanawm_env.policies.scripted.follow:Follow",
    "scripted:frontier": "sanawm_env.policies.scripted.frontier:Frontier",
    "scripted:look_around": "sanawm_env.policies.scripted.look_around:LookAround",
    "scripted:orbit": "sanawm_env.policies.scripted.orbit:Orbit",
    "scripted:wall_follow": "sanawm_env.policies.scripted.wall_follow:WallFollow",
    "random:smooth": "sanawm_env.policies.scripted.random_smooth:RandomSmooth",
    "random:uniform": "sanawm_env.policies.scripted.random_uniform:RandomUniform",
    "planner:shooting": "sanawm_env.policies.planners.shooting:RandomShooting",
    "planner:cem": "sanawm_env.policies.planners.cem:CEM",
    "planner:mppi": "sanawm_env.policies.planners.mppi:MPPI",
}
"""Name to where it is; imported when it is asked for."""

FILES: dict[str, str] = {
    "sb3": "sanawm_env.policies.trained:SB3Policy",
    "bc": "sanawm_env.policies.imitation:BehaviourClone.load",
}
"""Kinds that are read from a file, `<kind>:<path>`."""


def policy_names() -> tuple[str, ...]:
    """Every form that `make_policy` knows."""
    return (*POLICIES, *(f"{kind}:<path>" for kind in FILES), "<package.module>:<function>")


def make_policy(name: str, **settings: Any) -> Policy:
    """Make a policy.

    Args:
        name: `scripted:follow` or another of `POLICIES`; `sb3:<zip>` or `bc:<safetensors>`, a trained one;
            `<package.module>:<function>`, anything that can be imported and gives a `Policy` when it is called.
        **settings: Arguments of its constructor, loader or function.

    Raises:
        ValueError: An unknown name or setting, or something that gives no policy.
        FileNotFoundError: No such file.
    """
    kind, colon, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not (colon and kind and rest):
        raise ValueError(f"a policy is named by one of {', '.join(policy_names())}; got {name!r}.")
    kinds = {known.partition(":")[0] for known in POLICIES}
    if kind in kinds and name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; known are {', '.join(policy_names())}.")
    if kind in FILES:
        return _call(name, _find(FILES[kind]), settings, rest)
    policy = _call(name, _find(POLICIES.get(name, name)), settings)
    if not isinstance(policy, Policy) or inspect.isclass(policy):
        raise ValueError(
            f"{name} gave a {type(policy).__name__}, which is no policy; return an object with begin(env, observation, "
            "info) and act(observation, info)."
        )
    return policy


def _find(path: str) -> Callable[..., Any]:
    """What `package.module:function` names."""
    module, _, name = path.partition(":")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks one of its own
        raise ValueError(
            f"no module {module!r} for policy {path!r}; install it or put its folder on PYTHONPATH. Known policies are "
            f"{', '.join(policy_names())}."
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"module {module!r} has no {name!r}; name a function or class that makes the policy.")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{path!r} is a {type(found).__name__}; name a function or class that makes the policy.")
    result: Callable[..., Any] = found
    return result


def _call(name: str, make: Callable[..., Any], settings: dict[str, Any], *arguments: Any) -> Any:
    """Call it, once its arguments are known to fit."""
    signature = inspect.signature(make)
    try:
        signature.bind(*arguments, **settings)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[len(arguments) :]) or "none"
        raise ValueError(f"policy {name!r} cannot be made ({error}); its settings are: {known}.") from None
    return make(*arguments, **settings)
