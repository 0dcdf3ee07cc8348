"""Quality of service of every topic, without ROS.

Sensors offer what REP-2003 asks of drivers, RELIABLE and VOLATILE with the last 5 messages, which subscribers of either
kind can match: their own setting decides. Where frames come a step at a time the last 5 are those of a step.
"""

from __future__ import annotations

from dataclasses import dataclass

from sanawm_env.bridges.ros2.topics import CLOCK, COMPRESSED, DEPTH, IMAGE, INFO, SCAN, TF, TF_STATIC

__all__ = ["COMMANDS", "Quality", "quality_of"]

_SENSORS = (IMAGE, COMPRESSED, INFO, DEPTH, SCAN)


@dataclass(frozen=True)
class Quality:
    """Of one topic; history is KEEP_LAST."""

    depth: int
    """Messages kept for subscribers that are behind."""
    reliable: bool = True
    """RELIABLE, or BEST_EFFORT."""
    latched: bool = False
    """TRANSIENT_LOCAL, or VOLATILE."""


COMMANDS = Quality(10)
"""Of `cmd_vel`, as its usual publishers offer it."""


def quality_of(topic: str, burst: int = 1, best_effort: bool = False) -> Quality:
    """What is offered on a topic.

    Args:
        topic: Relative to the robot's namespace.
        burst: Frames that may be sent at once.
        best_effort: Whether sensors do not repeat what was lost.
    """
    if topic == TF_STATIC:
        return Quality(1, latched=True)
    if topic == TF:
        return Quality(100)
    if topic == CLOCK:
        return Quality(max(10, burst))
    return Quality(max(5, burst), reliable=not (best_effort and topic in _SENSORS))
