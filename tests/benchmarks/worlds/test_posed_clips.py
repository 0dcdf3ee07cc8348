"""The benchmark of posed clips runs on those held out, and says why when there are none."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.worlds.posed_clips import main
from sanawm_env import WorldModel
from sanawm_env.camera.rays import relative_to_first
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.posed_clips import PosedClip, prepare_clips, write_clip
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("posed")
    world = WorldModel.untrained(small_config(height=32, width=48))
    save_checkpoint(folder / "world", world.config, world.transformer.state_dict(), world.vae.state_dict())
    clips = prepare_clips(folder / "ds")
    for seed, held in ((0, True), (1, True), (2, False)):
        made = make_clips([seed], 17, 32, 48)
        clip = PosedClip(
            relative_to_first(made.c2w[0].double()).numpy(), np.repeat(made.intrinsics.numpy(), 17, 0), 32, 48,
            metric=True, figures={"held_out": held},
        )  # fmt: skip
        write_clip(clips / str(seed), clip, made.rgb[0].numpy())
    return folder


def test_held_out_clips_and_scenes(folder, tmp_path, capsys):
    line = ["--data", str(folder / "ds"), "--checkpoint", str(folder / "world"), "--seconds", "0.5", "1"]
    main([*line, "--seeds", "20000000:20000001", "--sheet", str(tmp_path / "sheet.png")])
    out = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert out["clips"] == 2 and out["procedural"]["seeds"] == "20000000:20000001"
    for found in (out["at_0.5_s"], out["at_1_s"]):
        assert 0 <= found["moving"] <= 2
        if found["moving"]:
            assert found["gain_db"] == pytest.approx(found["generated_db"] - found["frozen_db"], abs=2e-3)
    assert Image.open(tmp_path / "sheet.png").size == (3 * 48, 2 * 2 * 32)
    main([*line, "--all"])
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["clips"] == 3


@pytest.mark.parametrize(("seconds", "message"), [("4", "2 held-out clips, none of 65"), ("0", "some moments")])
def test_what_cannot_be_measured(folder, seconds, message, capsys):
    with pytest.raises(SystemExit):
        main(["--data", str(folder / "ds"), "--checkpoint", str(folder / "world"), "--seconds", seconds])
    assert message in capsys.readouterr().err
