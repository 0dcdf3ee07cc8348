"""`sanawm collect --ray`: a machine that dies, a driver that is killed, and the same bits as one process gives.

Run by .ci/ray.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from sanawm_env.data.collection.store import Store

if os.environ.get("REQUIRE_RAY") != "1":
    pytest.importorskip("ray", reason="Ray is not installed here; .ci/ray runs these tests")

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
COUNT = 12


def start(out, *options):
    command = [sys.executable, "-m", "sanawm_env.cli", "collect", "--policy", "scripted:follow", "--task", "PointNav"]
    command += ["--checkpoint", "untrained", "--max-steps", "8", "--episodes", str(COUNT), "--out", str(out)]
    return subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"},
    )


def finish(process):
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def wait_for(process, out, episodes, also=lambda: True):
    deadline = time.monotonic() + 150
    while len(list(out.glob("sanawm/episodes/*.json"))) < episodes or not also():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hashes(out):
    return {number: values["recipe"]["frames_sha256"] for number, values in Store(out).done().items()}


def events(out):
    lines = (out / "sanawm" / "workers.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def assert_whole(out, reference):
    assert hashes(out) == hashes(reference)
    ended = [event["item"] for event in events(out) if event["event"] == "item"]
    assert len(ended) == len(set(ended))  # none twice
    videos = sorted(path.relative_to(out) for path in out.glob("videos/**/*.mp4"))
    assert videos == sorted(path.relative_to(reference) for path in reference.glob("videos/**/*.mp4"))
    assert all((out / video).read_bytes() == (reference / video).read_bytes() for video in videos)
    assert json.loads((out / "meta" / "info.json").read_text())["total_episodes"] == len(videos)
    assert not [path for path in out.rglob(".*") if path.is_file()]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Collected by one process, undisturbed."""
    out = tmp_path_factory.mktemp("reference") / "ds"
    finish(start(out))
    assert len(hashes(out)) == COUNT
    return out


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def test_a_machine_dies(tmp_path, reference, cluster):
    out = tmp_path / "ds"
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
    process = start(out, "--ray", cluster.address)
    both = lambda: {event["worker"] for event in events(out) if event["event"] == "ready"} == {"ray-0", "ray-1"}  # noqa: E731
    wait_for(process, out, 2, also=both)
    cluster.remove_node(nodes[1], allow_graceful=False)
    said = finish(process)
    assert f"{COUNT} episodes" in said
    assert any(event["event"] == "lost" for event in events(out))
    assert_whole(out, reference)


def test_workers_are_killed_at_random_moments(tmp_path, reference):
    out = tmp_path / "ds"
    process = start(out, "--ray", "local", "--workers", "2")
    wait_for(process, out, 1)
    moments, kills = random.Random(0), 0
    while process.poll() is None and kills < 3:  # the fourth could be the one that gives an episode up
        living = {event["worker"]: event["pid"] for event in events(out) if event["event"] == "ready"}
        with suppress(ProcessLookupError):
            os.kill(living[moments.choice(sorted(living))], signal.SIGKILL)
            kills += 1
        time.sleep(moments.uniform(0.1, 1.0))
    finish(process)
    assert kills and sum(event["event"] == "lost" for event in events(out)) >= 1
    assert_whole(out, reference)


def test_a_driver_is_killed_and_started_again_at_once(tmp_path, reference):
    out = tmp_path / "ds"
    process = start(out, "--ray", "local", "--workers", "2")
    wait_for(process, out, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = len(hashes(out))
    assert 3 <= there < COUNT
    finish(start(out, "--ray", "local", "--workers", "2"))
    assert_whole(out, reference)


def test_options_that_cannot_be(tmp_path):
    process = start(tmp_path / "ds", "--workers", "2")
    assert "belong to --ray" in process.communicate()[0] and process.returncode == 2
    process = start(tmp_path / "ds", "--ray", "nowhere")
    assert "give auto, local or HOST:PORT" in process.communicate()[0] and process.returncode == 2
    assert not (tmp_path / "ds").exists()
