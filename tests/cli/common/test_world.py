"""Options of commands about their world, and the one name that all know beside the built-in ones."""

import json

import pytest

from sanawm_env.cli.common.world import WorldOptions
from sanawm_env.cli.main import main

QUICK = ("-c", "untrained", "--device", "cpu")


def test_they_make_the_environment_that_gym_make_would(tmp_path):
    env = WorldOptions(checkpoint="untrained", chunk_frames=2, steps=1, device="cpu").env(fov_deg=60)
    assert env.frames_per_step == 2 * env.model.vae.temporal_stride and len(env.sigmas) == 2
    assert env.reset(seed=0)[0].shape == env.observation_space.shape
    assert WorldOptions().texts(env.model) is None
    with pytest.raises(FileNotFoundError, match="check the path of --text-encoder"):
        WorldOptions(checkpoint="untrained", text_encoder=tmp_path / "none").env()
    with pytest.raises(ValueError, match="trained without text"):
        WorldOptions(checkpoint="untrained", prompt="a kitchen", device="cpu").env()


def test_every_command_knows_the_untrained_world(tmp_path, capsys):
    main(["rollout", *QUICK, "--actions", "w-4", "--steps", "1", "--out", str(tmp_path / "x.mp4")])
    recipe = json.loads((tmp_path / "x.json").read_text())
    capsys.readouterr()
    main(["info", *QUICK, "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["hash"] == recipe["checkpoint_hash"] and facts["folder"] is None
    main(["doctor", *QUICK, "--no-measure", "--json"])
    assert json.loads(capsys.readouterr().out)["checkpoint"]["name"] == "untrained"
    main(["replay", str(tmp_path / "x.json")])
    assert "bit-identical" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["rollout", "render"])
def test_a_prompt_without_effect_is_refused_before_anything_is_written(tmp_path, capsys, command):
    mode = ("--mode", "bidirectional") if command == "render" else ()
    with pytest.raises(SystemExit):
        main([command, *QUICK, *mode, "--actions", "w-4", "--prompt", "a road", "--out", str(tmp_path / "x.mp4")])
    said = capsys.readouterr().err
    assert "was trained without text" in said and "leave the prompt out" in said and not list(tmp_path.iterdir())
