"""`sanawm collect` from the command line, on an untrained world; killed for good, too."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sanawm_env.cli.main import main
from sanawm_env.data.collection.store import Store

QUICK = ("-c", "untrained", "--device", "cpu", "--env", "chunk_frames=1", "sampler_steps=1")
LINE = ("--task", "PointNav", "--policy", "scripted:follow", "--max-steps", "3", *QUICK)


def run(*arguments):
    main(["collect", *map(str, arguments)])


def refused(capsys, *arguments):
    """Its one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("sanawm: error: "), lines
    return lines[-1]


def test_a_collection_from_a_line_and_the_same_line_again(tmp_path, capsys):
    out = tmp_path / "Räume 1"
    run(*LINE, "--episodes", 2, "--out", out)
    printed = capsys.readouterr().out
    assert "2 episodes: 2 kept" in printed and "a kept episode cost" in printed
    info = json.loads((out / "meta" / "info.json").read_text())
    assert info["total_episodes"] == 2 and info["fps"] == 16
    assert (out / "README.md").read_text().startswith("---\n")
    lines = [json.loads(line) for line in (out / "sanawm" / "progress.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [0, 1]
    assert lines[1]["run"]["frames_per_kept"] == lines[1]["run"]["frames_per_kept"] > 0
    run(*LINE, "--episodes", 2, "--out", out)
    assert "is complete: 2 episodes" in capsys.readouterr().out


def test_pictures_and_their_order_come_from_the_folder(tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for name in ("b.png", "a ü.png"):
        Image.fromarray(rng.integers(0, 256, (64, 112, 3), dtype=np.uint8)).save(pictures / name)
    (pictures / "b.txt").write_text("a hall")
    out = tmp_path / "ds"
    line = ("--policy", "random:smooth", "--max-steps", "2", *QUICK, "--episodes", 3, "--images", pictures)
    run(*line, "--out", out)
    assert "trained without text: the prompts are only written down" in capsys.readouterr().err
    done = Store(out).done()
    files = [each["recipe"]["image"]["file"] for each in done.values()]
    assert files[0] == files[2] != files[1]
    for file in files:
        assert (out / file).is_file() and str(tmp_path) not in json.dumps(done)
    assert [each["recipe"]["options"] for each in done.values()] == [{}, {"prompt": "a hall"}, {}]
    walks = [each["recipe"]["actions"] for each in done.values()]
    assert walks[0] != walks[2]
    first = np.asarray(Image.open(pictures / "a ü.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(out / files[0])), first)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ((), "either --episodes or --hours"),
        (("--episodes", 1, "--hours", 1), "either --episodes or --hours"),
        (("--episodes", 0), "--episodes must be at least 1"),
        (("--episodes", 1, "--quota", -1), "--quota must be positive"),
        (("--episodes", 1, "--codec", "av1"), "unknown codec 'av1'"),
        (("--episodes", 1, "--keep", "longness=3"), "unknown filter"),
        (("--episodes", 1, "--keep", "drift=much"), "give a number"),
        (("--episodes", 1, "--keep", "drift=0.5"), "must be above 1"),
        (("--episodes", 1, "--vary", "height=1,2"), "nothing called 'height'"),
        (("--episodes", 1, "--vary", "speed=2,1"), "least first"),
        (("--episodes", 1, "--env", "task=Explore"), "use --task"),
        (("--episodes", 1, "--images", "nowhere"), "no folder nowhere"),
        (("--episodes", 1, "--prompts", "nowhere.txt"), "no file nowhere.txt"),
        (("--episodes", 1, "--task", "suite"), "one task"),
        (("--episodes", 1, "--seed", -1), "--seed must not be negative"),
        (("--episodes", 1, "--slots", 0), "--slots must be at least 1"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(tmp_path, capsys, monkeypatch, line, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, *LINE, *line, "--out", tmp_path / "ds")
    assert list(tmp_path.iterdir()) == []


def test_a_policy_that_cannot_act_there_is_no_collection(tmp_path, capsys):
    line = ("--policy", "scripted:follow", *QUICK, "--episodes", 2, "--out", tmp_path / "ds")
    assert "task" in refused(capsys, *line)
    assert list(tmp_path.iterdir()) == []


def test_targets_that_are_something_else(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    file = tmp_path / "file"
    file.write_text("mine")
    line = (*LINE, "--episodes", 1, "--out")
    assert "something else" in refused(capsys, *line, folder)
    assert "is a file" in refused(capsys, *line, file)
    assert "cannot be written" in refused(capsys, *line, "/proc/sanawm")
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    run(*line, tmp_path / "ds")
    assert "another plan: codec" in refused(capsys, *line, tmp_path / "ds", "--codec", "rgb")
    with Store(tmp_path / "ds").opened():
        assert "another process" in refused(capsys, *line, tmp_path / "ds")


def test_a_quota_leaves_with_1_and_can_be_raised(tmp_path, capsys):
    line = (*LINE, "--episodes", 5, "--out", tmp_path / "ds")
    with pytest.raises(SystemExit) as stop:
        run(*line, "--quota", 1e-6)
    assert stop.value.code == 1
    assert "higher --quota" in capsys.readouterr().out
    run(*line, "--quota", 1)
    assert "5 episodes" in capsys.readouterr().out


def test_killed_it_goes_on_and_makes_the_same_dataset(tmp_path):
    line = [sys.executable, "-m", "sanawm_env.cli", "collect", *LINE, "--episodes", "6", "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*line, str(killed)], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not Store(killed).episode(1).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    made = set(Store(killed).done())
    assert {0, 1} <= made < set(range(6))
    for out in (killed, whole):
        subprocess.run([*line, str(out)], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert _hashes(killed) == _hashes(whole)
    assert sorted(_hashes(killed)) == list(range(6))
    assert [path for path in killed.rglob("*") if path.name.startswith(".")] == []
    played = [
        json.loads(each)["number"] for each in (killed / "sanawm/progress.jsonl").read_text().splitlines() if each
    ]
    assert len(played) == len(set(played))


def _hashes(root: Path) -> dict[int, tuple[str, bytes]]:
    """Of frames and of the video's bytes."""
    store = Store(root)
    return {
        number: (each["recipe"]["frames_sha256"], store.video(number).read_bytes())
        for number, each in store.done().items()
    }
