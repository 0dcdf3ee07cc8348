"""`correlated`: noise for plans that go somewhere."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["correlated"]


def correlated(rng: np.random.Generator, plans: int, horizon: int, memory: float) -> NDArray[np.float64]:
    """Unit normal numbers `(plans, horizon, 6)`, each correlated with the step before by `memory`.

    White noise averages out along a plan: the camera trembles on the spot, and all candidates are worth the same.
    With few candidates this matters more than how they are weighed.
    """
    noise = rng.normal(size=(plans, horizon, 6))
    for step in range(1, horizon):
        noise[:, step] = memory * noise[:, step - 1] + math.sqrt(1 - memory**2) * noise[:, step]
    return noise
