"""Files of a command: never in place of what it reads, whole or the old ones, and no half ones after a signal."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sanawm_env.cli.common.console import Interrupted, interrupts
from sanawm_env.cli.common.outputs import check_outputs
from sanawm_env.cli.main import main


def rollout(folder, *arguments):
    main(["rollout", "-c", "tiny", "--steps", "1", "--out", str(folder / "r.mp4"), *map(str, arguments)])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def refused(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        assert end.value.code == 2
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize("link", [False, True])
def test_rollout_does_not_replace_its_camera_file(tmp_path, refused, link):
    mine = tmp_path / "r_c2w.npy"
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = 1000
    np.save(tmp_path / "elsewhere.npy", poses)
    if link:
        mine.symlink_to(tmp_path / "elsewhere.npy")
    else:
        (tmp_path / "elsewhere.npy").rename(mine)
    before = contents(tmp_path)
    told = refused("rollout", "-c", "tiny", "--camera", tmp_path / "r_c2w.npy", "--out", tmp_path / "r.mp4")
    assert "--camera" in told and "another --out" in told
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["r.json", "r_c2w.npy"])
def test_rollout_does_not_replace_files_that_are_not_its_own(tmp_path, refused, name):
    (tmp_path / name).write_text('{"mine": 1}')
    assert "was not written by sanawm" in refused("rollout", "-c", "tiny", "--out", tmp_path / "r.mp4")
    assert contents(tmp_path) == {name: b'{"mine": 1}'}


def test_a_rollout_may_replace_an_older_one(tmp_path):
    rollout(tmp_path, "--actions", "w-4")
    rollout(tmp_path, "--actions", "w-6")
    assert len(np.load(tmp_path / "r_c2w.npy")) == json.loads((tmp_path / "r.json").read_text())["frames"] == 7


def test_a_file_inside_an_input_folder_is_not_replaced(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="--checkpoint"):
        check_outputs([tmp_path / "config.mp4", tmp_path / "config.json"], [("--checkpoint", tmp_path)])
    check_outputs([tmp_path / "new.json"], [("--checkpoint", tmp_path), ("--image", None)])


def test_two_results_in_one_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same file"):
        check_outputs([tmp_path / "a.mp4", tmp_path / "." / "a.mp4"], [])


@pytest.mark.parametrize("what", ["save", "recipe"])
def test_a_full_disk_leaves_the_older_rollout_whole(tmp_path, monkeypatch, what):
    rollout(tmp_path, "--actions", "w-4")
    before = contents(tmp_path)

    def full(file, *rest, **more):
        if hasattr(file, "write"):
            file.write(b"half")
        raise OSError(28, "No space left on device")

    if what == "save":
        monkeypatch.setattr(np, "save", full)
    else:
        monkeypatch.setattr("sanawm_env.world.offline.recipe.write_json", full)
    with pytest.raises(SystemExit):
        rollout(tmp_path, "--actions", "w-8")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_rollout_without_a_trace(tmp_path, number):
    """Also: what clean-up meets does not take the place of the interrupt."""
    command = [sys.executable, "-m", "sanawm_env.cli", "rollout", "-c", "tiny", "--actions", "w-4000", "--steps", "1"]
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL  # not ignored, as under `nohup`
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "r.mp4")],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, usual),
    ) as process:
        for _ in range(600):  # until the encoder has written more than the head of the file
            time.sleep(0.1)
            if process.poll() is not None or any(file.stat().st_size > 48 for file in tmp_path.iterdir()):
                break
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert "sanawm: interrupted" in said.replace("\r", "\n").splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_signals_are_given_back_and_ignored_ones_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with pytest.raises(Interrupted, match="SIGTERM"), interrupts():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def gone(arguments):
    """Run a command whose stdout nobody reads."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "sanawm_env.cli", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    os.close(reader)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


def test_results_are_kept_when_nobody_reads_the_table(tmp_path):
    play = ["evaluate-policy", "-c", "untrained", "--policy", "random:smooth", "--episodes", "1", "--max-steps", "1"]
    code, said = gone([*play, "--json", str(tmp_path / "r.json")])
    assert json.loads((tmp_path / "r.json").read_text())["about"]["complete"]
    assert code == 141 and "rror" not in said


def test_letters_that_the_locale_lacks_do_not_stop_a_command(tmp_path):
    """`--discrete` prints a degree sign."""
    play = ["evaluate-policy", "-c", "untrained", "--policy", "random:uniform", "--episodes", "1", "--max-steps", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "sanawm_env.cli", *play, "--discrete"],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
