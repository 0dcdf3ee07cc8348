"""The tiny repositories of every layout, written once for all tests of them."""

import shutil

import pytest
import torch

from tests.world.checkpoints.release.release_fixtures import WRITERS, write


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Folder by layout, each with a VAE that can stream; to be read only."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("releases")
    return {layout: write(layout, root / layout) for layout in WRITERS}


@pytest.fixture
def copy(written, tmp_path):
    """A layout's folder to be written into."""
    return lambda layout: shutil.copytree(written[layout], tmp_path / layout)
