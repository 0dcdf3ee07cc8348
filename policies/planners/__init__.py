"""Planners: they fork the world itself, act in the forks, and do what went best."""

from policies.planners.cem import CEM
from policies.planners.imagine import Imagination
from policies.planners.mppi import MPPI
from policies.planners.shooting import RandomShooting

__all__ = ["CEM", "MPPI", "Imagination", "RandomShooting"]
