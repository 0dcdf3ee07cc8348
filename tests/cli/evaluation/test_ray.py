"""`evaluate --ray` and `evaluate-policy --ray` give the numbers of one process, to the last bit. Run by .ci/ray."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from sanawm_env.cli.main import main

if os.environ.get("REQUIRE_RAY") != "1":
    pytest.importorskip("ray", reason="Ray is not installed here; .ci/ray runs these tests")

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
POLICIES = ("--policy", "random:smooth", "--policy", "planner:cem,frame_budget=48,horizon=2,iterations=1")


@pytest.fixture(scope="module")
def address():
    """Of a Ray on this machine with room for two."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def start(*arguments, threads="1"):
    return subprocess.Popen(
        [sys.executable, "-m", "sanawm_env.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": "10000"},
    )


def finish(process):
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, out + errors
    return json.loads(out.strip().splitlines()[-1])


@pytest.fixture
def alone(capsys):
    """Runs a command in this process, with one thread, and gives its JSON."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*arguments):
        main(list(map(str, arguments)))
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    yield run
    torch.set_num_threads(before)


def comparable(found):
    """All but the wall clock."""
    episodes = [{name: value for name, value in each.items() if name != "seconds"} for each in found["episodes"]]
    return episodes, found["about"]


def kept(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/episodes/[0-9]*.json")}


def test_policies_score_the_same_and_a_killed_run_goes_on(tmp_path, address, alone):
    command = ("evaluate-policy", *POLICIES, "--checkpoint", "untrained", "--device", "cpu", "--chunk-frames", 1)
    command += ("--max-steps", 4, "--episodes", 5, "--json", "-", "--env", "sampler_steps=1")
    expected = alone(*command)
    out = tmp_path / "out"
    command += ("--out", out, "--ray", address)
    process = start(*command, "--threads", 1, threads="2")
    deadline = time.monotonic() + 120
    while len(kept(out)) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = kept(out)
    shared = finish(start(*command))
    assert comparable(shared) == comparable(expected)
    assert len(expected["episodes"]) == 10 and shared["about"]["complete"]
    after = kept(out)
    assert len(after) == 10 and all(after[path] == mtime for path, mtime in before.items())
    events = [json.loads(line) for line in (out / "workers.jsonl").read_text().splitlines()]
    assert {event["threads"] for event in events if event["event"] == "ready"} == {1}


def test_scenes_score_the_same(tmp_path, address, alone):
    command = ("evaluate", "--checkpoint", "untrained", "--device", "cpu", "--suite", "smoke", "--steps", 1)
    expected = alone(*command, "--out", tmp_path / "alone")
    shutil.copytree(tmp_path / "alone", tmp_path / "shared")
    stored = {path.relative_to(tmp_path / "alone"): path for path in (tmp_path / "alone").glob("scenes/*/*/*.json")}
    again = [name for name in stored if name.parts[2] in ("fidelity", "flow", "revisit")]
    assert len(again) == 3
    for name in again:
        (tmp_path / "shared" / name).unlink()
    shared = finish(start(*command, "--out", tmp_path / "shared", "--ray", address))
    for name, path in stored.items():
        assert (tmp_path / "shared" / name).read_bytes() == path.read_bytes(), name
    assert shared["about"]["depends_on"] == expected["about"]["depends_on"]
    assert all(shared[name] == value for name, value in expected.items() if name not in ("about", "cost"))
