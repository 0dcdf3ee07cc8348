"""One server for the tests that disturb nobody."""

import pytest

from sanawm_env.world.model import WorldModel
from tests.server.serving import serving


@pytest.fixture(scope="session")
def model():
    return WorldModel.load("tiny")


@pytest.fixture(scope="session")
def server(model, tmp_path_factory):
    with serving(model, tmp_path_factory.mktemp("server")) as running:
        yield running
