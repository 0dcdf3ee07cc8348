"""Listen to a robot and judge what arrives, against rclpy and its messages alone. Prints one JSON line.

listen.py --frames 900 [--namespace world_0] [--slow SECONDS]: drives gently until so many images have come.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from itertools import pairwise

import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan
from tf2_msgs.msg import TFMessage

FPS = 16
EVERY_FRAME = ("camera/image_raw", "camera/camera_info", "odom", "tf", "/clock")
EVERY_STEP = ("camera/depth/image_raw", "scan")
KINDS = {
    "camera/image_raw": Image,
    "camera/image_raw/compressed": CompressedImage,
    "camera/camera_info": CameraInfo,
    "camera/depth/image_raw": Image,
    "scan": LaserScan,
    "odom": Odometry,
    "tf": TFMessage,
    "/clock": Clock,
}


class Listener(Node):
    def __init__(self, namespace: str, depth: int, slow: float) -> None:
        super().__init__(
            f"listener_{os.getpid()}",
            namespace=namespace,
            parameter_overrides=[Parameter("use_sim_time", value=True)],
        )
        self.slow = slow
        self.stamps: dict[str, list[int]] = {topic: [] for topic in KINDS}
        self.latencies: dict[str, list[float]] = {topic: [] for topic in KINDS}
        self.problems: list[str] = []
        self.parents: dict[str, str] = {}
        self.poses: dict[int, tuple[float, ...]] = {}
        self.moved: dict[int, tuple[float, ...]] = {}
        self.speeds: dict[int, float] = {}
        self.sizes: set[tuple[int, int]] = set()
        self.fired: list[int] = []
        reliable = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
        for topic, kind in KINDS.items():
            self.create_subscription(kind, topic, self._handler(topic), reliable)
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self.create_subscription(TFMessage, "tf_static", self._static, latched)
        self.commands = self.create_publisher(Twist, "cmd_vel", 10)
        self.create_timer(1.0, lambda: self.fired.append(self.get_clock().now().nanoseconds))

    def _handler(self, topic):
        judge = getattr(self, "judge_" + topic.strip("/").replace("/", "_"))

        # rclpy looks at the annotations to decide whether it passes the second argument.
        def handle(message, info) -> None:
            self.latencies[topic].append((time.time_ns() - info["source_timestamp"]) / 1e6)
            try:
                stamp = judge(message)
            except Exception as error:
                self.problems.append(f"{topic}: {error!r}")
                return
            if self.stamps[topic] and stamp < self.stamps[topic][-1]:
                self.problems.append(f"{topic}: time went back from {self.stamps[topic][-1]} to {stamp}")
            if not self.stamps[topic] or stamp > self.stamps[topic][-1]:  # the clock is repeated while nothing moves
                self.stamps[topic].append(stamp)

        return handle

    # -- one judge for each topic, which returns the stamp -------------------------------------------------

    def judge_camera_image_raw(self, message: Image) -> int:
        assert message.encoding == "rgb8" and message.step == 3 * message.width and not message.is_bigendian
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        assert pixels.std() > 1, "a picture of one colour"
        assert message.header.frame_id == "camera_optical_frame"
        self.sizes.add((message.height, message.width))
        if "ros2_numpy" in sys.modules:
            assert np.array_equal(sys.modules["ros2_numpy"].numpify(message), pixels)
        time.sleep(self.slow)
        return stamp_of(message)

    def judge_camera_image_raw_compressed(self, message: CompressedImage) -> int:
        data = bytes(message.data)
        assert "jpeg" in message.format and data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
        return stamp_of(message)

    def judge_camera_camera_info(self, message: CameraInfo) -> int:
        k, p = np.array(message.k).reshape(3, 3), np.array(message.p).reshape(3, 4)
        assert np.array_equal(p[:, :3], k) and k[2, 2] == 1 and k[0, 0] > 0 and k[1, 1] > 0
        assert abs(k[0, 2] - (message.width - 1) / 2) < message.width / 4
        assert not any(message.d) and message.distortion_model == "plumb_bob"
        assert message.header.frame_id == "camera_optical_frame"
        self.sizes.add((message.height, message.width))
        return stamp_of(message)

    def judge_camera_depth_image_raw(self, message: Image) -> int:
        assert message.encoding == "32FC1" and message.step == 4 * message.width
        depth = np.frombuffer(message.data, "<f4").reshape(message.height, message.width)
        assert (depth > 0).all(), "depth that is not positive"
        return stamp_of(message)

    def judge_scan(self, message: LaserScan) -> int:
        ranges = np.array(message.ranges)
        assert len(ranges) > 1 and message.angle_min < 0 < message.angle_max
        assert math.isclose(
            message.angle_min + (len(ranges) - 1) * message.angle_increment, message.angle_max, abs_tol=1e-3
        )
        real = ranges[np.isfinite(ranges)]
        assert ((real >= message.range_min) & (real <= message.range_max)).all(), "a range beyond its limits"
        return stamp_of(message)

    def judge_odom(self, message: Odometry) -> int:
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        pose, stamp = message.pose.pose, stamp_of(message)
        self.poses[stamp] = numbers(pose.position, pose.orientation)
        self.speeds[stamp] = message.twist.twist.linear.x
        return stamp

    def judge_tf(self, message: TFMessage) -> int:
        (moved,) = message.transforms
        self._adopt(moved)
        stamp = stamp_of(moved)
        self.moved[stamp] = numbers(moved.transform.translation, moved.transform.rotation)
        return stamp

    def judge_clock(self, message: Clock) -> int:
        return message.clock.sec * 10**9 + message.clock.nanosec

    def _static(self, message: TFMessage) -> None:
        for each in message.transforms:
            self._adopt(each)

    def _adopt(self, each) -> None:
        parent = self.parents.setdefault(each.child_frame_id, each.header.frame_id)
        if parent != each.header.frame_id:
            self.problems.append(f"tf: {each.child_frame_id} has two parents, {parent} and {each.header.frame_id}")

    # -- in the end ----------------------------------------------------------------------------------------

    def verdict(self) -> dict:
        frame, way = "camera_optical_frame", []
        while frame in self.parents and len(way) < 10:
            way.append(frame)
            frame = self.parents[frame]
        if frame != "odom" or len(way) != 3:
            self.problems.append(f"tf: from camera_optical_frame the way is {way}, ending at {frame}")
        both = sorted(set(self.poses) & set(self.moved))
        if any(not np.allclose(self.poses[s], self.moved[s], atol=1e-12) for s in both):
            self.problems.append("tf and odom differ")
        if any(abs(sum(x * x for x in pose[3:]) - 1) > 1e-9 for pose in self.poses.values()):
            self.problems.append("odom: a quaternion is not normalised")
        way_gone = sum(math.dist(self.poses[a][:3], self.poses[b][:3]) for a, b in pairwise(both))
        by_speed = sum(abs(self.speeds[b]) * (b - a) / 1e9 for a, b in pairwise(both) if b - a < 1e8)
        if abs(way_gone - by_speed) > 0.05 * way_gone + 0.05:
            self.problems.append(f"odom: {way_gone:.2f} m by poses, {by_speed:.2f} m by twists")
        if len(self.sizes) != 1:
            self.problems.append(f"sizes of images and camera_info: {self.sizes}")
        seconds = (self.stamps["/clock"][-1] - self.stamps["/clock"][0]) / 1e9
        if abs(len(self.fired) - seconds) > 2:
            self.problems.append(f"a timer of one simulated second fired {len(self.fired)} times in {seconds:.1f} s")
        return {
            "distro": rclpy.__file__.split("/lib/")[0].rsplit("/", 1)[-1],
            "size": sorted(self.sizes)[0] if self.sizes else None,
            "metres": round(way_gone, 2),
            "simulated_seconds": round(seconds, 2),
            "timer_fired": len(self.fired),
            "ros2_numpy": "ros2_numpy" in sys.modules,
            "topics": {topic: self._figures(topic) for topic in KINDS},
            "problems": self.problems[:10],
        }

    def _figures(self, topic: str) -> dict:
        stamps, late = self.stamps[topic], self.latencies[topic]
        figures = {"received": len(stamps), "p50_ms": None, "p95_ms": None, "lost": None}
        if late:
            figures["p50_ms"], figures["p95_ms"] = (round(float(np.percentile(late, q)), 2) for q in (50, 95))
        if stamps and topic not in EVERY_STEP:
            figures["lost"] = round((stamps[-1] - stamps[0]) * FPS / 1e9) + 1 - len(stamps)
        elif len(stamps) > 1:
            apart = np.round(np.diff(stamps) * FPS / 1e9)
            figures["lost"] = int((apart / apart.min() - 1).sum())
        return figures


def stamp_of(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def numbers(position, turn) -> tuple[float, ...]:
    return position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--namespace", default="")
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--timeout", type=float, default=400.0)
    parser.add_argument("--silent", action="store_true", help="send no commands")
    options = parser.parse_args()
    try:
        import ros2_numpy  # noqa: F401
    except ImportError:
        pass
    rclpy.init()
    node = Listener(options.namespace, options.depth, options.slow)
    end, told = time.monotonic() + options.timeout, 0.0
    while len(node.stamps["camera/image_raw"]) < options.frames and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
        if not options.silent and time.monotonic() - told > 0.1:
            told, command = time.monotonic(), Twist()
            command.linear.x, command.angular.z = 0.1, 0.2
            node.commands.publish(command)
    end = time.monotonic() + 0.5  # what belongs to the last image
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    print(json.dumps(node.verdict()), flush=True)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
