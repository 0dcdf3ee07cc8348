"""CleanRL's PPO script as published, with another environment id and nothing else changed."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.judge
SCRIPT = "cleanrl/ppo_continuous_action.py"

# The published script (1.2.0) was written for Gymnasium 0.28. Gymnasium 1.0 asks `TransformObservation` for the new
# space, so that the script fails there with any environment; this gives it the old signature back.
LAUNCHER = """
import runpy, sys
import gymnasium as gym
class TransformObservation(gym.wrappers.TransformObservation):
    def __init__(self, env, func):
        super().__init__(env, func, None)
gym.wrappers.TransformObservation = TransformObservation
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("name", ["Pendulum-v1", "sanawm_env:SanaWM-v0", "sanawm_env:SanaWM/PointNav-v0"])
def test_ppo(name, tmp_path, need):
    """Pendulum is there to tell a fault of the script from one of ours."""
    need("tensorboard")
    try:
        files = importlib.metadata.files("cleanrl")
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("SANAWM_JUDGES") == "full":
            raise
        pytest.skip("could not import 'cleanrl'")
    (script,) = [Path(str(file.locate())) for file in files if str(file) == SCRIPT]
    arguments = ["--total-timesteps", "48", "--num-steps", "12", "--num-envs", "2", "--num-minibatches", "2"]
    out = subprocess.run(
        [sys.executable, "-c", LAUNCHER, str(script), "--env-id", name, "--update-epochs", "2", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr[-3000:]
    assert out.stdout.count("SPS:") == 2, "there are two updates of 24 steps"
    assert list(tmp_path.glob("runs/**/events.out.tfevents.*")), "its log is missing"
