import itertools
import json
import threading
import time

import httpx
import numpy as np
import pytest

from sanawm_env import SanaWMEnv
from sanawm_env.server import wire
from sanawm_env.server.play import player
from sanawm_env.server.play.player import action_of
from sanawm_env.server.protocol import Control
from tests.server.serving import TOKEN
from tests.server.web.test_app import FAST, Socket, begun

FREE = {"episode_seconds": None}


@pytest.fixture
def socket(server):
    one = Socket(server.socket_url)
    yield one
    one.close()


def events(socket, kind, count, *, ack=True):
    """The next events of a kind, with their payloads; frames are acknowledged."""
    found = []
    while len(found) < count:
        head, payload = wire.split(socket.socket.recv(60))
        if head["type"] == "frame" and ack:
            socket.socket.send(json.dumps({"type": "ack", "session": head["session"], "frame": head["frame"]}))
        if head["type"] == kind:
            found.append((head, bytes(payload)))
    return found


def send(socket, **message):
    socket.socket.send(json.dumps(message))


def test_frames_obey_what_is_held(socket):
    session = begun(socket, **FREE)
    facts = socket.ask(type="describe", session=session)[0]
    socket.ask(type="attach", session=session, encoding="jpeg")
    assert socket.ask(type="play", session=session, snapshot_every=0)[0]["type"] == "done"
    assert socket.ask(type="step", session=session, action=[0] * 6)[0]["code"] == "playing"
    speed = facts["max_speed"] / 2
    send(socket, type="control", session=session, seq=7, twist=[0, 0, speed, 0, 0, 0])
    seen = [head for head, _ in events(socket, "frame", 24)]
    numbers = [head["frame"] for head in seen]
    assert numbers == list(range(numbers[0], numbers[0] + 24))
    assert all(after["frame_index"] == before["frame_index"] + 1 for before, after in itertools.pairwise(seen))
    moved = [head for head in seen if head["seq"] == 7]
    assert len(moved) >= 8
    for before, after in itertools.pairwise(moved):
        np.testing.assert_allclose(after["pose"][2] - before["pose"][2], speed / 16, atol=1e-6)
    last = next(head for head in reversed(seen) if head["row"] == head["rows"] - 1)
    assert last["info"]["time"] == last["time"] and last["terminated"] is False
    assert socket.ask(type="pause", session=session)[0]["type"] == "done"
    assert socket.ask(type="describe", session=session)[0]["playing"] is False
    assert socket.ask(type="step", session=session, action=[0] * 6)[0]["type"] == "result"


def test_at_most_four_frames_are_on_their_way(socket, monkeypatch):
    monkeypatch.setattr(player, "PATIENCE", 1.0)
    session = begun(socket, **FREE)
    socket.ask(type="play", session=session, snapshot_every=0)
    seen = events(socket, "frame", 4, ack=False)
    head, _ = wire.split(socket.socket.recv(60))  # the next thing it hears is that nobody acknowledges
    assert head == {"type": "paused", "session": session, "reason": "no acks"}
    assert [head["frame"] for head, _ in seen] == [1, 2, 3, 4] and seen[0][1][:2] == b"\xff\xd8"


def test_rewinding_shows_the_same_and_leaves_the_trunk(socket):
    session = begun(socket, **FREE)
    socket.ask(type="play", session=session, snapshot_every=0.25)
    send(socket, type="control", session=session, seq=1, twist=[0, 0, 0.4, 0, 0.1, 0])
    taken = [head["snapshot"] for head, _ in events(socket, "snapshotted", 3)]
    socket.ask(type="pause", session=session)
    views = [socket.ask(type="view", session=session, snapshot=each) for each in taken]
    images = [wire.decode(*view)["image"] for view in views]
    assert not np.array_equal(images[0], images[2])
    again = wire.decode(*socket.ask(type="restore", session=session, snapshot=taken[0]))
    np.testing.assert_array_equal(again["observation"], images[0])
    socket.ask(type="play", session=session, snapshot_every=0.25)
    send(socket, type="control", session=session, seq=2, twist=[0, 0, -0.4, 0, 0, 0])
    branch = events(socket, "snapshotted", 1)[0][0]
    socket.ask(type="pause", session=session)
    assert branch["parent"] == taken[0]
    trunk = wire.decode(*socket.ask(type="view", session=session, snapshot=taken[2]))["image"]
    np.testing.assert_array_equal(trunk, images[2])


def test_what_ends_it(socket, server):
    session = begun(socket, episode_seconds=0.5)
    socket.ask(type="play", session=session, snapshot_every=0)
    frames = [head for head, _ in events(socket, "frame", 8)]
    assert frames[-1]["truncated"] is True
    assert events(socket, "paused", 1)[0][0]["reason"] == "episode"
    session = begun(socket, **FREE)
    other = Socket(server.socket_url)
    socket.ask(type="play", session=session)
    other.ask(type="attach", session=session, take=True)
    assert other.ask(type="describe", session=session)[0]["playing"] is False
    other.ask(type="play", session=session)
    other.close()
    address = server.url.split("?")[0] + f"api/sessions/{session}"
    deadline = time.monotonic() + 30
    while httpx.get(address, params={"token": TOKEN}).json()["playing"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pause_that_comes_while_play_begins(socket, server):
    session = begun(socket, **FREE)
    gate = threading.Event()
    server.host.call(gate.wait)  # play waits for it
    send(socket, type="play", session=session, id=2)
    send(socket, type="play", session=session, id=3)
    send(socket, type="pause", session=session, id=4)
    gate.set()
    answers = []
    while len(answers) < 3:
        head, _ = wire.split(socket.socket.recv(60))
        answers += [head["id"]] if "id" in head else []
    assert answers == [2, 3, 4]
    assert socket.ask(type="step", session=session, action=[0] * 6)[0]["type"] == "result"
    assert socket.ask(type="describe", session=session)[0]["playing"] is False


def test_a_policy_takes_over(socket):
    session = begun(socket, task="PointNav", **FREE)
    assert socket.ask(type="play", session=session, policy="scripted:nonsense")[0]["code"] == "invalid"
    assert socket.ask(type="play", session=session, policy="scripted:follow")[0]["type"] == "done"
    frames = [head for head, _ in events(socket, "frame", 8)]
    told = [head["info"]["distance_to_goal"] for head in frames if "info" in head]
    assert len(told) >= 2 and told[1] < told[0]
    socket.ask(type="pause", session=session)


def test_it_cannot_begin(socket):
    session = begun(socket, action_mode="per_frame")
    assert "action_mode" in socket.ask(type="play", session=session)[0]["error"]
    fresh = socket.ask(type="create", settings=FAST)[0]["session"]
    socket.ask(type="attach", session=fresh)
    assert socket.ask(type="play", session=fresh)[0]["code"] == "not-begun"


def test_actions_of_what_is_held(server, model):
    host = server.host

    def facts(**settings):
        session = host.call(lambda: host.create(FAST | settings)).result()
        described = session.describe()
        host.call(lambda: host.delete(session.id)).result()
        return described

    delta = facts()
    assert action_of(None, delta) == [0.0] * 6
    speed, turn = delta["max_speed"], delta["max_turn"]
    full = action_of(Control(twist=[0, 0, 99, 0, 0, 0]), delta)
    np.testing.assert_allclose(full, [0, 0, 1, 0, 0, 0], atol=1e-6)
    # Along its own moving axes: the environment's frames follow just that motion.
    both = action_of(Control(twist=[0, 0, speed / 2, 0, turn, 0]), delta)
    env = SanaWMEnv(model, **FAST)
    env.reset(seed=0)
    poses = env.step(np.array(both))[4]["frame_c2w"]
    steps = np.linalg.inv(poses[:-1]) @ poses[1:]
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-6)
    assert np.abs(both).max() <= 1
    assert len(action_of(None, facts(task={"task_class": "PointNav", "stop_action": True}))) == 7
    keys = facts(action_mode="keys")
    held = action_of(Control(keys=["w", "unknown"]), keys)
    assert [key for key, bit in zip(keys["keys"], held, strict=True) if bit] == ["w"]
