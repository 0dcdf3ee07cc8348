"""The camera benchmark runs, prints one JSON line, and refuses bad seed ranges."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.worlds.obey_camera import main, parse_seeds
from sanawm_env.evaluation import MOTIONS, summarize


def test_two_scenes(tmp_path, capsys):
    sheet = tmp_path / "new" / "sheet.png"
    common = ["--checkpoint", "untrained", "--chunk-frames", "3", "--steps", "1"]
    main(["--seeds", "20000000:20000002", "--sheet", str(sheet), *common])
    out = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    for name in ("psnr_gain_db", "psnr_db", "psnr_frozen_db", "scenes_counted"):
        assert list(out[name]) == ["0.5", "1", "2"]
    for key, count in out["scenes_counted"].items():
        assert 0 <= count <= 2
        if count:
            assert out["psnr_gain_db"][key] == pytest.approx(out["psnr_db"][key] - out["psnr_frozen_db"][key], abs=2e-3)
            assert out["psnr_gain_db"][key] < 0  # a world of random weights
    for motion in MOTIONS:
        assert out[f"flow_{motion}"] in (0, 0.5, 1) and out[f"flow_{motion}_true"] in (0, 0.5, 1)
    assert out["flow_yaw_true"] == out["flow_pitch_true"] == 1
    assert sum(part["scenes"] for part in out["by_family"].values()) == out["scenes"] == 2
    assert out["seeds"] == "20000000:20000002" and out["held_out"] and out["chunk_frames"] == 3
    # Two scenes, two rows each; six moments and three motions.
    assert Image.open(sheet).size == (9 * 112, 4 * 64)


@pytest.mark.parametrize("seeds", ["5:5", "7:3", "a:b", "-3:4", "1.5:3", "3", "", "1:2:3", f"0:{2**63 + 1}", "²:5"])
def test_bad_seed_ranges(seeds, capsys):
    with pytest.raises(SystemExit) as stop:
        main([f"--seeds={seeds}", "--checkpoint", "untrained"])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and not captured.out
    assert captured.err.startswith("obey_camera: error: seeds") and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "argument", ["--steps=0", "--chunk-frames=9", "--translation=0", "--rotation-deg=-1", "--device=abacus"]
)
def test_other_bad_arguments(argument, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--checkpoint", "untrained", "--seeds", "20000000:20000001", argument])
    assert stop.value.code == 2 and "obey_camera: error: " in capsys.readouterr().err


def test_missing_checkpoint(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--checkpoint", "no_such_world"])
    assert stop.value.code == 2 and "no_such_world" in capsys.readouterr().err


def test_seed_ranges():
    assert parse_seeds("20000000:20000020") == range(20_000_000, 20_000_020)
    assert parse_seeds(" 0:1 ") == range(1)
    assert parse_seeds(f"{2**63 - 1}:{2**63}") == range(2**63 - 1, 2**63)


def test_nothing_to_sum_up():
    with pytest.raises(ValueError, match="no scene"):
        summarize([])


def test_signs_do_not_lean_to_one_side_on_the_default_scenes():
    from sanawm_env.evaluation import draw_commands

    signs = np.array([[c.sign for c in draw_commands(s)] for s in range(20_000_000, 20_000_020)])
    assert (np.abs(signs.sum(0)) <= 12).all(), signs.sum(0)  # no constant drift scores above 0.8
