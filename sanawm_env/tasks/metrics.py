"""Habitat's navigation metrics.

Anderson et al. 2018, "On Evaluation of Embodied Navigation Agents" (SPL); Datta et al. 2020, "Integrating Egocentric
Localization" (soft SPL); formulas as in Habitat-Lab 0.3, `habitat/tasks/nav/nav.py`.
"""

from __future__ import annotations

__all__ = ["soft_spl", "spl"]


def spl(success: bool, shortest: float, travelled: float) -> float:
    """Success weighted by path length, in [0, 1].

    Args:
        success: Whether the goal is reached.
        shortest: Metres of the shortest path from the start.
        travelled: Metres gone so far.
    """
    return float(success) * _efficiency(shortest, travelled)


def soft_spl(distance: float, shortest: float, travelled: float) -> float:
    """SPL with the share of the way that is done in place of success, in [0, 1].

    Args:
        distance: Metres left.
        shortest: Metres of the shortest path from the start.
        travelled: Metres gone so far.
    """
    progress = max(0.0, 1.0 - distance / shortest) if shortest > 0 else float(distance <= 0)
    return progress * _efficiency(shortest, travelled)


def _efficiency(shortest: float, travelled: float) -> float:
    longest = max(shortest, travelled)
    return shortest / longest if longest > 0 else 1.0
