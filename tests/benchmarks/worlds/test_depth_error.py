"""The depth benchmark runs, prints one JSON line, and refuses what it cannot measure."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.worlds.depth_error import Errors, main
from sanawm_env import WorldModel
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An anchored world of random weights."""
    config = small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1)
    world = WorldModel.untrained(config.replace(model=config.model.replace(anchor=True)))
    folder = tmp_path_factory.mktemp("world") / "anchored"
    save_checkpoint(folder, world.config, world.transformer.state_dict(), world.vae.state_dict())
    return str(folder)


def test_two_scenes(checkpoint, tmp_path, capsys):
    sheet = tmp_path / "new" / "sheet.png"
    main(["--seeds", "20000000:20000002", "--steps", "8", "--checkpoint", checkpoint, "--sheet", str(sheet)])
    out = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert out["start"]["metres"] > 0 and out["start"]["relative"] > 0
    for pictures in ("generated", "true_pictures"):
        seen, beyond = out[f"{pictures}_seen"]["pixels"], out[f"{pictures}_beyond"]["pixels"]
        assert 0 < seen and 0 < beyond and seen + beyond <= 2 * 8 * 32 * 48
    # Where frame 0 shows the place, the present picture does not matter.
    assert out["generated_seen"] == out["true_pictures_seen"]
    assert out["seeds"] == "20000000:20000002" and out["steps"] == 8
    assert Image.open(sheet).size[0] == 8 * 48


def test_medians_are_those_of_all_pixels():
    errors, one, other = Errors(), Errors(), Errors()
    everywhere = np.ones((1, 3), bool)
    one.add("a", np.array([[1.0, 2.5, 4.0]]), np.array([[1.0, 2.0, np.inf]]), everywhere)
    other.add("a", np.array([[np.inf, 9.0, 9.0]]), np.array([[10.0, 8.0, 1.0]]), np.array([[True, True, False]]))
    errors.join(one)
    errors.join(other)
    # 0, 0.5, 1 and, since depth ends at 50 m, 40 metres.
    assert errors.medians() == {"a": {"relative": 0.1875, "metres": 0.75, "pixels": 4}}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--seeds", "5:5"], "seeds"), (["--checkpoint", "tiny"], "no depth"), (["--steps", "0"], "steps")],
)
def test_bad_arguments(arguments, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    assert stop.value.code == 2 and not captured.out and says in captured.err
