"""One robot in the ROS graph: its topics, its commands, and services for its world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sanawm_env.bridges.ros2 import messages as ros
from sanawm_env.bridges.ros2.live.messages import available, make, message_class
from sanawm_env.bridges.ros2.qos import COMMANDS, Quality, quality_of
from sanawm_env.bridges.ros2.robot import START, Frame
from sanawm_env.bridges.ros2.teleop import Teleop
from sanawm_env.bridges.ros2.topics import CLOCK, COMPRESSED, TF_STATIC, TYPES, frame_messages

__all__ = ["NAME", "RobotNode", "WorldServices", "profile"]

NAME = "world"
"""Of the node, in the robot's namespace; its services are `world/reset`, `world/snapshot`, ..."""


@dataclass(frozen=True)
class WorldServices:
    """What a robot's services do. All raise ValueError where they cannot."""

    reset: Callable[[str], None]
    """Of a namespace."""
    reseed: Callable[[str, int], None]
    """Seed of the next reset."""
    snapshot: Callable[[str, str], None]
    """Of a namespace, under a name."""
    restore: Callable[[str, str], None]
    """Likewise."""
    fork: Callable[[str, str], str]
    """Of a namespace, into a new one, which is returned; an empty name lets it be chosen."""


class RobotNode:
    """A `Backend` that publishes what somebody listens to."""

    def __init__(
        self,
        namespace: str,
        teleop: Teleop,
        services: WorldServices,
        now: Callable[[], int],
        *,
        seed: int = 0,
        stamped: bool = False,
        best_effort: bool = False,
        burst: int = 1,
    ) -> None:
        """Enter the graph; rclpy has been initialised.

        Args:
            namespace: Without slashes at its ends; empty is the root.
            teleop: Where its commands go.
            services: What its services do.
            now: Simulated time, nanoseconds.
            seed: Of its world.
            stamped: Whether commands are `TwistStamped`.
            best_effort: See `quality_of`.
            burst: Frames that may be sent at once.
        """
        from rclpy.node import Node

        self.namespace = namespace
        self.sent: Counter[str] = Counter()
        """Messages by topic."""
        self.node = Node(NAME, namespace=f"/{namespace}")
        self._teleop, self._services, self._now, self._stamped = teleop, services, now, stamped
        kinds = {topic: kind for topic, kind in TYPES.items() if topic != CLOCK and available(kind)}
        self._publishers = {
            topic: self.node.create_publisher(
                message_class(kind), topic, profile(quality_of(topic, burst, best_effort))
            )
            for topic, kind in kinds.items()
        }
        if TF_STATIC in kinds:
            self._publishers[TF_STATIC].publish(ros.static_transforms(make, START))
        command = "geometry_msgs/msg/TwistStamped" if stamped else "geometry_msgs/msg/Twist"
        self.node.create_subscription(message_class(command), "cmd_vel", self._command, profile(COMMANDS))
        self._offer(seed)

    def publish(self, frame: Frame) -> None:
        """Send a frame: images are made for subscribers only."""
        for topic, message in frame_messages(make, frame, self._wanted):
            self._publishers[topic].publish(message)
            self.sent[topic] += 1

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()

    # -- parts --------------------------------------------------------------------------------------------

    def _wanted(self, topic: str) -> bool:
        publisher = self._publishers.get(topic)
        # A JPEG costs more than everything else together.
        return publisher is not None and (topic != COMPRESSED or publisher.get_subscription_count() > 0)

    def _command(self, message: Any) -> None:
        twist = message.twist if self._stamped else message
        linear, angular = ((part.x, part.y, part.z) for part in (twist.linear, twist.angular))
        if not self._teleop.take(linear, angular, self._now()):
            self.node.get_logger().warning(self._teleop.problem, throttle_duration_sec=1.0)

    def _offer(self, seed: int) -> None:
        from rcl_interfaces.msg import SetParametersResult

        self.node.declare_parameter("seed", seed)
        self.node.declare_parameter("snapshot", "default")
        self.node.declare_parameter("fork", "")

        def changed(parameters: list[Any]) -> Any:
            for each in parameters:
                if each.name == "seed":
                    try:
                        self._services.reseed(self.namespace, each.value)
                    except ValueError as error:
                        return SetParametersResult(successful=False, reason=str(error))
            return SetParametersResult(successful=True)

        self.node.add_on_set_parameters_callback(changed)
        trigger = message_class("std_srvs/srv/Trigger")
        self.node.create_service(message_class("std_srvs/srv/Empty"), "~/reset", self._reset)
        for name, act in (("snapshot", self._snapshot), ("restore", self._restore), ("fork", self._fork)):
            self.node.create_service(trigger, f"~/{name}", answering(act))

    def _reset(self, request: Any, response: Any) -> Any:
        self._services.reset(self.namespace)
        return response

    def _text(self, name: str) -> str:
        return str(self.node.get_parameter(name).value)

    def _snapshot(self) -> str:
        name = self._text("snapshot")
        self._services.snapshot(self.namespace, name)
        return name

    def _restore(self) -> str:
        name = self._text("snapshot")
        self._services.restore(self.namespace, name)
        return name

    def _fork(self) -> str:
        return self._services.fork(self.namespace, self._text("fork"))


def answering(act: Callable[[], str]) -> Callable[[Any, Any], Any]:
    """A callback of `std_srvs/Trigger`: what `act` returns, or why it could not."""

    def answer(request: Any, response: Any) -> Any:
        try:
            response.message, response.success = act(), True
        except ValueError as error:
            response.message, response.success = str(error), False
        return response

    return answer


def profile(quality: Quality) -> Any:
    """As rclpy says it."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=quality.depth,
        reliability=ReliabilityPolicy.RELIABLE if quality.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if quality.latched else DurabilityPolicy.VOLATILE,
    )
