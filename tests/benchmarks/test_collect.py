"""The benchmarks of collecting run, and say what they should, on an untrained world."""

import json

import torch

from benchmarks import collect_kill, collect_speed

torch.set_num_threads(1)


def test_speed_gives_a_ratio_and_every_codec(capsys):
    collect_speed.main(["--checkpoint", "untrained", "--rounds", "1", "--episodes", "1", "--steps", "2"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["collect_over_bare"] > 0 and result["cpu_over_bare"] > 0
    assert result["codecs"]["rgb"]["psnr_db"] is None
    assert result["codecs"]["h264-444"]["psnr_db"] > result["codecs"]["h264"]["psnr_db"]


def test_a_kill_leaves_nothing_wrong(capsys):
    collect_kill.benchmark(["--kills", "1", "--episodes", "3", "--steps", "2", "--seconds", "40"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["wrong"] == []
    assert result["kills"] == 1 and "is full" in result["disk_full"]


def test_a_fault_is_found(tmp_path):
    run = collect_kill.Run(collect_kill.Args(episodes=2, steps=1), tmp_path / "ds")
    assert run.wait() and run.code == 0
    truth = collect_kill.facts(tmp_path / "ds")
    assert collect_kill.faults(tmp_path / "ds", truth) == []
    (tmp_path / "ds" / "sanawm" / "episodes" / ".000001.12345678.json").write_text("{")
    video = next((tmp_path / "ds").rglob("file-001.mp4"))
    video.write_bytes(video.read_bytes()[:-1])
    found = collect_kill.faults(tmp_path / "ds", truth)
    assert found == ["item 1 differs", "left over: .000001.12345678.json"]
