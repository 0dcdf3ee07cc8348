"""`sanawm collect --ray`: a machine that dies, a driver that is killed, and the same bits as one process gives.

What Prometheus sees is looked at on the way.

Run by .ci/ray.
"""

import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from sanawm_env.data.collection.store import Store

if os.environ.get("REQUIRE_RAY") != "1":
    pytest.importorskip("ray", reason="Ray is not installed here; .ci/ray runs these tests")

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
os.environ["RAY_metrics_report_interval_ms"] = "300"  # ten seconds otherwise
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


def scraped(port):
    """What Prometheus would be told of our metrics: name and label to value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^ray_sanawm_(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        label = re.search(r'\b(?:state|worker)="([^"]+)"', labels)
        found[name, label and label[1]] = float(value)
    return found


@pytest.fixture(scope="module")
def port():
    """Where the head of `cluster` tells its metrics."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(port):
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "metrics_export_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def nodes(cluster):
    """Two machines with a core each."""
    added = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
    yield added
    for each in added:
        if each in cluster.worker_nodes:
            cluster.remove_node(each, allow_graceful=False)


def test_a_machine_dies_and_the_metrics_tell(tmp_path, reference, cluster, nodes, port):
    out = tmp_path / "ds"
    process = start(out, "--ray", cluster.address)
    both = lambda: {event["worker"] for event in events(out) if event["event"] == "ready"} == {"ray-0", "ray-1"}  # noqa: E731
    wait_for(process, out, 2, also=both)
    cluster.remove_node(nodes[1], allow_graceful=False)
    told = {("items", state) for state in ("done", "failed", "queued", "running")}
    told |= {("retries", None), ("lost", None)}
    seen = []
    while process.poll() is None:
        if told <= (metrics := scraped(port)).keys():  # a gauge is told from its first value on, each by itself
            seen.append(metrics)
        time.sleep(0.2)
    said = finish(process)
    assert f"{COUNT} episodes" in said
    assert any(event["event"] == "lost" for event in events(out))
    assert_whole(out, reference)

    counts = [[metrics["items", state] for state in ("done", "failed", "queued", "running")] for metrics in seen]
    assert statistics.mode(map(sum, counts)) == COUNT  # one may be read between two that belong together
    done = [each[0] for each in counts]
    assert done == sorted(done) and done[0] < done[-1] <= COUNT and all(each[1] == 0 for each in counts)
    assert seen[-1]["lost", None] >= 1 and 0 <= seen[-1]["retries", None] <= seen[-1]["lost", None]
    # Either may be the one on the machine that died, before it had done anything.
    rates = [[rate for (name, _), rate in metrics.items() if name == "worker_items_per_hour"] for metrics in seen]
    assert 1 < max(map(max, rates)) < 3600 * COUNT


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


def test_a_driver_is_killed_and_started_again_at_once(tmp_path, reference, cluster, nodes):
    out = tmp_path / "ds"
    process = start(out, "--ray", cluster.address)
    wait_for(process, out, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = len(hashes(out))
    assert 3 <= there < COUNT
    finish(start(out, "--ray", cluster.address))
    assert_whole(out, reference)


def test_options_that_cannot_be(tmp_path):
    process = start(tmp_path / "ds", "--workers", "2")
    assert "belong to --ray" in process.communicate()[0] and process.returncode == 2
    process = start(tmp_path / "ds", "--ray", "nowhere")
    assert "give auto, local or HOST:PORT" in process.communicate()[0] and process.returncode == 2
    assert not (tmp_path / "ds").exists()
