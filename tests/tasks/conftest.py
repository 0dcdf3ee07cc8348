"""A small untrained world: poses, and with them goals and metrics, do not depend on the picture."""

import pytest

from sanawm_env import WorldModel
from sanawm_env.world.config import small_config


@pytest.fixture(scope="session")
def world():
    return WorldModel.untrained(small_config(), seed=0)
