"""What all tests need."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported. The bits of sums depend on the number of threads, and many tests compare those of this
# process with those of another that it starts.
os.environ["OMP_NUM_THREADS"] = "1"


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


@pytest.fixture(scope="session")
def text_release_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`SANA-WM_streaming` at a tiny size, its Gemma-2 beside it; see `text_release`."""
    pytest.importorskip("diffusers", reason="needs the extra `release`: diffusers")
    pytest.importorskip("transformers", reason="needs the extra `release`: transformers")
    from tests.world.checkpoints.release.release_fixtures import MODEL, write_streaming
    from tests.world.networks.text.text_fixtures import write_text_encoder

    folder = write_streaming(tmp_path_factory.mktemp("text") / "SANA-WM_streaming")
    write_text_encoder(folder / "gemma-2-2b-it", hidden_size=MODEL.caption_channels)
    return folder


@pytest.fixture
def text_release(text_release_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny release that is conditioned on text, every file in its place; its prompts are encoded once for all."""
    monkeypatch.setenv("SANAWM_CACHE", str(text_release_folder.parent / "cache"))
    return text_release_folder
