"""What all tests need."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """Ctrl-C works, in child processes too: a shell lets what it starts in the background ignore it.

    Tests that interrupt something would wait for ever there.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a small untrained world."""
    from sanawm_env import WorldModel  # takes seconds, which few tests want
    from sanawm_env.world.checkpoints.local import save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    model = WorldModel.untrained()
    save_checkpoint(folder, model.config, model.transformer.state_dict(), model.vae.state_dict())
    return str(folder)
