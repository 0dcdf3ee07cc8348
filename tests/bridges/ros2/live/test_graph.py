"""A served world and software that is not ours: rclpy's own nodes, on two distributions (`.ci/ros2`).

The server and each consumer are processes of their own, in virtual environments of their own. REQUIRE_ROS2=1 turns a
missing one from a skip into a failure. Figures go to the file that ROS2_REPORT names.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KILTED, JAZZY = "ROS2_KILTED", "ROS2_JAZZY"
"""Environment variables that name the Pythons; the first can also run `sanawm`."""
_domain = int(os.environ.get("ROS_DOMAIN_ID", "60"))
_consumers: list[subprocess.Popen] = []


def python(variable: str) -> str:
    path = os.environ.get(variable, "")
    if not path:
        if os.environ.get("REQUIRE_ROS2") == "1":
            pytest.fail(f"REQUIRE_ROS2=1, but {variable} names no Python")
        pytest.skip(f"{variable} names no Python with rclpy; run .ci/ros2")
    return path


@pytest.fixture
def graph():
    """Environment variables of a graph that nobody else is in."""
    global _domain
    _domain += 1
    yield os.environ | {
        "ROS_DOMAIN_ID": str(_domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_NUM_THREADS": "1",
        "GOMP_SPINCOUNT": "10000",
    }
    while _consumers:
        _consumers.pop().kill()  # those that a failed test has left


@contextmanager
def served(graph, *arguments):
    """`sanawm ros2 serve`, stopped by Ctrl-C; yields a list that then has its words."""
    said: list[str] = []
    server = subprocess.Popen(
        [python(KILTED), "-m", "sanawm_env.cli", "ros2", "serve", "--device", "cpu", *arguments],
        env=graph, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield said
        assert server.poll() is None, server.communicate()[0]
    finally:
        server.send_signal(signal.SIGINT)
        try:
            said += server.communicate(timeout=30)[0].splitlines()
        finally:
            server.kill()
        print("\n".join(said[-20:]))
    assert server.returncode == 130, said


def consumer(graph, variable, script, *arguments):
    command = [python(variable), str(HERE / "consumers" / script), *map(str, arguments)]
    process = subprocess.Popen(command, env=graph, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _consumers.append(process)
    return process


def findings(process, timeout):
    """The JSON that a consumer printed last."""
    try:
        out, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
        pytest.fail(f"no answer after {timeout} s: {out[-500:]} {error[-2000:]}")
    assert process.returncode == 0, error[-3000:]
    return json.loads(out.strip().splitlines()[-1])


def report(text):
    with open(os.environ.get("ROS2_REPORT", os.devnull), "a", encoding="utf-8") as file:
        file.write(text + "\n")


def test_nothing_is_lost_on_either_distribution(graph):
    frames = 900
    with served(graph, "--mode", "realtime", "--chunk-frames", "3") as said:
        listeners = {
            "Kilted": consumer(graph, KILTED, "listen.py", "--frames", frames),
            "Jazzy": consumer(graph, JAZZY, "listen.py", "--frames", frames, "--silent"),
        }
        heard = {name: findings(process, 420) for name, process in listeners.items()}
    sent = dict(line.split()[1:] for line in said if line.startswith("sent "))
    for name, found in heard.items():
        report(f"{name} (Kilted serves, realtime, {found['size'][0]}x{found['size'][1]}, {found['metres']} m driven):")
        for topic, figures in found["topics"].items():
            report(
                f"  {topic:28} sent {sent['/' + topic.lstrip('/')]:>5}  received {figures['received']:4}  "
                f"lost {figures['lost']}  latency p50 {figures['p50_ms']} ms  p95 {figures['p95_ms']} ms"
            )
    for name, found in heard.items():
        assert not found["problems"], (name, found)
        assert found["topics"]["camera/image_raw"]["received"] >= frames, (name, found)
        assert [figures["lost"] for figures in found["topics"].values()] == [0] * len(found["topics"]), (name, found)
        assert found["metres"] > 1, (name, found)
    assert heard["Kilted"]["ros2_numpy"] or os.environ.get("REQUIRE_ROS2") != "1"


def test_a_wall_is_followed_and_the_walk_is_the_same_on_both(graph):
    """Two servers at a time, each with a driver of another distribution."""
    other = graph | {"ROS_DOMAIN_ID": str(int(graph["ROS_DOMAIN_ID"]) + 100)}
    with served(graph, "--seed", "0"), served(other, "--seed", "0"):
        drivers = {
            "Kilted": consumer(graph, KILTED, "follow_wall.py", "--seconds", 60),
            "Jazzy": consumer(other, JAZZY, "follow_wall.py", "--seconds", 60),
        }
        found = {name: findings(process, 540) for name, process in drivers.items()}
    for name, each in found.items():
        report(
            f"{name}: wall followed for {each['simulated_seconds']:.0f} s of simulated time in {each['seconds']} s: "
            f"{each['metres']} m, {each['turned_degrees']} degrees, {each['collisions']} contacts in {each['steps']} "
            "steps"
        )
        assert each["simulated_seconds"] == 60 and each["steps"] == 240, found
        assert each["metres"] > 10 and each["collisions"] is not None and each["collisions"] <= 12, found
    assert found["Kilted"]["path"] == found["Jazzy"]["path"], found


def test_bad_company_and_services(graph):
    arguments = ["--mode", "realtime", "--stamped", "-c", "tiny", "--sensors", "--contact", "none"]
    with served(graph, *arguments):
        found = findings(consumer(graph, KILTED, "misbehave.py"), 240)
        again = subprocess.run(
            [python(KILTED), "-m", "sanawm_env.cli", "ros2", "serve", *arguments],
            env=graph, text=True, capture_output=True, timeout=60,
        )  # fmt: skip
    report("bad company: " + json.dumps(found))
    for name in ("not_numbers", "flood", "killed", "twins", "moments"):
        assert found[name]["goes_on"], (name, found)
    assert found["not_numbers"]["level"] == 1 and 1 <= found["not_numbers"]["refused"] <= 12, found
    assert found["flood"]["received"] > 12 and found["flood"]["hertz"] > 500, found
    # Subscribers are not to hold each other up; at the moment of a death something may be on its way.
    assert found["slow"]["lost"] == 0 and found["killed"]["lost"] <= 5 and found["killed"]["longest_gap"] < 2, found
    assert found["twins"]["warned"], found
    moments = found["moments"]
    assert moments["went"] > 0.1 and moments["after_reset"] == 0, found
    assert moments["frames_a_step"] == 4 and moments["restored_equal"] and moments["fork_equal"], found
    assert moments["refused"][0] is False and "kitchen" in moments["refused"][1], found
    assert moments["forked"] == [True, "twin"], found
    assert not found["time_went_back"], found
    assert again.returncode == 2 and "/sanawm is running already" in again.stderr, again


def test_several_robots_share_a_clock(graph):
    arguments = ["--mode", "realtime", "--worlds", "2", "-c", "tiny", "--sensors", "--contact", "none"]
    with served(graph, *arguments):
        listeners = [
            consumer(graph, variable, "listen.py", "--frames", 60, "--namespace", name)
            for variable, name in ((KILTED, "world_0"), (JAZZY, "world_1"))
        ]
        for found in (findings(process, 100) for process in listeners):
            assert not found["problems"] and found["topics"]["camera/image_raw"]["lost"] == 0, found


def test_rclpys_own_deserialiser_reads_our_bags(graph, tmp_path):
    pytest.importorskip("rosbags")
    bag = tmp_path / "walk.db3"
    subprocess.run(
        [sys.executable, "-m", "sanawm_env.cli", "ros2", "record", "--out", bag, "--seconds", "3", "--sensors", "depth",
         "scan", "--device", "cpu"],
        env=graph, check=True, timeout=120,
    )  # fmt: skip
    with sqlite3.connect(bag) as base:
        kinds = dict(base.execute("SELECT name, type FROM topics"))
    for variable in (KILTED, JAZZY):
        found = findings(consumer(graph, variable, "read_bag.py", bag), 60)
        assert not found["problems"] and set(found["counts"]) == set(kinds) and found["counts"]["/odom"] >= 48, found
        report(f"{variable}: rclpy's deserialiser read {sum(found['counts'].values())} messages of a bag")
