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


def test_scan_over_plan(tmp_path, capsys):
    pytest.importorskip("matplotlib").use("agg")
    main = runpy.run_path(str(EXAMPLES / "scan_over_plan.py"))["main"]
    main(out=tmp_path / "a.png", steps=1)
    assert Image.open(tmp_path / "a.png").width > 1000
    assert capsys.readouterr().out.count("rays return in both scans") == 3
