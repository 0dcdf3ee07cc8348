"""Two queues through Ray: refiners at work beside the collection, one of which is killed. Run by .ci/ray."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sanawm_env.data.collection.store import Store
from sanawm_env.data.storage.native import refined_file
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel

if os.environ.get("REQUIRE_RAY") != "1":
    pytest.importorskip("ray", reason="Ray is not installed here; .ci/ray runs these tests")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
COUNT = 6


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


def start(out, checkpoint, refiner, address):
    command = [sys.executable, "-m", "sanawm_env.cli", "collect", "--policy", "random:smooth", "--max-steps", "3"]
    command += ["--checkpoint", checkpoint, "--device", "cpu", "--episodes", COUNT, "--out", out, "--env"]
    command += ["chunk_frames=1", "--refine", refiner, "--ray", address, "--workers", 1, "--refine-workers", 1]
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"},
    )


def events(out, name):
    path = out / "sanawm" / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def records(out):
    return {int(path.stem): path.stat().st_mtime_ns for path in (out / "sanawm" / "refined").glob("[0-9]*.json")}


def wait_for(process, condition):
    deadline = time.monotonic() + 150
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_queues_with_a_dead_refiner_and_a_dead_driver(tmp_path, address):
    from tests.world.offline.refiner_fixture import write_refiner

    refiner, out = write_refiner(tmp_path / "release"), tmp_path / "ds"
    world = WorldModel.untrained(small_config(height=64, width=96))
    save_checkpoint(tmp_path / "world", world.config, world.transformer.state_dict(), world.vae.state_dict())

    process = start(out, tmp_path / "world", refiner, address)
    wait_for(process, lambda: len(records(out)) >= 1)
    (ready,) = [event for event in events(out, "refiners") if event["event"] == "ready"]
    os.kill(ready["pid"], signal.SIGKILL)
    wait_for(process, lambda: len(records(out)) >= 3)
    assert any(event["event"] == "lost" for event in events(out, "refiners"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = records(out)

    process = start(out, tmp_path / "world", refiner, address)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    after = records(out)
    assert sorted(after) == sorted(Store(out).done()) == list(range(COUNT))
    assert all(after[item] == mtime for item, mtime in before.items())
    assert all(refined_file(out, item).stat().st_size > 0 for item in after)
    ended = [event["item"] for event in events(out, "refiners") if event["event"] == "item"]
    assert len(ended) == len(set(ended)) >= COUNT - 1  # the word of one may have died with the driver
    assert not [path for path in out.rglob(".*") if path.is_file()]
