"""`serve`: a session in the ROS graph, until somebody stops it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from sanawm_env.bridges.ros2 import messages as ros
from sanawm_env.bridges.ros2.diagnose import report
from sanawm_env.bridges.ros2.live.messages import available, make, message_class, require_rclpy
from sanawm_env.bridges.ros2.live.robot_node import NAME, RobotNode, WorldServices, answering, profile
from sanawm_env.bridges.ros2.live.simulation_interfaces import Acts, offer
from sanawm_env.bridges.ros2.qos import quality_of
from sanawm_env.bridges.ros2.robot import Frame
from sanawm_env.bridges.ros2.runner import Mode, Runner
from sanawm_env.bridges.ros2.session import Session
from sanawm_env.bridges.ros2.teleop import Limits, Teleop
from sanawm_env.bridges.ros2.topics import CLOCK, TYPES

__all__ = ["ServeOptions", "serve"]

Result = TypeVar("Result")
SERVER = "sanawm"
"""Name of the node that has the clock, `/diagnostics`, and services for all worlds."""
_NEEDED = (
    "rosgraph_msgs/msg/Clock",
    "sensor_msgs/msg/Image",
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/Twist",
    "std_srvs/srv/Trigger",
)
_DISCOVERY = 3.0
"""Seconds in which others of the same name are looked for."""


@dataclass(frozen=True)
class ServeOptions:
    """How a session meets the graph."""

    mode: Mode = "lockstep"
    limits: Limits | None = None
    """Of every robot's commands; None is what the world can do."""
    stamped: bool = False
    """Whether commands are `TwistStamped`."""
    best_effort: bool = False
    """Whether sensors are offered as BEST_EFFORT."""
    seconds: float | None = None
    """Simulated time after which to stop; None is never."""


def serve(session: Session, options: ServeOptions, say: Callable[[str], None] = print) -> None:
    """Publish a session's robots and obey their commands, until Ctrl-C or the end of `options.seconds`.

    Args:
        session: Not yet begun.
        options: See `ServeOptions`.
        say: Words for the user.

    Raises:
        ImportError: No rclpy, or not all messages.
        ValueError: A node of the same name is in the graph already.
    """
    rclpy = require_rclpy()
    for kind in _NEEDED:
        message_class(kind)
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with ThreadPoolExecutor(1) as pool:
            server = _Server(session, options, pool, say)
            try:
                server.run()
            finally:
                server.close()
    finally:
        rclpy.try_shutdown()


class _Server:
    """The nodes of a session and what their services do."""

    def __init__(
        self, session: Session, options: ServeOptions, pool: ThreadPoolExecutor, say: Callable[[str], None]
    ) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        self.session, self._options, self._say, self._pool = session, options, say, pool
        self._limits = options.limits or Limits(*session.top_speeds)
        # Frames of a step go out at once unless they are paced.
        self._burst = 1 if options.mode == "realtime" else session.frames_per_step
        self._executor = SingleThreadedExecutor()
        self.node = Node(SERVER)
        self._executor.add_node(self.node)
        self._refuse_twins()
        self._clock = self.node.create_publisher(
            message_class(TYPES[CLOCK]), f"/{CLOCK}", profile(quality_of(CLOCK, self._burst))
        )
        self._told = self._ticks = 0
        first = self._compute(session.begin)
        self.teleops = {name: Teleop(self._limits) for name in session.namespaces}
        self.runner = Runner(session, self.teleops, self._publish, options.mode, pool, wake=self._executor.wake)
        self.robots = {name: self._enter(name) for name in session.namespaces}
        self._offer()
        for name, frames in first.items():
            self._publish(name, frames[-1])

    def run(self) -> None:
        """Until it is over."""
        end = None if self._options.seconds is None else self.runner.now + round(self._options.seconds * 1e9)
        self._say(self._greeting())
        while end is None or self.runner.now < end:
            self.runner.tick()
            self._executor.spin_once(timeout_sec=self.runner.wait())
        self.runner.settle()

    def close(self) -> None:
        """Leave the graph, and say what was sent."""
        self._say(f"sent /{CLOCK} {self._ticks}")
        for name, robot in self.robots.items():
            for topic, count in robot.sent.items():
                self._say(f"sent /{name}/{topic} {count}".replace("//", "/"))
            robot.close()
        self.node.destroy_node()
        self._executor.shutdown()

    # -- what is published --------------------------------------------------------------------------------

    def _publish(self, namespace: str, frame: Frame) -> None:
        if frame.stamp > self._told:  # once for all robots, before what has that stamp
            self._told = frame.stamp
            self._tell_time()
        self.robots[namespace].publish(frame)

    def _tell_time(self) -> None:
        self._clock.publish(ros.clock(make, self._told))
        self._ticks += 1

    def _diagnose(self) -> None:
        clocks = self.node.count_publishers(f"/{CLOCK}")
        self._diagnostics.publish(ros.diagnostics(make, report(self.runner, self.teleops, clocks), self.runner.now))

    # -- services -----------------------------------------------------------------------------------------

    def _offer(self) -> None:
        node = self.node
        empty, trigger, flag = (message_class(f"std_srvs/srv/{name}") for name in ("Empty", "Trigger", "SetBool"))

        def reset(request: Any, response: Any) -> Any:
            self._reset_all()
            return response

        def pause(request: Any, response: Any) -> Any:
            self.runner.pause(bool(request.data))
            response.success, response.message = True, "paused" if request.data else "running"
            return response

        def step() -> str:
            self.runner.step()
            return f"{self.runner.now / 1e9:.4f}"

        node.create_service(empty, "~/reset", reset)
        node.create_service(flag, "~/pause", pause)
        node.create_service(trigger, "~/step", answering(step))
        acts = Acts(self._reset_all, lambda: self.runner.paused, self.runner.pause, self.runner.step)
        offer(node, acts)
        node.create_timer(1.0, self._tell_time)  # for those who come while nothing moves
        kind = "diagnostic_msgs/msg/DiagnosticArray"
        if available(kind):
            self._diagnostics = node.create_publisher(message_class(kind), "/diagnostics", 10)
            node.create_timer(1.0, self._diagnose)
        if missing := sorted({each.split("/")[0] for each in (*TYPES.values(), kind) if not available(each)}):
            node.get_logger().warning(f"{', '.join(missing)} not installed: what needs it is not published")

    def _enter(self, name: str) -> RobotNode:
        robot = RobotNode(
            name,
            self.teleops[name],
            WorldServices(self._reset, self._reseed, self._snapshot, self._restore, self._fork),
            lambda: self.runner.now,
            seed=self.session.seeds[name],
            stamped=self._options.stamped,
            best_effort=self._options.best_effort,
            burst=self._burst,
        )
        self._executor.add_node(robot.node)
        return robot

    def _reset_all(self) -> None:
        for name in self.session.namespaces:
            self._reset(name)

    def _reset(self, name: str) -> None:
        self.runner.settle()
        self._put(name, self._compute(self.session.reset, name))

    def _reseed(self, name: str, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed must be at least 0; got {seed}.")
        self.session.seeds[name] = seed

    def _snapshot(self, name: str, key: str) -> None:
        self.runner.settle()
        self._compute(self.session.snapshot, name, key)

    def _restore(self, name: str, key: str) -> None:
        self.runner.settle()
        self._put(name, self._compute(self.session.restore, name, key))

    def _fork(self, name: str, new: str) -> str:
        self.runner.settle()
        free = (f"world_{i}" for i in range(1, 10**6) if f"world_{i}" not in self.session.namespaces)
        new = new or next(free)
        frame = self._compute(self.session.fork, name, new)
        new = self.session.namespaces[-1]
        self.teleops[new] = Teleop(self._limits)
        self.robots[new] = self._enter(new)
        self.runner.show(new, frame)
        return new

    def _compute(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """In the thread that steps the worlds: another's team of OpenMP threads would slow each step down."""
        return self._pool.submit(function, *arguments).result()

    def _put(self, name: str, frame: Frame) -> None:
        """A robot stands elsewhere: what it was told before does not count."""
        self.teleops[name].stop()
        self.runner.show(name, frame)

    # -- words --------------------------------------------------------------------------------------------

    def _refuse_twins(self) -> None:
        """Look whether somebody else has our names.

        Raises:
            ValueError: Somebody does.
        """
        wanted = [(SERVER, "/"), *((NAME, f"/{name}") for name in self.session.namespaces)]
        end = time.monotonic() + _DISCOVERY
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)
            found = list(self.node.get_node_names_and_namespaces())
            found.remove((SERVER, "/"))
            if twins := [each for each in wanted if each in found]:
                name, namespace = twins[0]
                raise ValueError(
                    f"a node {namespace.rstrip('/')}/{name} is running already; stop it, or serve in another "
                    "ROS_DOMAIN_ID."
                )

    def _greeting(self) -> str:
        where = ", ".join(f"/{name}" for name in self.session.namespaces)
        domain, limits = os.environ.get("ROS_DOMAIN_ID", "0"), self._limits
        return (
            f"serving {where} in mode {self._options.mode}, ROS_DOMAIN_ID {domain}: cmd_vel up to "
            f"{limits.linear:.2f} m/s and {limits.angular:.2f} rad/s, {self.session.frames_per_step} frames a step, "
            f"{self.session.fps:g} a second"
        )
