"""What judges have in common: which ids there are, and in which world they are judged.

By default in a small untrained world, and some judges only, for speed. With `SANAWM_JUDGES=full`, as in `.ci/judges`,
all of them: contract checkers see the ids as users make them, with the built-in checkpoint, and a judge that is not
installed is a failure instead of a skip.
"""

import importlib
import os

import gymnasium as gym
import pytest
import torch

import sanawm_env  # noqa: F401  registers the ids
from sanawm_env import Depth, WorldModel
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config

torch.set_num_threads(1)
FULL = os.environ.get("SANAWM_JUDGES") == "full"


def pytest_configure(config):
    config.addinivalue_line("markers", "judge: another project's checks and learners on our environments")


def pytest_generate_tests(metafunc):
    if "env_id" in metafunc.fixturenames:
        metafunc.parametrize("env_id", sorted(name for name in gym.registry if name.startswith("SanaWM")))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Arguments of `gym.make` for a world that steps in milliseconds."""
    config = small_config(height=48, width=64, sigmas=(1.0, 0.0), chunk_frames=1)
    model = config.model.replace(depth=2, softmax_every_n=2, hidden_size=32, in_channels=4, window_frames=2)
    world = WorldModel.untrained(config.replace(vae={"kind": "tiny", "channels": 4, "width": 8}, model=model))
    folder = tmp_path_factory.mktemp("world") / "small"
    save_checkpoint(folder, world.config, world.transformer.state_dict(), world.vae.state_dict())
    return {"checkpoint": str(folder)}


@pytest.fixture(scope="session")
def world(small):
    """Arguments of `gym.make`: none in a full run."""
    return {} if FULL else small


def brightness(image, intrinsics):
    """A depth of pictures for worlds that have none: bright is far, dark is near enough to touch."""
    return image.mean(-1) / 50


@pytest.fixture(scope="session")
def sensing(world):
    """Arguments of `gym.make` with sensors and contact, in that world."""
    return {**world, "sensors": ("depth" if FULL else Depth(source=brightness), "scan"), "contact": "block"}


@pytest.fixture
def need():
    """Import a judge; where it is missing, a full run fails and others skip."""
    return importlib.import_module if FULL else pytest.importorskip
