"""Wrappers that Gymnasium does not have: discrete navigation, velocities in ROS axes, a robot's base.

Everything else (resizing, greyscale, frame stacks, time limits, videos) is Gymnasium's own: docs/how-to/wrappers.md.
"""

from sanawm_env.envs.wrappers.discrete import DiscreteNavigation, NavigationAction, VectorDiscreteNavigation
from sanawm_env.envs.wrappers.drive import DifferentialDrive, VectorDifferentialDrive
from sanawm_env.envs.wrappers.twist import TwistActions, VectorTwistActions
from sanawm_env.envs.wrappers.unicycle import camera_mount

__all__ = [
    "DifferentialDrive",
    "DiscreteNavigation",
    "NavigationAction",
    "TwistActions",
    "VectorDifferentialDrive",
    "VectorDiscreteNavigation",
    "VectorTwistActions",
    "camera_mount",
]
