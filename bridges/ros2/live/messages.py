"""rclpy, imported where it is there, and its message classes as `Make` wants them."""

from __future__ import annotations

import array
import importlib
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["available", "make", "message_class", "require_rclpy"]

_CODES = {"uint8": "B", "float": "f", "double": "d"}
_SEQUENCES = {f"sequence<{kind}>": code for kind, code in _CODES.items()}


def require_rclpy() -> ModuleType:
    """`rclpy`.

    Raises:
        ImportError: It is not installed for this Python; says what to do.
    """
    try:
        return importlib.import_module("rclpy")
    except ImportError as error:
        import sys

        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise ImportError(
            f"rclpy cannot be imported by this Python {version} ({error}): source /opt/ros/<distro>/setup.bash and "
            "install sanawm_env into that distribution's own Python (3.12 for Jazzy and Kilted), for instance in a "
            "virtual environment made with --system-site-packages. Without ROS, `sanawm ros2 record` writes bags."
        ) from error


@cache
def message_class(name: str) -> Any:
    """The class of a message or service, `sensor_msgs/msg/Image` for instance.

    Raises:
        ImportError: Its package is not installed; names it.
    """
    package, kind, class_name = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), class_name)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"{name} is not there; install the ROS package {package}.") from error


def available(name: str) -> bool:
    """Whether a message's package is installed."""
    try:
        message_class(name)
    except ImportError:
        return False
    return True


def make(name: str, /, **fields: Any) -> Any:
    """A message with arrays as rclpy takes them fastest: `array.array` for sequences, numpy's where sizes are fixed."""
    kind, types = message_class(name), _field_types(name)
    return kind(**{field: _fitting(value, types[field]) for field, value in fields.items()})


@cache
def _field_types(name: str) -> dict[str, str]:
    found: dict[str, str] = message_class(name).get_fields_and_field_types()
    return found


def _fitting(value: Any, kind: str) -> Any:
    if kind in _SEQUENCES:
        # An ndarray would be checked entry by entry, a quarter of a second for a picture of 720 rows.
        values = array.array(_SEQUENCES[kind])
        values.frombytes(np.ascontiguousarray(value, values.typecode).reshape(-1).view(np.uint8).data)
        return values
    if kind == "octet":
        return bytes([value])
    return value
