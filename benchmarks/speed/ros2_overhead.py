"""What the live bridge costs for each frame: messages made and handed to rclpy, without the world.

Run it by a Python that has rclpy (.ci/ros2 leaves one in .venv-ros2-kilted):

    ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST .venv-ros2-kilted/bin/python benchmarks/speed/ros2_overhead.py

A process of its own listens to everything, reliably, and counts. Prints one JSON line, by size of the picture:
milliseconds of this process's own time and of the clock for each frame (clock, tf, odom, camera_info, raw image; depth
and scan with every fourth), and what arrived.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from multiprocessing.connection import Connection

import numpy as np

SIZES = {"128x224": (128, 224), "720p": (720, 1280)}
FPS, RAYS = 16, 90


def listen(namespace: str, pipe: Connection) -> None:
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    rclpy.init()
    node, count = Node("counter", namespace=namespace), 0

    def heard(message: Image) -> None:
        nonlocal count
        count += 1

    node.create_subscription(Image, "camera/image_raw", heard, 5)
    pipe.send("ready")
    while not pipe.poll():
        rclpy.spin_once(node, timeout_sec=0.05)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    pipe.send(count)


def measure(name: str, frames: int) -> dict[str, float]:
    from sanawm_env.bridges.ros2 import messages as ros
    from sanawm_env.bridges.ros2.live.messages import make, message_class
    from sanawm_env.bridges.ros2.live.robot_node import RobotNode, WorldServices
    from sanawm_env.bridges.ros2.robot import Frame, LaserScan
    from sanawm_env.bridges.ros2.teleop import Limits, Teleop

    height, width = SIZES[name]
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (8, height, width, 3), np.uint8)
    depth = random.random((height, width), np.float32)
    scan = LaserScan(random.random(RAYS, np.float32), -0.5, 1 / RAYS, 0.1, 10.0)
    nothing = WorldServices(*[lambda *_: ""] * 5)  # type: ignore[arg-type]
    namespace = f"size_{name}"
    robot = RobotNode(namespace, Teleop(Limits(1, 1)), nothing, lambda: 0)
    clock = robot.node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 10)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    counter = multiprocessing.get_context("spawn").Process(target=listen, args=(namespace, theirs))
    counter.start()
    ours.recv()
    while not robot.node.count_subscribers(f"/{namespace}/camera/image_raw"):
        time.sleep(0.05)
    time.sleep(0.5)
    own, whole = [], []
    for i in range(frames):
        stamp = ros.nanoseconds(i, FPS, 10**9)
        last = i % 4 == 3
        frame = Frame(i, stamp, pictures[i % 8], np.eye(4), np.ones(4), depth if last else None, scan if last else None)
        began, busy = time.perf_counter(), time.thread_time()
        clock.publish(ros.clock(make, stamp))
        robot.publish(frame)
        own.append(time.thread_time() - busy)
        whole.append(time.perf_counter() - began)
        time.sleep(max(0.0, 1 / 30 - (time.perf_counter() - began)))
    ours.send("stop")
    heard = ours.recv()
    counter.join()
    robot.close()
    found = {f"cpu_ms_p{q}": float(np.percentile(own, q)) * 1e3 for q in (50, 95)}
    found |= {f"wall_ms_p{q}": float(np.percentile(whole, q)) * 1e3 for q in (50, 95)}
    return {key: round(value, 2) for key, value in found.items()} | {"sent": frames, "heard": heard}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    from sanawm_env.bridges.ros2.live.messages import require_rclpy

    rclpy = require_rclpy()
    rclpy.init()
    print(json.dumps({name: measure(name, options.frames) for name in SIZES}))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
