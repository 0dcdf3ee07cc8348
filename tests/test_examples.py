"""Each example runs end to end, on an untrained world so that it takes a second."""

import runpy
from pathlib import Path

import av
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


def frames_and_size(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return len(frames), frames[0].width, frames[0].height


def test_first_rollout(tmp_path, checkpoint, capsys):
    main = runpy.run_path(str(EXAMPLES / "first_rollout.py"))["main"]
    main(out=tmp_path / "a.mp4", steps=3, checkpoint=checkpoint)
    assert frames_and_size(tmp_path / "a.mp4") == (1 + 3 * 12, 112, 64)
    assert "37 frames" in capsys.readouterr().out


def test_fork_and_compare(tmp_path, checkpoint, capsys):
    main = runpy.run_path(str(EXAMPLES / "fork_and_compare.py"))["main"]
    main(out=tmp_path / "a.mp4", shared_steps=1, steps=2, checkpoint=checkpoint)
    assert frames_and_size(tmp_path / "a.mp4") == (1 + 3 * 12, 2 * 112 + 4, 2 * 64 + 4)
    lines = capsys.readouterr().out.splitlines()
    assert "by   0.0 of 255" in lines[1]
    assert all("by   0.0" not in line for line in lines[2:])


def test_refine_the_winner(tmp_path, checkpoint, capsys, monkeypatch):
    from sanawm_env.world.checkpoints.refiner.text import RefinerPrompts
    from tests.world.checkpoints.refiner.refiner_files import write_stream
    from tests.world.refined_worlds import encode

    asked = []
    monkeypatch.setattr(RefinerPrompts, "_encode", lambda self, words: asked.append(words) or encode(words))
    folder = write_stream(tmp_path, transformer={"vae_scale_factors": [4, 16, 16]})
    main = runpy.run_path(str(EXAMPLES / "refine_the_winner.py"))["main"]
    options = {"count": 3, "steps": 2, "checkpoint": checkpoint, "device": "cpu", "max_drift": 9.0}
    main(out=tmp_path / "raw.mp4", **options)
    said = capsys.readouterr().out
    assert "3 futures of 2 steps" in said and "not refined" in said
    main(out=tmp_path / "a.mp4", refiner=folder, prompt="a road", **options)
    said = capsys.readouterr().out
    assert "the winner with stage 2 in" in said and "if every future were refined" in said and asked == ["a road"]
    assert frames_and_size(tmp_path / "a.mp4") == frames_and_size(tmp_path / "raw.mp4") == (2 * 12, 112, 64)


def test_scan_over_plan(tmp_path, capsys):
    pytest.importorskip("matplotlib").use("agg")
    main = runpy.run_path(str(EXAMPLES / "scan_over_plan.py"))["main"]
    main(out=tmp_path / "a.png", steps=1)
    assert Image.open(tmp_path / "a.png").width > 1000
    assert capsys.readouterr().out.count("rays return in both scans") == 3
