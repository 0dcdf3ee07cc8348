"""Bags without ROS: worlds recorded to MCAP or sqlite3, and robots' recordings walked again inside a world."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["require"]


def require() -> None:
    """Tell at once what bags need.

    Raises:
        ModuleNotFoundError: Names the package and how to install it.
    """
    for name in ("rosbags", "mcap"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"bags need {name}: pip install 'sanawm_env[ros]'.", name=name)
