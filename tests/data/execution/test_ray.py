"""Work lists through Ray: dead workers, dead drivers, dead machines; addresses and tokens. Run by .ci/ray."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

if os.environ.get("REQUIRE_RAY") != "1":
    pytest.importorskip("ray", reason="Ray is not installed here; .ci/ray runs these tests")

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"}


def start(folder, count, environment=None, **options):
    command = [sys.executable, str(Path(__file__).with_name("counting.py")), str(folder)]
    return subprocess.Popen(
        [*command, json.dumps({"count": count, **options})],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ENVIRONMENT | (environment or {}),
    )


def drive(folder, count, **options):
    process = start(folder, count, **options)
    out, errors = process.communicate(timeout=180)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    assert lines, errors
    return json.loads(lines[-1])


def counts(folder, what):
    return Counter(int(path.name.partition(".")[0]) for path in (folder / what).iterdir())


def assert_each_done_once(folder, count):
    assert {path.name for path in (folder / "done").iterdir()} == {str(item) for item in range(count)}
    assert all(path.read_text() == path.name * 1000 for path in (folder / "done").iterdir())
    assert counts(folder, "ends") == Counter(range(count))


def test_dead_workers_and_failed_items(tmp_path):
    # Long enough that neither worker is done with all before the other has begun.
    worker = {"slots": 3, "seconds": 0.3, "kill_once": [4, 11], "kill_always": [7], "fail": [2]}
    end = drive(tmp_path, 20, ray="local", workers=2, retries=2, worker=worker)
    results = {result["item"]: result for result in end["results"]}
    assert sorted(results) == list(range(20)) and len(end["results"]) == 20
    assert results[2]["failure"] == "ValueError: as told"
    assert "lost 3 times" in results[7]["failure"]
    good = [result for item, result in results.items() if item not in (2, 7)]
    for result in good:  # a worker's death may swallow the word that its last items are done: their files tell
        value = None if result["found"] else {"square": result["item"] ** 2, "threads": "1"}
        assert result["value"] == value and result["failure"] is None
    assert not all(result["found"] for result in good)
    assert {result["worker"] for result in good} == {"ray-0", "ray-1"}
    assert counts(tmp_path, "ends") == Counter(set(range(20)) - {2, 7})
    assert (end["done"], end["failed"], end["queued"], end["running"]) == (18, 2, 0, 0)
    assert end["lost"] in (4, 5) and end["workers"] == 2  # 7 may have been in hand when 4 killed the first
    assert any("dashboard" in line for line in end["said"])
    events = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert Counter(event["event"] for event in events)["lost"] == end["lost"]
    assert events[-1]["event"] == "end" and events[-1]["done"] == 18

    # What failed is done by the next run, whoever that is, and nothing else.
    again = drive(tmp_path, 20)
    assert again["todo"] == [2, 7] and again["done"] == 2
    assert_each_done_once(tmp_path, 20)


def test_dead_driver(tmp_path):
    # Long enough that workers which outlive their driver for some seconds leave something to do.
    driver = start(tmp_path, 30, ray="local", workers=2, worker={"seconds": 0.6})
    try:
        deadline = time.monotonic() + 90
        while not (tmp_path / "done").is_dir() or len(list((tmp_path / "done").iterdir())) < 6:
            assert driver.poll() is None, driver.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    done_of_first = len(list((tmp_path / "done").iterdir()))
    time.sleep(5)  # Ray ends the workers of a driver that is gone
    left = 30 - len(list((tmp_path / "done").iterdir()))
    assert 0 < left <= 30 - done_of_first
    end = drive(tmp_path, 30)
    assert len(end["todo"]) == end["done"] == left
    assert_each_done_once(tmp_path, 30)
    assert drive(tmp_path, 30, ray="local", worker={})["todo"] == []


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def node(cluster, cpus=1):
    return cluster.add_node(num_cpus=cpus, object_store_memory=80 * 2**20)


def test_dead_machine(tmp_path, cluster):
    one, other = node(cluster), node(cluster)
    driver = start(tmp_path, 12, ray=cluster.address, group=2, worker={"seconds": 0.5})
    deadline = time.monotonic() + 90
    while True:
        assert driver.poll() is None and time.monotonic() < deadline
        ready = [line for line in read_log(tmp_path) if line["event"] == "ready"]
        if len(ready) == 2 and len(list((tmp_path / "done").glob("*"))) >= 2:
            break
        time.sleep(0.05)
    cluster.remove_node(other, allow_graceful=False)
    out, errors = driver.communicate(timeout=120)
    end = json.loads(out.splitlines()[-1])
    assert end.get("done") == 12, (end, errors)
    assert end["lost"] >= 1 and end["failed"] == 0
    assert_each_done_once(tmp_path, 12)
    cluster.remove_node(one, allow_graceful=True)


@pytest.mark.parametrize("environment", [{"RAY_AUTH_TOKEN": "f" * 64}, {"RAY_AUTH_MODE": "disabled"}])
def test_another_token_is_refused(tmp_path, cluster, environment):
    end = drive(tmp_path, 1, ray=cluster.address, environment=environment)
    assert "does not let this process in" in end["error"] and "the same token" in end["error"]


def test_a_cluster_without_room(tmp_path, cluster):
    end = drive(tmp_path, 1, ray=cluster.address, threads=64)
    assert "no room for a worker, which takes 64 core(s)" in end["error"]
    end = drive(tmp_path, 1, ray="auto")
    assert "no room for a worker, which takes 1 core(s); it has 0 CPU" in end["error"]


def test_nobody_there(tmp_path):
    end = drive(tmp_path, 1, ray="127.0.0.1:1")
    assert "no Ray cluster there" in end["error"]
    end = drive(tmp_path, 1, ray="ray://127.0.0.1:10001")
    assert "ray job submit" in end["error"]


@pytest.fixture(scope="module")
def roomy(cluster):
    """Address of a cluster with room for two workers."""
    added = node(cluster, cpus=2)
    yield cluster.address
    cluster.remove_node(added, allow_graceful=True)


def test_workers_that_cannot_be_made(tmp_path, roomy):
    end = drive(tmp_path, 4, ray=roomy, workers=2, worker={"refuse": True})
    assert end["error"] == "RuntimeError: no worker could be made. ValueError: there is no such checkpoint."


def test_a_folder_that_the_machine_does_not_see(tmp_path, roomy):
    end = drive(tmp_path, 4, ray=roomy, workers=1, shared=str(tmp_path / "elsewhere"))
    assert "does not see" in end["error"] and "file system that all machines of the cluster share" in end["error"]


def test_a_full_disk(tmp_path, roomy):
    end = drive(tmp_path, 8, ray=roomy, workers=2, worker={"full": [3]})
    assert end["error"] == "OSError: [Errno 28] No space left on device"


def read_log(folder):
    path = folder / "progress.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
