import pytest
import tyro

from sanawm_env.cli.common.cluster import RayOptions, RayReplicas, RayWorkers
from sanawm_env.cli.data.collect import Collect
from sanawm_env.cli.evaluation.evaluate import Evaluate
from sanawm_env.cli.evaluation.evaluate_policy import EvaluatePolicy


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (RayWorkers("local", workers=0), "--workers must be at least 1; got 0"),
        (RayReplicas("local", replicas=0), "--replicas must be at least 1; got 0"),
        (RayOptions("local", threads=-1), "--threads must be at least 1; got -1"),
        (RayReplicas(replicas=2), "--threads and --replicas belong to --ray"),
        (RayOptions("nowhere"), "give auto, local or HOST:PORT"),
        (RayOptions("ray://head:10001"), "ray job submit"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        options.check()


@pytest.mark.parametrize("command", [Collect, Evaluate, EvaluatePolicy])
def test_the_options_are_the_same_in_all_commands(command):
    needed = ["--policy", "random:smooth", "--out", "ds"] if command is Collect else []
    read = tyro.cli(command, args=[*needed, "--ray", "auto", "--workers", "3", "--threads", "2"])
    assert read.cluster == RayWorkers("auto", 2, 3) and read.cluster.process_threads == 2
    assert tyro.cli(command, args=needed).cluster.process_threads is None
