"""`sanawm serve-policy` as a process, and who plays what it serves."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from sanawm_env.cli.main import main
from sanawm_env.data.collection.store import Store

QUICK = ("-c", "untrained", "--device", "cpu", "--chunk-frames", "1", "--env", "sampler_steps=1", "max_translation=0.5")
KEY = "SANAWM_POLICY_API_KEY"


@contextmanager
def serving(*arguments, **environment):
    """Gives the address and the process."""
    command = [sys.executable, "-m", "sanawm_env.cli", "serve-policy", *arguments, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def episodes_of(path, policy):
    told = ("policy", "seconds")
    found = json.loads(path.read_text())["episodes"]
    return [{k: v for k, v in each.items() if k not in told} for each in found if each["policy"] == policy]


def test_the_numbers_are_those_of_the_local_policy(tmp_path, capsys):
    with serving("scripted:follow") as (address, process):
        assert address.startswith("ws://127.0.0.1:")
        policies = ("scripted:follow", f"remote:{address},replan=1,timeout=30")
        arguments = [part for policy in policies for part in ("--policy", policy)]
        main(["evaluate-policy", *QUICK, *arguments, "--episodes", "3", "--json", str(tmp_path / "a.json")])
        assert "remote:ws://" in capsys.readouterr().out
        ours, theirs = (episodes_of(tmp_path / "a.json", policy) for policy in policies)
        assert ours == theirs and len(ours) == 3 and all(each["success"] for each in ours)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert process.stderr.read().strip() == "sanawm: interrupted by SIGTERM"


def test_a_server_that_is_killed_fails_episodes_and_not_the_evaluation(tmp_path, capsys, monkeypatch):
    """It dies in the second episode; the third finds nobody."""
    from sanawm_env.policies.remote.link import Link

    with serving("scripted:follow") as (address, process):
        asked, ask = [], Link.ask

        def asking(link, request):
            asked.append("episode" in request)
            if sum(asked) == 2 and process.poll() is None:
                process.kill()
                process.wait()
            return ask(link, request)

        monkeypatch.setattr(Link, "ask", asking)
        arguments = ("--policy", f"remote:{address}", "--episodes", "3", "--json", str(tmp_path / "a.json"))
        main(["evaluate-policy", *QUICK, *arguments])
    assert "2 of 3 episodes failed" not in capsys.readouterr().err
    found = json.loads((tmp_path / "a.json").read_text())["episodes"]
    assert [each["ending"] for each in found] == ["terminated", "failed", "failed"]
    assert "the connection broke before an answer came" in found[1]["reason"]
    assert f"policy server {address}: nobody listens there" in found[2]["reason"]


def test_collect_records_a_served_policy(tmp_path):
    quick = ("-c", "untrained", "--task", "PointNav", "--episodes", "2", "--max-steps", "4", "--device", "cpu")
    quick = (*quick, "--env", "chunk_frames=1", "sampler_steps=1")
    with serving("random:smooth") as (address, _):
        for name, policy in (("here", "random:smooth"), ("there", f"remote:{address}")):
            main(["collect", "--policy", policy, "--out", str(tmp_path / name), *quick])
    here, there = ([each["recipe"] for each in Store(tmp_path / name).done().values()] for name in ("here", "there"))
    assert [each["actions"] for each in here] == [each["actions"] for each in there] and len(here) == 2
    assert there[1]["policy"] == f"remote:{address},seed=1"


@pytest.mark.parametrize(
    ("arguments", "key", "fix"),
    [
        (["planner:cem"], None, "planner:cem forks the world"),
        (["scripted:folow"], None, "unknown policy 'scripted:folow'"),
        (["scripted:follow", "--host", "0.0.0.0"], None, f"set {KEY}, or --host 127.0.0.1"),
        (["scripted:follow"], "short", "at least 8 letters"),
        (["scripted:follow", "--port", "70000"], None, "--port must lie in 0..65535"),
        (["scripted:follow", "--host", "192.0.2.1"], "long enough", "192.0.2.1:8000 cannot be had"),
    ],
)
def test_refusals(arguments, key, fix, capsys, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    if key is not None:
        monkeypatch.setenv(KEY, key)
    with pytest.raises(SystemExit) as end:
        main(["serve-policy", *arguments])
    said = capsys.readouterr()
    line = said.err.strip().splitlines()[-1]
    assert end.value.code == 2 and line.startswith("sanawm: error: ") and fix in line and said.out == ""
    assert key is None or key not in said.err


def test_a_wrong_key_is_told(capsys, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    with serving("scripted:follow", **{KEY: "the right key"}) as (address, _):
        with pytest.raises(SystemExit):
            main(["evaluate-policy", *QUICK, "--policy", f"remote:{address}"])
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"sanawm: error: policy server {address}: it refuses the connection with HTTP")
        assert "status 401" in line and KEY in line and "the right key" not in line
