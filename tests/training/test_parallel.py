"""Data-parallel training: two processes end with the same weights, and average what they should."""

import os
import subprocess
import sys

import pytest
import torch

from sanawm_env.training.parallel import average, join

WORKER = """
import torch
from sanawm_env.training.parallel import average, join, leave
rank, ranks = join()
model = torch.nn.Linear(2, 1, bias=True)
model.weight.grad = torch.full((1, 2), float(rank + 1))  # 1 and 2; the bias has none
mean, = average(model, 10.0 * rank)
assert ranks == 2 and mean == 5.0, (ranks, mean)
assert torch.equal(model.weight.grad, torch.full((1, 2), 1.5)), model.weight.grad
assert torch.equal(model.bias.grad, torch.zeros(1))
leave()
"""


def test_alone_nothing_changes():
    model = torch.nn.Linear(2, 1)
    model.weight.grad = torch.ones(1, 2)
    assert join() == (0, 1)
    assert average(model, 3.0) == [3.0]
    assert torch.equal(model.weight.grad, torch.ones(1, 2)) and model.bias.grad is None


@pytest.mark.slow
def test_two_processes_average(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
