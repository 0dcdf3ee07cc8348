"""The sensor `depth`: z-depth of the present picture, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["Depth", "DepthFunction", "DepthSource", "check_depth"]

DepthFunction: TypeAlias = "Callable[[NDArray[np.uint8], NDArray[np.float32]], Any]"
"""From a picture `(H, W, 3)` and its intrinsics `(4,)` to z-depth `(H, W)`, metres; infinite where all is far."""


@dataclass(frozen=True)
class Depth:
    """Settings of the sensor `depth` (Habitat's `depth_sensor`, in metres).

    Raises:
        ValueError: A setting that cannot be used; names the fix.
    """

    max_depth: float = 50.0
    """Metres. Observations end there; info has infinity beyond."""
    source: str | Path | DepthFunction | None = None
    """Where depth comes from: None is the world's own (anchored worlds only), a folder is a metric depth model of
    transformers, and anything callable is a `DepthFunction`."""

    def __post_init__(self) -> None:
        limit = self.max_depth
        if isinstance(limit, bool) or not isinstance(limit, int | float | np.number) or not 0 < limit < np.inf:
            raise ValueError(f"max_depth of the depth sensor must be a positive number of metres; got {limit!r}.")
        if self.source is not None and not isinstance(self.source, str | Path) and not callable(self.source):
            raise ValueError(
                "source of the depth sensor must be the folder of a transformers depth model, a function of "
                f"(image, intrinsics), or None for the world's own; got {type(self.source).__name__}."
            )
        if isinstance(self.source, Path):
            object.__setattr__(self, "source", str(self.source))  # JSON of an environment's spec knows no paths


class DepthSource(Protocol):
    """Where depth comes from."""

    def depth(self, state: WorldState, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Z-depth of each slot's present picture. On the CPU a slot's bits do not depend on its neighbours.

        Args:
            state: Of N slots.
            frames: N pictures `(H, W, 3)`.

        Returns:
            N times `(H, W)` metres, infinite where nothing is near.

        Raises:
            ValueError: A plug-in gave something else.
        """

    def with_model(self, model: WorldModel) -> DepthSource:
        """The same for another model of the same kind of world; loads nothing that is loaded."""


def check_depth(value: Any, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a plug-in gave, as float32 in memory of its own.

    Raises:
        ValueError: It is no z-depth of that picture; says what is wrong.
    """
    try:
        depth = np.array(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"the depth source gave {type(value).__name__}; let it return an array of metres, one per pixel."
        ) from None
    if depth.shape != frame.shape[:2]:
        raise ValueError(
            f"the depth source gave shape {depth.shape} for a picture of {frame.shape[:2]} pixels; "
            "let it return one number of metres per pixel, (H, W)."
        )
    if not (depth >= 0).all():  # a comparison with NaN is false
        what = "NaN" if np.isnan(depth).any() else f"{depth.min():g} m"
        raise ValueError(
            f"the depth source gave {what}; depth is metres along the camera's forward axis, "
            "and infinity where nothing is near or nothing is known."
        )
    return depth
