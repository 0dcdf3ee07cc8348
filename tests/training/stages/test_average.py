"""The mean of two checkpoints is a checkpoint."""

import dataclasses

import pytest
import torch

from sanawm_env.training.run import main
from sanawm_env.training.stages.average import AverageConfig, average_checkpoints
from sanawm_env.world.checkpoints.local import load_checkpoint, save_checkpoint
from sanawm_env.world.model import WorldModel


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("average")
    first = WorldModel.untrained(seed=0)
    states = {"a": first.transformer, "b": WorldModel.untrained(seed=1).transformer}
    for name, transformer in states.items():
        save_checkpoint(root / name, first.config, transformer.state_dict(), first.vae.state_dict(), dtype=None)
    other = WorldModel.untrained(seed=2)
    save_checkpoint(root / "foreign", other.config, other.transformer.state_dict(), other.vae.state_dict(), dtype=None)
    return root


def test_shares_weigh_the_weights(folders):
    out = folders / "mean"
    main(["average", "--checkpoints", str(folders / "a"), str(folders / "b"), "--shares", "0.75", "0.25",
          "--out", str(out)])  # fmt: skip
    a, b, mean = (load_checkpoint(folders / name)[1] for name in ("a", "b", "mean"))
    assert mean.keys() == a.keys()
    for name, value in mean.items():
        torch.testing.assert_close(value.float(), 0.75 * a[name] + 0.25 * b[name], atol=2e-3, rtol=1e-3)
    world = WorldModel.load(out)
    assert world.config == WorldModel.load(folders / "a").config


def test_no_shares_are_equal_shares(folders):
    both = (str(folders / "a"), str(folders / "b"))
    average_checkpoints(AverageConfig(both, out=folders / "even"))
    average_checkpoints(AverageConfig(both, (0.5, 0.5), folders / "half"))
    assert load_checkpoint(folders / "even")[3] == load_checkpoint(folders / "half")[3]


@pytest.mark.parametrize(
    ("names", "shares", "message"),
    [(["a"], [], "at least two"), (["a", "b"], [0.5, 0.6], "adding up to 1"), (["a", "b"], [1.0], "one share for each"),
     (["a", "foreign"], [], "another VAE"), (["a", "none"], [], "none")],
)  # fmt: skip
def test_what_cannot_be_averaged_is_refused_before_anything_is_written(folders, names, shares, message):
    out = folders / "refused"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        average_checkpoints(AverageConfig(tuple(str(folders / name) for name in names), tuple(shares), out))
    assert not out.exists()


def test_other_shapes_are_refused(folders, tmp_path):
    wide = WorldModel.untrained()
    config = wide.config
    config = dataclasses.replace(config, model=config.model.replace(window_frames=config.model.window_frames + 1))
    save_checkpoint(tmp_path / "wide", config, wide.transformer.state_dict(), wide.vae.state_dict(), dtype=None)
    with pytest.raises(ValueError, match="another shape"):
        average_checkpoints(AverageConfig((str(folders / "a"), str(tmp_path / "wide")), out=tmp_path / "out"))
