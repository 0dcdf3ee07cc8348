"""Planners: they fork the world itself, act in the forks, and do what went best."""

from sanawm_env.policies.planners.cem import CEM
from sanawm_env.policies.planners.imagine import Imagination
from sanawm_env.policies.planners.mppi import MPPI
from sanawm_env.policies.planners.shooting import RandomShooting

__all__ = ["CEM", "MPPI", "Imagination", "RandomShooting"]
