"""A session's folder does not grow with its length, and what it keeps is enough."""

from dataclasses import replace

import numpy as np
import pytest

from sanawm_env.envs.simulator import Simulator, StepResult
from sanawm_env.server.errors import ServerError
from sanawm_env.server.reading import read_message
from sanawm_env.server.sessions.host import Limits
from sanawm_env.server.sessions.journal import Journal, read_folder
from sanawm_env.server.sessions.session import KEPT_ANSWERS
from tests.server.sessions.test_host import Asking


class Counting:
    """In place of the model, for sessions of many steps: a step adds to the picture what the action says."""

    def step(self, now, actions):
        move = np.uint8(round(100 * actions[0][2]))
        frames = (now.last_frames[0] + move)[None]
        poses = now.c2w.copy()
        poses[0, 2, 3] += actions[0][2]
        state = now.state.changed(c2w=now.state.c2w.new_tensor(poses))
        elapsed = (now.elapsed_steps[0] + 1,)
        after = replace(now, state=state, elapsed_steps=elapsed, frames=(frames,), frame_c2w=(poses,))
        return after, StepResult(np.zeros(1), np.zeros(1, bool), np.zeros(1, bool), [{}])


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(Simulator, "step", lambda self, now, actions: Counting().step(now, actions))


@pytest.fixture
def asking(model, tmp_path):
    made = []

    def make(limits=None):
        made.append(Asking(model, tmp_path / "data", limits))
        return made[-1]

    yield make
    for each in made:
        each.host.close()


def action(number):
    return [0, 0, round(0.01 * (number % 97), 2), 0, 0, 0]


def same(answer, expected):
    assert answer["n"] == expected["n"]
    np.testing.assert_array_equal(answer["observation"], expected["observation"])
    np.testing.assert_array_equal(answer["info"]["frame_c2w"], expected["info"]["frame_c2w"])


def test_ten_thousand_steps(asking, counting):
    """The folder stays as small as after a hundred; killed, the last answers can still be asked for."""
    ask = asking()
    session = ask.create(obs_mode="pose", info_frames=False)
    folder = ask.folder / "sessions" / session
    ask("reset", session, n=1, seed=4)
    answers, lengths, snapshots = {}, [], []
    for n in range(2, 10_002):
        if n % 1000 == 0:
            answers[n] = ask("snapshot", session, n=n)
            snapshots.append(answers[n]["snapshot"])
        else:
            answers[n] = ask("step", session, n=n, action=action(n))
        answers.pop(n - 8, None)
        if n % 500 == 0:
            ask.host.store.written()
            lengths.append((folder / "journal.jsonl").stat().st_size)
            assert len(read_folder(folder).lines) <= 2 * ask.host.limits.save_every + KEPT_ANSWERS
            assert len(list(folder.glob("moment-*.safetensors"))) <= 2
    assert max(lengths) < 3 * lengths[0]
    ask.host.store.written()
    again = asking()  # beside the one that is killed, as it were: nothing was closed
    for n in range(10_001 - KEPT_ANSWERS + 1, 10_002):
        if n % 1000:
            same(again("step", session, n=n, action=action(n)), answers[n])
        else:
            assert again("snapshot", session, n=n) == answers[n]
    with pytest.raises(ServerError) as told:
        again("step", session, n=9_990, action=action(9_990))
    assert told.value.code == "old"
    same(again("step", session, action=action(10_002)), ask("step", session, action=action(10_002)))
    assert [each["snapshot"] for each in again("snapshots", session)["snapshots"]] == snapshots
    pictures = [host("view", session)["image"] for host in (ask, again)]
    np.testing.assert_array_equal(*pictures)
    same(again("restore", session, snapshot=snapshots[3]), ask("restore", session, snapshot=snapshots[3]))


@pytest.mark.parametrize("closed", [False, True], ids=["killed", "ended"])
@pytest.mark.parametrize("operations", [3, 9, 14])
def test_wherever_it_ends(asking, counting, operations, closed):
    """Of every kind of operation the last answers come again, also where the settings were changed in between."""
    ask = asking(Limits(save_every=3))
    session = ask.create(task="PointNav")
    requests = [("reset", {"seed": 1}), ("step", 1), ("snapshot", {"name": "a"}), ("step", 2), ("step", 3)]
    requests += [("configure", {"settings": {"max_translation": 0.1}}), ("step", 4), ("restore", {"snapshot": None})]
    requests += [("step", 5), ("fork", {"count": 1}), ("reset", {}), ("step", 6), ("snapshot", {}), ("step", 7)]
    done, named = [], None
    for kind, values in requests[:operations]:
        given = {"action": action(values)} if kind == "step" else dict(values)
        if "snapshot" in given:
            given["snapshot"] = named
        done.append((kind, given, ask(kind, session, **given)))
        named = done[-1][2]["snapshot"] if given.get("name") == "a" else named
    before = ask("describe", session)
    tree = ask("snapshots", session)
    if closed:
        ask.host.close()
    else:
        ask.host.store.written()
    again = asking(Limits(save_every=3))
    after = again("describe", session)
    assert {k: v for k, v in after.items() if k != "latency_ms"} == {
        k: v for k, v in before.items() if k != "latency_ms"
    }
    assert again("snapshots", session) == tree
    for number, (kind, given, answer) in list(enumerate(done, 1))[-1 if closed else -KEPT_ANSWERS :]:
        repeated = again(kind, session, n=number, **given)
        if answer["type"] == "result":
            np.testing.assert_array_equal(repeated["observation"]["image"], answer["observation"]["image"])
            np.testing.assert_array_equal(repeated["info"]["frame_c2w"], answer["info"]["frame_c2w"])
            assert repeated["rng"] == answer["rng"] and repeated["reward"] == answer["reward"]
        else:
            assert repeated == answer


def test_a_session_that_never_begins(asking):
    """Its world files come and go."""
    ask = asking(Limits(save_every=4))
    other = ask.create()
    ask("reset", other, seed=0)
    data = ask("save", other)["moment"]
    path = ask.folder / "world.safetensors"
    data.save(path)
    session = ask.create()
    for _ in range(12):
        message = read_message({"type": "open", "session": session})
        node = ask.host.submit(message, path.read_bytes()).result(60)
        ask("forget", session, snapshot=node["snapshot"])
    ask.host.store.written()
    assert len(read_folder(ask.folder / "sessions" / session).lines) <= 2 * 5
    again = asking()
    assert again("describe", session)["n"] == 12 and again("snapshots", session)["snapshots"] == []


def test_a_line_written_amid_shrinking(tmp_path):
    """The file is another afterwards; what comes then is in it."""
    journal = Journal(tmp_path)
    journal.create({"head": True})
    for n in range(1, 6):
        journal.append({"n": n, "type": "step"})
    journal.shrink(4, lambda lines: {"n": lines[-1]["n"], "type": "past", "count": len(lines)})
    journal.append({"n": 6, "type": "step"})
    found = read_folder(tmp_path)
    assert [line["n"] for line in found.lines] == [3, 4, 5, 6] and found.lines[0]["count"] == 3
    journal.shrink(6, lambda lines: {"n": lines[-1]["n"], "type": "past", "count": len(lines)})
    assert [line["n"] for line in read_folder(tmp_path).lines] == [5, 6]
    journal.close()
