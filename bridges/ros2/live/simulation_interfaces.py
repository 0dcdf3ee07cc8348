"""Services of the package `simulation_interfaces`, which several simulators share, where it is installed.

Of its features: reset (of everything but time, which never goes back), pause, and steps, one or many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sanawm_env.bridges.ros2.live.messages import available, message_class

__all__ = ["Acts", "offer"]

UNSUPPORTED, OK, INCORRECT_STATE, FAILED = 0, 1, 3, 4
"""Of `Result`."""
STOPPED, PLAYING, PAUSED, QUITTING = range(4)
"""Of `SimulationState`."""
ALREADY_THERE = 101
"""Of `SetSimulationState`."""
_RESET, _PAUSE, _STEP, _STEPS = 10, 14, 15, 16
"""Of `SimulatorFeatures`."""
_TIME = 1
"""Scope of a reset that is time alone."""
_MOST_STEPS = 10_000


@dataclass(frozen=True)
class Acts:
    """What the services do. All raise ValueError where they cannot."""

    reset: Callable[[], None]
    """All worlds."""
    paused: Callable[[], bool]
    """Whether time stands."""
    pause: Callable[[bool], None]
    """Let it stand, or go on."""
    step: Callable[[], None]
    """One step."""


def offer(node: Any, acts: Acts) -> bool:
    """Offer the services at a node, as `~/reset_simulation` and so on.

    Returns:
        Whether the package is there.
    """
    package = "simulation_interfaces/srv/"
    services = {
        "GetSimulatorFeatures": features,
        "ResetSimulation": lambda *both: reset(acts, *both),
        "StepSimulation": lambda *both: step(acts, *both),
        "GetSimulationState": lambda *both: get_state(acts, *both),
        "SetSimulationState": lambda *both: set_state(acts, *both),
    }
    if not all(available(package + name) for name in services):
        return False
    for name, answer in services.items():
        title = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
        node.create_service(message_class(package + name), f"~/{title}", answer)
    return True


def features(request: Any, response: Any) -> Any:
    """`GetSimulatorFeatures`."""
    response.features.features = [_RESET, _PAUSE, _STEP, _STEPS]
    response.features.custom_info = "sanawm_env: a video world model; simulated time never goes back"
    return response


def reset(acts: Acts, request: Any, response: Any) -> Any:
    """`ResetSimulation`: to the same worlds' beginnings."""
    if request.scope == _TIME:
        return _tell(response, UNSUPPORTED, "simulated time never goes back; reset the state instead.")
    acts.reset()
    return _tell(response, OK)


def step(acts: Acts, request: Any, response: Any) -> Any:
    """`StepSimulation`: only in a pause."""
    if not acts.paused():
        return _tell(response, INCORRECT_STATE, "pause the simulation before stepping it.")
    if not 1 <= request.steps <= _MOST_STEPS:
        return _tell(response, FAILED, f"steps must lie in 1..{_MOST_STEPS}; got {request.steps}.")
    for _ in range(request.steps):
        acts.step()
    return _tell(response, OK)


def get_state(acts: Acts, request: Any, response: Any) -> Any:
    """`GetSimulationState`."""
    response.state.state = PAUSED if acts.paused() else PLAYING
    return _tell(response, OK)


def set_state(acts: Acts, request: Any, response: Any) -> Any:
    """`SetSimulationState`: stopping is pausing at the beginning."""
    wanted = request.state.state
    if wanted not in (STOPPED, PLAYING, PAUSED):
        return _tell(response, UNSUPPORTED, "the server is stopped where it was started, by Ctrl-C.")
    if wanted != STOPPED and acts.paused() is (wanted == PAUSED):
        return _tell(response, ALREADY_THERE)
    acts.pause(wanted != PLAYING)
    if wanted == STOPPED:
        acts.reset()
    return _tell(response, OK)


def _tell(response: Any, result: int, text: str = "") -> Any:
    response.result.result, response.result.error_message = result, text
    return response
