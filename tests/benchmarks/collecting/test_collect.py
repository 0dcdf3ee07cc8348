"""The benchmarks of collecting run, and say what they should, on an untrained world."""

import json
import os

import pytest

from benchmarks import collect_speed
from benchmarks.collecting import collect_kill
from benchmarks.collecting.kills.faults import facts, faults
from benchmarks.collecting.kills.run import Args, Run


def test_speed_gives_a_ratio_and_every_codec(capsys):
    collect_speed.main(["--checkpoint", "untrained", "--rounds", "1", "--episodes", "1", "--steps", "2"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["collect_over_bare"] > 0 and result["cpu_over_bare"] > 0
    assert result["codecs"]["rgb"]["psnr_db"] is None
    assert result["codecs"]["h264-444"]["psnr_db"] > result["codecs"]["h264"]["psnr_db"]


def test_a_kill_leaves_nothing_wrong(capsys):
    collect_kill.benchmark(["--kills", "1", "--episodes", "3", "--steps", "2", "--minutes", "0.7"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["wrong"] == []
    assert result["kills"] == 1 and "is full" in result["file_size_limit"]


def test_a_full_disk_leaves_nothing_wrong(capsys):
    collect_kill.benchmark(["--kills", "0", "--episodes", "3", "--steps", "2", "--disk"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["wrong"] == []
    if isinstance(result["disk_full"], str):
        pytest.skip(result["disk_full"])
    assert set(result["disk_full"]) == {"plan", "video", "last files", "index"}
    assert all("is full" in said for said in result["disk_full"].values())


def test_kills_through_ray_leave_nothing_wrong(capsys):
    if os.environ.get("REQUIRE_RAY") != "1":
        pytest.importorskip("ray", reason="Ray is not installed here; .ci/ray runs this test")
    collect_kill.benchmark(["--kills", "3", "--episodes", "4", "--steps", "8", "--ray", "--minutes", "2"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["wrong"] == []
    assert result["kills"] == 3 and sum(result["victims"].values()) == 3


def test_a_fault_is_found(tmp_path):
    run = Run(Args(episodes=2, steps=1), tmp_path / "ds")
    assert run.wait() and run.code == 0
    truth = facts(tmp_path / "ds")
    assert faults(tmp_path / "ds", truth) == []
    (tmp_path / "ds" / "sanawm" / "episodes" / ".000001.12345678.json").write_text("{")
    video = next((tmp_path / "ds").rglob("file-001.mp4"))
    video.write_bytes(video.read_bytes()[:-1])
    found = faults(tmp_path / "ds", truth)
    assert found == ["item 1 differs: video", "left over: .000001.12345678.json"]
