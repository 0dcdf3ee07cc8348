"""Do to a robot what should not be done, and use its services, against rclpy alone. Prints one JSON line of findings.

The server: `--mode realtime --stamped`, one world.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_srvs.srv import Empty, SetBool, Trigger

LISTEN = Path(__file__).with_name("listen.py")


class Rascal(Node):
    def __init__(self) -> None:
        super().__init__("rascal")
        self.images: list[tuple[int, float, str]] = []
        self.twins: list[tuple[int, str]] = []
        self.clocks: list[int] = []
        self.odometry: list[tuple[int, float]] = []
        self.status: dict[str, tuple[int, str, dict[str, str]]] = {}
        self.create_subscription(Image, "camera/image_raw", self.on_image, 50)
        self.create_subscription(Image, "twin/camera/image_raw", self.on_twin, 50)
        self.create_subscription(Clock, "/clock", self.on_clock, 50)
        self.create_subscription(Odometry, "odom", self.on_odometry, 50)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        self.commands = self.create_publisher(TwistStamped, "cmd_vel", 10)

    def on_image(self, message: Image) -> None:
        self.images.append((stamp_of(message), time.monotonic(), digest(message)))

    def on_twin(self, message: Image) -> None:
        self.twins.append((stamp_of(message), digest(message)))

    def on_clock(self, message: Clock) -> None:
        self.clocks.append(message.clock.sec * 10**9 + message.clock.nanosec)

    def on_odometry(self, message: Odometry) -> None:
        position = message.pose.pose.position
        self.odometry.append((stamp_of(message), math.hypot(position.x, position.y, position.z)))

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        for each in message.status:
            self.status[each.name] = (each.level[0], each.message, {pair.key: pair.value for pair in each.values})

    def spin(self, seconds: float, until=lambda: False) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            rclpy.spin_once(self, timeout_sec=0.02)
        return bool(until())

    def drive(self, linear: float, angular: float = 0.0) -> None:
        command = TwistStamped()
        command.twist.linear.x, command.twist.angular.z = linear, angular
        self.commands.publish(command)

    def call(self, kind, name: str, **fields):
        client = self.create_client(kind, name)
        if not client.wait_for_service(10.0):
            raise SystemExit(f"no service {name}")
        future = client.call_async(kind.Request(**fields))
        if not self.spin(20.0, future.done):
            raise SystemExit(f"{name} did not answer")
        return future.result()

    def set(self, name: str, text: str) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
        answer = self.call(SetParameters, "/world/set_parameters", parameters=[Parameter(name=name, value=value)])
        assert answer.results[0].successful, answer

    def goes_on(self) -> bool:
        """Whether images keep coming."""
        before = len(self.images)
        return self.spin(20.0, lambda: len(self.images) > before + 8)

    def still(self) -> None:
        """Until nothing is on its way any more."""
        self.call(SetBool, "/sanawm/pause", data=True)
        before = -1
        while before < len(self.images):
            before = len(self.images)
            self.spin(0.7)

    def step(self, speed: float) -> list[str]:
        """What a step shows."""
        before = len(self.images)
        self.drive(speed)
        self.spin(0.5)
        assert self.call(Trigger, "/sanawm/step").success
        self.spin(5.0, lambda: len(self.images) > before)
        self.spin(0.5)
        return [image for _, _, image in self.images[before:]]

    def lost(self, since: int) -> int:
        stamps = [stamp for stamp, _, _ in self.images[since:]]
        return round((stamps[-1] - stamps[0]) * 16 / 1e9) + 1 - len(stamps)

    def longest_gap(self, since: int) -> float:
        times = [at for _, at, _ in self.images[since:]]
        return round(max(b - a for a, b in pairwise(times)), 2)


def not_numbers(node: Rascal) -> dict:
    for value in (math.nan, math.inf, -math.inf):
        for _ in range(2):
            node.drive(value), node.drive(0.1, value)
            node.spin(0.05)
    node.spin(5.0, lambda: node.status.get("sanawm: /cmd_vel", (0, "", {}))[2].get("refused") == "12")
    level, text, values = node.status["sanawm: /cmd_vel"]
    return {"level": level, "text": text, "refused": int(values["refused"]), "goes_on": node.goes_on()}


def flood(node: Rascal) -> dict:
    since, began = len(node.images), time.monotonic()
    for i in range(2000):
        node.drive(0.2)
        while time.monotonic() < began + (i + 1) / 1000:
            rclpy.spin_once(node, timeout_sec=0.0)
    took = time.monotonic() - began
    node.spin(1.5)
    received = int(node.status["sanawm: /cmd_vel"][2]["received"])
    return {"hertz": round(2000 / took), "received": received, "lost": node.lost(since), "goes_on": node.goes_on()}


def killed(node: Rascal) -> dict:
    other = subprocess.Popen([sys.executable, LISTEN, "--frames", "100000", "--silent"], stdout=subprocess.DEVNULL)
    node.spin(3.0)
    since = len(node.images)
    other.send_signal(signal.SIGKILL)
    other.wait()
    node.spin(4.0)
    return {"lost": node.lost(since), "longest_gap": node.longest_gap(since), "goes_on": node.goes_on()}


def slow(node: Rascal) -> dict:
    arguments = ["--frames", "100000", "--silent", "--slow", "0.5", "--depth", "1"]
    other = subprocess.Popen([sys.executable, LISTEN, *arguments], stdout=subprocess.DEVNULL)
    node.spin(2.0)
    since = len(node.images)
    node.spin(4.0)
    other.kill()
    other.wait()
    return {"lost": node.lost(since), "longest_gap": node.longest_gap(since)}


def twins(node: Rascal) -> dict:
    twin = Node("world")
    rival = twin.create_publisher(Clock, "/clock", 10)
    warned = node.spin(5.0, lambda: "publishers" in node.status["sanawm: simulation"][1])
    found = {"warned": warned, "text": node.status["sanawm: simulation"][1], "goes_on": node.goes_on()}
    twin.destroy_publisher(rival)
    twin.destroy_node()
    return found


def moments(node: Rascal) -> dict:
    for _ in range(20):
        node.drive(0.3)
        node.spin(0.05)
    went = node.odometry[-1][1]
    node.still()
    node.set("snapshot", "kitchen")
    assert node.call(Trigger, "/world/snapshot").success
    first = node.step(0.2)
    assert node.call(Trigger, "/world/restore").success
    node.spin(0.5)
    again = node.step(0.2)
    node.set("snapshot", "nowhere")
    refused = node.call(Trigger, "/world/restore")
    node.set("fork", "twin")
    forked = node.call(Trigger, "/world/fork")
    node.spin(2.0, lambda: node.count_publishers("/twin/camera/image_raw") > 0)
    fork_equal = of_both(node)
    node.call(Empty, "/world/reset")
    node.spin(1.0)
    found = {
        "went": round(went, 2),
        "frames_a_step": len(first),
        "restored_equal": first == again,
        "refused": [refused.success, refused.message],
        "forked": [forked.success, forked.message],
        "fork_equal": fork_equal,
        "after_reset": node.odometry[-1][1],
    }
    node.call(SetBool, "/sanawm/pause", data=False)
    found["goes_on"] = node.goes_on()
    return found


def of_both(node: Rascal) -> bool:
    """Whether robot and twin, which has no command yet, see the same in a step that both are heard in."""
    for _ in range(6):  # a publisher that is known is not yet one that knows of us: its first messages may go nowhere
        before = len(node.images)
        node.step(0.0)
        seen = {stamp: image for stamp, _, image in node.images[before:]}
        node.spin(2.0, lambda seen=seen: seen.keys() <= dict(node.twins).keys())
        twin = {stamp: image for stamp, image in node.twins if stamp in seen}
        if len(twin) == len(seen) > 0:
            return twin == seen
    return False


def stamp_of(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def digest(message: Image) -> str:
    return hashlib.sha256(bytes(message.data)).hexdigest()[:16]


def main() -> None:
    rclpy.init()
    node = Rascal()
    if not node.spin(60.0, lambda: len(node.images) > 8 and node.commands.get_subscription_count() > 0):
        raise SystemExit("no images")
    found = {each.__name__: each(node) for each in (not_numbers, flood, killed, slow, twins, moments)}
    stamps = [stamp for stamp, _, _ in node.images]
    found["time_went_back"] = sorted(stamps) != stamps or sorted(node.clocks) != node.clocks
    print(json.dumps(found), flush=True)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
