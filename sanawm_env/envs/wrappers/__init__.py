"""Wrappers that Gymnasium does not have: discrete navigation actions, and velocities in ROS axes.

Everything else (resizing, greyscale, frame stacks, time limits, videos) is Gymnasium's own: docs/how-to/wrappers.md.
"""

from sanawm_env.envs.wrappers.discrete import DiscreteNavigation, NavigationAction, VectorDiscreteNavigation
from sanawm_env.envs.wrappers.twist import TwistActions, VectorTwistActions

__all__ = [
    "DiscreteNavigation",
    "NavigationAction",
    "TwistActions",
    "VectorDiscreteNavigation",
    "VectorTwistActions",
]
