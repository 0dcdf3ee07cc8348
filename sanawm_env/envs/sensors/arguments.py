"""Reading of the arguments `sensors`, `contact` and `body` of an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeAlias

from sanawm_env.envs.sensors.contact import Body
from sanawm_env.envs.sensors.depth import Depth
from sanawm_env.envs.sensors.scan import Scan

__all__ = ["SENSORS", "ContactMode", "Sensor", "read_body", "read_sensors"]

Sensor: TypeAlias = "Depth | Scan"
ContactMode = Literal["none", "report", "block"]

SENSORS: dict[str, type[Depth] | type[Scan]] = {"depth": Depth, "scan": Scan}
"""By the name in observations and info."""


def read_sensors(sensors: Any) -> tuple[Sensor, ...]:
    """Sensors from their names, their settings, or mappings of those (as JSON leaves them); one or several.

    Raises:
        ValueError: An unknown one, or the same twice.
    """
    given = [sensors] if isinstance(sensors, str | Depth | Scan | Mapping) else sensors
    if not isinstance(given, Sequence):
        raise ValueError(f"sensors must be a sequence of {_known()}; got {sensors!r}.")
    read = tuple(map(_sensor, given))
    for name, kind in SENSORS.items():
        if sum(isinstance(sensor, kind) for sensor in read) > 1:
            raise ValueError(f"the sensor {name!r} is named twice; keep one of the two.")
    return read


def read_body(body: Any) -> Body:
    """A body from its settings or a mapping of them; None is the default one.

    Raises:
        ValueError: Something else, or a setting that cannot be used.
    """
    if body is None or isinstance(body, Body):
        return body or Body()
    names = [field.name for field in fields(Body)]
    if not isinstance(body, Mapping) or not set(body) <= set(names):
        raise ValueError(f"body must be a sanawm_env.envs.sensors.contact.Body, or {names} in metres; got {body!r}.")
    return Body(**body)


def _sensor(sensor: Any) -> Sensor:
    if isinstance(sensor, Depth | Scan):
        return sensor
    if isinstance(sensor, str) and sensor in SENSORS:
        return SENSORS[sensor]()
    if isinstance(sensor, Mapping) and sensor:
        for kind in SENSORS.values():
            if set(sensor) <= {field.name for field in fields(kind)}:
                return kind(**sensor)
    raise ValueError(f"unknown sensor {sensor!r}; there are {_known()}.")


def _known() -> str:
    return ", ".join(f"{name!r} or {kind.__name__}(...)" for name, kind in SENSORS.items())
