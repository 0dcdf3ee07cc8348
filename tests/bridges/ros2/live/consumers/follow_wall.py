"""Drive along the wall on the right, by /scan and /odom alone, in lockstep. Prints one JSON line.

follow_wall.py --seconds 60: simulated ones. Contacts are read from /diagnostics, for the verdict only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import LaserScan

WALL, ROOM, TURN = 0.9, 0.8, 0.3
"""Metres to keep from the wall and in front, and rad/s."""
RECOVERY = [(-0.4, 0.0)] * 2 + [(0.0, TURN)] * 4
"""m/s and rad/s of the steps after one that was held: back up and spin, as Nav2 does. What holds a robot may stand
beside it, where its camera does not look."""


class WallFollower(Node):
    def __init__(self) -> None:
        super().__init__("wall_follower")
        self.scan: LaserScan | None = None
        self.odometry: list[tuple[int, float, float, float]] = []
        self.collisions: int | None = None
        self.told = 0.0
        self.recovery: list[tuple[float, float]] = []
        self.wanted = 0.0
        self.create_subscription(LaserScan, "scan", self.on_scan, 5)
        self.create_subscription(Odometry, "odom", self.on_odometry, 20)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 5)
        self.commands = self.create_publisher(Twist, "cmd_vel", 10)

    def on_scan(self, message: LaserScan) -> None:
        self.scan = message

    def on_odometry(self, message: Odometry) -> None:
        position, turn = message.pose.pose.position, message.pose.pose.orientation
        yaw = 2 * math.atan2(turn.z, turn.w)
        self.odometry.append((stamp_of(message), position.x, position.y, yaw))

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {each.key: each.value for each in status.values}
            if "collisions" in values:
                self.collisions, self.told = int(values["collisions"]), time.monotonic()

    def send(self, linear: float, angular: float) -> None:
        command = Twist()
        command.linear.x, command.angular.z = float(linear), float(angular)
        self.commands.publish(command)

    def answer(self, after: int, timeout: float) -> bool:
        """Wait for scan and odometry of the step after a time."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.1)
            now = 0 if self.scan is None else stamp_of(self.scan)
            if now > after and self.odometry and self.odometry[-1][0] == now:
                return True
        return False

    def drive(self) -> tuple[float, float]:
        """The next command."""
        if not self.recovery and self.held():
            self.recovery = RECOVERY.copy()
        linear, angular = self.recovery.pop(0) if self.recovery else self.follow()
        self.wanted = linear
        return linear, angular

    def held(self) -> bool:
        """Whether the last step was to go ahead and did not."""
        (_, x0, y0, _), (_, x1, y1, _) = self.odometry[-2:] if len(self.odometry) > 1 else self.odometry * 2
        return self.wanted > 0.1 and math.hypot(x1 - x0, y1 - y0) < 1e-3

    def follow(self) -> tuple[float, float]:
        scan = self.scan
        ranges = np.array(scan.ranges)
        angles = scan.angle_min + scan.angle_increment * np.arange(len(ranges))
        ranges = np.where(np.isposinf(ranges), scan.range_max, np.where(np.isneginf(ranges), 0.0, ranges))
        known = ~np.isnan(ranges)
        x, y = (ranges * np.cos(angles))[known], (ranges * np.sin(angles))[known]
        ahead = x[np.abs(y) < 0.5]
        front = float(ahead.min()) if len(ahead) else scan.range_max
        right = y[: max(3, len(y) // 8)]
        beside = min(2.0, float(np.median(-right)))
        if front < ROOM + 0.5:
            return float(np.clip(0.5 * (front - ROOM), 0.0, 0.5)), TURN
        return float(np.clip(0.5 * (front - ROOM), 0.0, 0.5)), float(np.clip(0.6 * (WALL - beside), -TURN, TURN))


def stamp_of(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    rclpy.init()
    node = WallFollower()
    end = time.monotonic() + 60
    while time.monotonic() < end:  # the first command may come before the robot has found us
        if node.commands.get_subscription_count():
            node.send(0.0, 0.0)
        if node.answer(0, 3.0):
            break
    began = time.monotonic()
    first = stamp_of(node.scan)
    steps = 0
    while (now := stamp_of(node.scan)) < first + options.seconds * 1e9:
        command = node.drive()
        if options.trace:
            print(now / 1e9, node.odometry[-1][1:], command, flush=True)
        node.send(*command)
        if not node.answer(now, 120.0):
            raise SystemExit(f"no answer to the command at {now / 1e9:.2f} s")
        steps += 1
    took, asked = time.monotonic() - began, time.monotonic()
    while node.told < asked and time.monotonic() < asked + 5:
        rclpy.spin_once(node, timeout_sec=0.1)
    path = np.array([each[1:3] for each in node.odometry])
    digest = hashlib.sha256(repr(node.odometry).encode()).hexdigest()[:16]
    print(
        json.dumps(
            {
                "simulated_seconds": (stamp_of(node.scan) - first) / 1e9,
                "steps": steps,
                "seconds": round(took, 1),
                "metres": round(float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()), 3),
                "turned_degrees": round(
                    math.degrees(float(np.abs(np.diff(np.unwrap([each[3] for each in node.odometry]))).sum())), 1
                ),
                "collisions": node.collisions,
                "path": digest,
            }
        ),
        flush=True,
    )
    rclpy.shutdown()


if __name__ == "__main__":
    main()
