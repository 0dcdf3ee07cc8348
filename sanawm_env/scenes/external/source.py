"""What the generators of textured clips have in common."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Take", "import_extra", "pinhole"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Take:
    """One clip of known truth."""

    rgb: NDArray[np.uint8]
    """(F, H, W, 3)."""
    depth: NDArray[np.float32]
    """(F, H, W) z-depth, m; infinite for the sky."""
    c2w: Array
    """(F, 4, 4) camera-to-world in the source's world, OpenCV axes, m."""
    intrinsics: Array
    """(4,) fx, fy, cx, cy, px."""


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Raises:
        ModuleNotFoundError: It is not installed; says which line installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f'this needs {error.name}: pip install "sanawm_env[{extra}]" (or -e ".[{extra}]").', name=error.name
        ) from error


def pinhole(height: int, width: int, fov: float) -> Array:
    """Intrinsics (4,) px of square pixels from the horizontal field of view, degrees."""
    focal = width / 2 / math.tan(math.radians(fov) / 2)
    return np.array([focal, focal, width / 2, height / 2])
