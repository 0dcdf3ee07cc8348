import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sanawm_env import SanaWMEnv
from sanawm_env.server.errors import ServerError
from sanawm_env.server.reading import read_message
from sanawm_env.server.sessions.host import Host, Limits
from sanawm_env.server.sessions.journal import Journal

FAST = {"chunk_frames": 1, "sampler_steps": 1}
STATE = 5_300_000  # bytes, a little more than one of tiny's


class Asking:
    """A host, and requests as JSON has them."""

    def __init__(self, model, folder, limits=None, **arguments):
        self.host = Host(model, folder, limits, **arguments)
        self.folder = Path(folder)

    def create(self, **settings):
        return self.host.call(lambda: self.host.create(FAST | settings)).result().id

    def __call__(self, kind, session, **values):
        return self.host.submit(read_message({"type": kind, "session": session, **values})).result(60)

    def session(self, name):
        return self.host.call(lambda: self.host.session(name)).result(60)


@pytest.fixture
def asking(model, tmp_path):
    made = []

    def make(folder="data", limits=None, **arguments):
        made.append(Asking(model, tmp_path / folder, limits, **arguments))
        return made[-1]

    yield make
    for each in made:
        each.host.close()


def refused(code, function, *arguments, **values):
    with pytest.raises(ServerError) as told:
        function(*arguments, **values)
    assert told.value.code == code
    return str(told.value)


def test_numbers(asking):
    ask = asking()
    session = ask.create()
    refused("not-begun", ask, "step", session, action=[0] * 6)
    first = ask("reset", session, n=1, seed=3)
    assert ask("reset", session, n=1, seed=3) is first
    refused("conflict", ask, "reset", session, n=1, seed=4)
    refused("gap", ask, "step", session, n=3, action=[0] * 6)
    step = ask("step", session, n=2, action=[0] * 6)
    assert step["n"] == 2 and ask("step", session, n=2, action=[0] * 6) is step
    refused("invalid", ask, "step", session, n=3, action=[9] * 6)
    for n in range(3, 12):
        ask("snapshot", session, n=n)
    refused("old", ask, "step", session, n=2, action=[0] * 6)
    assert ask.session(session).n == 11  # what was refused does not count


def test_a_tree_of_moments(asking):
    ask = asking()
    session = ask.create()
    ask("reset", session, seed=1)
    root = ask("snapshot", session, name="root")["snapshot"]
    trunk = [ask("step", session, action=[0, 0, 1, 0, 0, 0]) for _ in range(2)]
    left = ask("snapshot", session)["snapshot"]
    ask("restore", session, snapshot=root)
    ask("step", session, action=[0, 0, -1, 0, 0, 0])
    right = ask("snapshot", session)["snapshot"]
    tree = {each["snapshot"]: each for each in ask("snapshots", session)["snapshots"]}
    assert [tree[each]["parent"] for each in (root, left, right)] == [None, root, root]
    assert tree[left]["step"] == 2 and tree[left]["frame_index"] == 8 and tree[root]["name"] == "root"
    seen = ask("restore", session, snapshot=left)  # the trunk is as it was
    np.testing.assert_array_equal(seen["observation"], trunk[-1]["observation"])
    np.testing.assert_array_equal(seen["info"]["frames"], trunk[-1]["info"]["frames"])
    ask("forget", session, snapshot=root)
    tree = ask("snapshots", session)
    assert [each["parent"] for each in tree["snapshots"]] == [None, None] and tree["present"] == left
    refused("unknown-snapshot", ask, "restore", session, snapshot=root)


def test_forks_go_their_own_way(asking):
    ask = asking()
    session = ask.create(task="PointNav")
    ask("reset", session, seed=1)
    ask("step", session, action=[1, 0, 0, 0, 0, 0])
    names = ask("fork", session, count=2)["sessions"]
    answers = [ask("step", name, action=[0, 0, 1, 0, 0, 0]) for name in (session, *names)]
    for other in answers[1:]:
        np.testing.assert_array_equal(other["observation"]["image"], answers[0]["observation"]["image"])
        assert other["reward"] == answers[0]["reward"]
    resets = [ask("reset", name) for name in (session, *names)]
    assert all(each["rng"] == resets[0]["rng"] for each in resets)


def test_steps_that_are_joined(asking, model):
    """One mistake is one session's; the others' steps are those of an environment alone."""
    ask = asking(join=True)
    sessions = [ask.create(task="PointNav") for _ in range(3)]
    envs = [SanaWMEnv(model, task="PointNav", **FAST) for _ in sessions]
    for seed, (session, env) in enumerate(zip(sessions, envs, strict=True)):
        ask("reset", session, seed=seed), env.reset(seed=seed)
    gate = threading.Event()
    ask.host.call(gate.wait)  # so that all wait when the round begins
    action = [0.5, 0, 1, 0, -0.5, 0]
    asked = [
        ask.host.submit(read_message({"type": "step", "session": session, "action": [7] * 6 if k == 1 else action}))
        for k, session in enumerate(sessions)
    ]
    gate.set()
    for k, env in enumerate(envs):
        if k == 1:
            assert isinstance(asked[k].exception(60), ServerError)
            continue
        answer, expected = asked[k].result(60), env.step(action)
        np.testing.assert_array_equal(answer["observation"]["image"], expected[0]["image"])
        assert answer["reward"] == expected[1]
    assert ask.session(sessions[1]).n == 1


def test_nobody_starves(asking):
    """A session that asks for more than its share is done no more often than the others."""
    ask = asking()
    sessions = [ask.create() for _ in range(3)]
    for session in sessions:
        ask("reset", session, seed=0)
    gate, order = threading.Event(), []
    ask.host.call(gate.wait)
    futures = []
    for session, count in zip(sessions, (6, 2, 2), strict=True):
        for _ in range(count):
            future = ask.host.submit(read_message({"type": "step", "session": session, "action": [0] * 6}))
            future.add_done_callback(lambda _, session=session: order.append(session))
            futures.append(future)
    gate.set()
    for future in futures:
        future.result(60)
    assert sorted(order[:3]) == sorted(order[3:6]) == sorted(sessions) and set(order[6:]) == {sessions[0]}


def test_limits(asking):
    ask = asking(limits=Limits(sessions=2, snapshot_bytes=3 * STATE, waiting=2))
    session = ask.create()
    ask("reset", session, seed=0)
    for _ in range(6):  # automatic ones make room for each other
        ask("step", session, action=[0] * 6)
        ask("snapshot", session, automatic=True)
    kept = ask("snapshots", session)["snapshots"]
    assert 1 <= len(kept) <= 3 and ask.host.budget.held <= 3 * STATE
    names = [ask("snapshot", session, name=str(k))["snapshot"] for k in range(3)]
    assert "forget" in refused("full", ask, "snapshot", session, name="too much")
    assert [each["snapshot"] for each in ask("snapshots", session)["snapshots"]] == names
    ask("forget", session, snapshot=names[0])
    ask("snapshot", session, name="fits")
    refused("full", ask, "fork", session, count=2)
    ask("fork", session)
    refused("full", ask.create)
    gate = threading.Event()
    ask.host.call(gate.wait)
    message = read_message({"type": "describe", "session": session})
    waiting = [ask.host.submit(message) for _ in range(3)]
    refused("too-fast", waiting[2].result, 60)
    gate.set()


@pytest.mark.parametrize("abandon", [True, False], ids=["killed", "ended"])
def test_a_session_outlives_its_host(asking, model, abandon):
    """Also where its last operation's answer was never received."""
    ask, env = asking(limits=Limits(save_every=3)), SanaWMEnv(model, task="PointNav", **FAST)
    session = ask.create(task="PointNav")
    ask("reset", session, seed=5), env.reset(seed=5)
    moves = np.random.default_rng(0).uniform(-1, 1, (8, 6)).tolist()
    for move in moves[:5]:
        last, expected = ask("step", session, action=move), env.step(move)
    here = ask("snapshot", session, name="here")["snapshot"]
    last, expected = ask("step", session, action=moves[5]), env.step(moves[5])
    if not abandon:
        ask.host.close()
    again = asking(limits=Limits(save_every=3))
    answer = again("step", session, n=8, action=moves[5])
    assert answer["reward"] == expected[1] and answer["terminated"] is expected[2]
    np.testing.assert_array_equal(answer["info"]["frames"], expected[4]["frames"])
    for move in moves[6:]:
        answer, expected = again("step", session, action=move), env.step(move)
        np.testing.assert_array_equal(answer["observation"]["image"], expected[0]["image"])
    again("restore", session, snapshot=here)
    np.testing.assert_array_equal(again("step", session, action=moves[5])["info"]["frames"], last["info"]["frames"])
    assert again("snapshots", session)["present"] == here


def test_an_idle_session_leaves_the_memory_and_comes_back(asking):
    ask = asking(limits=Limits(idle_seconds=0.0))
    session = ask.create()
    ask("reset", session, seed=2)
    before = ask("step", session, action=[0, 0, 1, 0, 0, 0])
    deadline = time.monotonic() + 30
    while ask.host.in_memory():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ask.host.call(ask.host.listed).result() == [{"session": session, "asleep": True}]
    again = ask("step", session, n=2, action=[0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(again["info"]["frames"], before["info"]["frames"])
    assert again["reward"] == before["reward"] and again["n"] == 2


def test_a_line_that_was_never_finished(asking):
    ask = asking()
    session = ask.create()
    ask("reset", session, seed=2)
    ask("step", session, action=[0] * 6)
    ask.host.close()
    journal = ask.folder / "sessions" / session / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"n": 3, "type": "ste')
    again = asking()
    assert again.session(session).n == 2
    again("step", session, n=3, action=[0] * 6)
    assert [json.loads(line)["n"] for line in journal.read_text().splitlines()] == [1, 2, 3]


def test_a_disk_that_is_full(asking, model, monkeypatch):
    """What is not written has not happened, and can be asked for again."""
    ask, env = asking(), SanaWMEnv(model, task="PointNav", **FAST)
    session = ask.create(task="PointNav")
    ask("reset", session, seed=5), env.reset(seed=5)
    snapshot = ask("snapshot", session)["snapshot"]
    requests = [
        ("step", {"action": [0, 0, 1, 0, 0, 0]}),
        ("reset", {"seed": 9}),
        ("snapshot", {}),
        ("restore", {"snapshot": snapshot}),
        ("configure", {"settings": {"task": "Explore"}}),
    ]
    with monkeypatch.context() as patch:

        def full(self, line):
            raise OSError(28, "No space left on device")

        patch.setattr(Journal, "append", full)
        for kind, values in requests:
            assert "No space left" in refused("failed", ask, kind, session, **values)
    assert len(ask("snapshots", session)["snapshots"]) == 1 and ask("describe", session)["n"] == 2
    answer, expected = ask("step", session, n=3, action=[0, 0, 1, 0, 0, 0]), env.step([0, 0, 1, 0, 0, 0])
    assert answer["reward"] == expected[1]
    np.testing.assert_array_equal(answer["observation"]["image"], expected[0]["image"])
    answer, expected = ask("reset", session), env.reset()
    np.testing.assert_array_equal(answer["observation"]["image"], expected[0]["image"])


def test_a_moment_of_an_operation_that_was_never_counted(asking):
    """Killed between the two writes of a reset; what then gets its number is something else."""
    ask = asking()
    session, other = ask.create(), ask.create()
    for name, seed in ((session, 2), (other, 3)):
        ask("reset", name, seed=seed)
    ask.host.close()
    folder = ask.folder / "sessions"
    shutil.copy(folder / other / "moment-1.safetensors", folder / session / "moment-2.safetensors")
    again = asking(limits=Limits(save_every=100))
    for _ in range(3):
        last = again("step", session, action=[0, 0, 1, 0, 0, 0])
    third = asking()
    np.testing.assert_array_equal(
        third("step", session, n=4, action=[0, 0, 1, 0, 0, 0])["observation"], last["observation"]
    )


def test_folders_that_cannot_be_resumed(asking):
    ask = asking()
    foreign, broken, good = (ask.create() for _ in range(3))
    for session in (foreign, broken, good):
        ask("reset", session, seed=2)
    ask.host.close()
    head = ask.folder / "sessions" / foreign / "session.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"checkpoint": "0" * 16}))
    for path in (ask.folder / "sessions" / broken).glob("moment-*"):
        path.unlink()
    again = asking()
    assert "checkpoint" in refused("failed", again, "describe", foreign)
    assert "missing" in refused("failed", again, "describe", broken)
    assert again("describe", good)["n"] == 1


def test_another_task_in_the_same_place(asking):
    ask = asking()
    session = ask.create()
    ask("reset", session, seed=2)
    there = ask("step", session, action=[0, 0, 1, 0, 0, 0])
    answer = ask("configure", session, settings={"task": "PointNav"}, goal=[0.5, 0.0, 1.0])
    np.testing.assert_array_equal(answer["observation"]["image"], there["observation"])
    assert answer["info"]["distance_to_goal"] > 0 and answer["rng"] is not None
    refused("invalid", ask, "configure", session, settings={"task": "Nonsense"})
    refused("invalid", ask, "configure", session, settings={}, goal=[1e9, 0, 0])
    assert ask("describe", session)["settings"]["task"] == "PointNav"
    step = ask("step", session, action=[0] * 6)
    ask.host.close()
    again = asking()("step", session, n=step["n"], action=[0] * 6)
    assert again["reward"] == step["reward"] and again["info"]["reward_terms"] == step["info"]["reward_terms"]
