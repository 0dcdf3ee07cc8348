"""`remote:<address>` against servers that behave, and against those that do not: each a clear error, never a hang."""

import re
import socket
import sys
import threading
import time

import numpy as np
import pytest
from sanawm_env.policies import make_policy
from sanawm_env.policies.demonstrations import collect
from sanawm_env.policies.imitation import train
from sanawm_env.policies.maker import PolicyMaker
from sanawm_env.policies.remote import link
from sanawm_env.policies.remote.link import KEY, RemotePolicyError, read_address
from sanawm_env.policies.remote.wire import pack

from sanawm_env.envs.wrappers.discrete import habitat_moves
from sanawm_env.evaluation.policy.trials import run_trials
from tests.policies.policy_worlds import make, play
from tests.policies.remote.servers import answering, scripted, served


def remote(address, **settings):
    return make_policy(f"remote:{address}", **{"timeout": 20} | settings)


def zeros(rows=1, width=6):
    return lambda request, number: {"actions": np.zeros((rows, width), np.float32)}


def one_act(address, **settings):
    """What the first action of an episode raises."""
    env = make("SanaWM/PointNav-v0")
    observation, info = env.reset(seed=0)
    policy = remote(address, **settings)
    with pytest.raises(RemotePolicyError, match=f"policy server {address}: ") as caught:
        policy.begin(env, observation, info)
        policy.act(observation, info)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and len(said) < 600
    return said


# -- what is sent and done --------------------------------------------------------------------------------


def test_a_stock_server_sees_what_openpi_servers_see():
    seen = []
    with scripted(answering(zeros(), {"action_horizon": 10}, seen)) as address:
        env = make("SanaWM/PointNav-v0", max_episode_steps=3)
        infos, _, _ = play(env, remote(address))
        play(env, remote(address, prompt="Open the door.", names={"image": "observation/exterior"}))
    assert len(infos) == 4 and len(seen) == 6
    for request in seen[:3]:
        names = {"observation/image", "observation/state", "observation/goal", "prompt"}
        assert set(request) == names, "no server of others is told of episodes"
        assert request["observation/image"].shape == (32, 48, 3) and request["observation/image"].dtype == np.uint8
        assert request["observation/state"].tolist() == [0, 0, 0, 1, 0, 0, 0]
        assert request["prompt"].startswith("Go to the goal")
    assert seen[3]["prompt"] == "Open the door." and "observation/exterior" in seen[3]


@pytest.mark.parametrize(("replan", "requests"), [(None, 2), (1, 5), (2, 3), (4, 2)])
def test_chunks_are_played_open_loop(replan, requests):
    seen = []

    def answer(request, number):
        return {"actions": np.arange(4 * 6, dtype=np.float32).reshape(4, 6) / 100 + number / 8}

    with scripted(answering(answer, seen=seen)) as address:
        env = make("SanaWM/PointNav-v0")
        observation, info = env.reset(seed=0)
        policy = remote(address, replan=replan)
        policy.begin(env, observation, info)
        actions = [policy.act(observation, info) for _ in range(5)]
    assert len(seen) == requests
    row = [divmod(step, replan or 4) for step in range(5)]
    expected = [np.arange(6, dtype=np.float32) / 100 + k * 6 / np.float32(100) + n / 8 for n, k in row]
    np.testing.assert_allclose(actions, expected, atol=1e-6)
    assert all(action in env.action_space for action in actions)


def test_a_new_episode_begins_with_a_new_connection_and_an_empty_chunk():
    opened, seen = [], []

    def handler(websocket):
        opened.append(websocket)
        answering(zeros(rows=10), seen=seen)(websocket)

    with scripted(handler) as address:
        policy, env = remote(address), make("SanaWM/PointNav-v0", max_episode_steps=3)
        play(env, policy)
        play(env, policy)
        assert len(opened) == len(seen) == 2
        del policy
        until = time.monotonic() + 10
        while any(each.state.name != "CLOSED" for each in opened) and time.monotonic() < until:
            time.sleep(0.01)
        assert all(each.state.name == "CLOSED" for each in opened), "a policy that is gone leaves no connection"


def test_the_key_is_sent_and_never_shown(monkeypatch):
    headers = []

    def handler(websocket):
        headers.append(websocket.request.headers.get("Authorization"))
        answering(zeros())(websocket)

    with scripted(handler) as address:
        maker = PolicyMaker(f"remote:{address}", {})
        monkeypatch.setenv(KEY, "a secret key")
        maker = PolicyMaker(f"remote:{address}", {})
        assert headers == [None, "Api-Key a secret key"] and "secret" not in maker.describe(3)
    with pytest.raises(ValueError, match="its settings are: replan, timeout, wait, prompt, names, clip, seed"):
        make_policy("remote:ws://127.0.0.1:1", api_key="a secret key")


# -- the same as beside the environment -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task", "discrete"),
    [
        ("scripted:follow", "PointNav", False),
        ("scripted:follow", "FollowPath", True),
        ("scripted:frontier", "Explore", False),
        ("scripted:orbit", None, False),
        ("random:smooth", "ImageNav", False),
        ("random:uniform", "PointNav", True),
    ],
)
def test_a_served_policy_plays_as_it_does_here(name, task, discrete):
    env = make(f"SanaWM/{task}-v0" if task else "SanaWM-v0", max_episode_steps=12)
    env = habitat_moves(env) if discrete else env
    with served(name) as address:
        here, there = PolicyMaker(name, {}), PolicyMaker(f"remote:{address}", {})
        for seed in (3, 4):
            ours, theirs = play(env, here.make(seed), seed), play(env, there.make(seed), seed)
            assert ours[1:] == theirs[1:] and len(ours[0]) > 2
            for a, b in zip(ours[0], theirs[0], strict=True):
                assert np.array_equal(a["c2w"], b["c2w"]) and np.array_equal(a["frames"], b["frames"])


@pytest.mark.parametrize("discrete", [False, True])
def test_a_trained_policy_that_is_served(tmp_path, discrete):
    """It reads the picture and every entry, so that all of them have to arrive as they are."""
    env = make("SanaWM/PointNav-v0", max_episode_steps=6)
    env = habitat_moves(env) if discrete else env
    clone, _ = train(collect(env, make_policy("scripted:follow"), 2, seed=0, image=True), epochs=2)
    clone.save(tmp_path / "clone.safetensors")
    with served(f"bc:{tmp_path / 'clone.safetensors'}") as address:
        for seed in (5, 6):
            ours, theirs = play(env, clone, seed), play(env, remote(address), seed)
            assert ours[1:] == theirs[1:] and len(ours[0]) > 1
            assert np.array_equal(ours[0][-1]["c2w"], theirs[0][-1]["c2w"])


def test_what_a_table_keeps_depends_on_the_server():
    with served("random:smooth") as one, served("scripted:follow") as two:
        digests = {PolicyMaker(f"remote:{address}", {}).digest() for address in (one, one, two)}
    assert len(digests) == 2


# -- servers that do not behave ---------------------------------------------------------------------------

BAD = {
    "traceback": (lambda r, n: "Traceback (most recent call last):\n  File x\nKeyError: 'observation/wrist'", "wrist"),
    "not a number": (lambda r, n: {"actions": np.full((1, 6), np.nan)}, "must be finite"),
    "shape": (lambda r, n: {"actions": np.zeros((10, 32))}, r"chunk \(H, 6\).*got shape \(10, 32\)"),
    "range": (lambda r, n: {"actions": np.full((1, 6), 9.0)}, "must lie in Box"),
    "nothing": (lambda r, n: {"server_timing": {}}, "no 'actions', but server_timing"),
    "garbage": (lambda r, n: b"\xc1\x00\xff", "an answer cannot be read"),
    "empty": (lambda r, n: b"", "an answer cannot be read"),
    "a list": (lambda r, n: pack([1, 2]), "is a list and not a dictionary"),
    "pickle": (
        lambda r, n: pack({"actions": {b"__ndarray__": True, b"data": b"x", b"dtype": "|O", b"shape": [1]}}),
        "dtype must be",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_answers(kind):
    answer, said = BAD[kind]
    with scripted(answering(answer)) as address:
        assert re.search(said, one_act(address))
        (trial,) = run_trials(make("SanaWM/PointNav-v0"), remote(address), [0], name="remote")
    assert (
        trial.ending == "failed" and trial.steps == 0 and f"RemotePolicyError: policy server {address}" in trial.reason
    )


def test_out_of_range_may_be_clipped():
    with scripted(answering(lambda r, n: {"actions": np.full((1, 6), 9.0)})) as address:
        env = make("SanaWM/PointNav-v0", max_episode_steps=2)
        (trial,) = run_trials(env, remote(address, clip=True), [0], name="remote")
    assert trial.ending == "truncated" and trial.steps == 2


@pytest.mark.parametrize(
    ("metadata", "said"),
    [("go away", "the server says: go away"), (b"\xc1", "its metadata cannot be read"), (pack(3), "is a int and not")],
)
def test_bad_metadata(metadata, said):
    with scripted(lambda websocket: websocket.send(metadata)) as address:
        assert said in one_act(address)


def test_another_version():
    with scripted(answering(zeros(), {"sanawm_env": 99})) as address:
        assert "version 99 and this is 1" in one_act(address)


def test_a_slow_server():
    release = threading.Event()
    with scripted(answering(lambda r, n: release.wait(30) and {})) as address:
        assert "an answer did not come within 0.3 s; give it longer by timeout=SECONDS" in one_act(address, timeout=0.3)
        release.set()


def test_a_server_that_says_nothing(monkeypatch):
    monkeypatch.setattr(link, "_OPEN_SECONDS", 1.0)
    release = threading.Event()
    with scripted(lambda websocket: release.wait(30)) as address:
        assert "its metadata did not come within 1 s." in one_act(address)
        release.set()


def test_a_server_that_drips():
    """Frames of one message that never ends."""
    release = threading.Event()

    def handler(websocket):
        websocket.send(pack({}))
        websocket.recv()
        websocket.send(b"x" if not release.wait(0.05) else b"" for _ in range(400))

    with scripted(handler) as address:
        assert "did not come within 0.5 s" in one_act(address, timeout=0.5)
        release.set()


def test_a_server_that_does_not_read():
    """A picture larger than what the sockets between hold."""
    release = threading.Event()

    def handler(websocket):
        websocket.send(pack({}))
        release.wait(30)

    with scripted(handler) as address:
        policy = remote(address, timeout=0.5)
        large = np.zeros((6000, 4000, 3), np.uint8)
        policy.begin(make(), large, {})
        with pytest.raises(RemotePolicyError, match=r"did not come within 0.5 s"):
            policy.act(large, {})
        release.set()


def test_what_listens_speaks_something_else(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"ws://127.0.0.1:{listening.getsockname()[1]}"

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 smtp ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "speaks no WebSocket" in one_act(address)
        thread.join()
        monkeypatch.setattr(link, "_OPEN_SECONDS", 0.3)  # accepted by the system, and by nobody else
        assert "does not accept a connection in time" in one_act(address)


def test_a_server_that_is_gone():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"ws://127.0.0.1:{free.getsockname()[1]}"
    assert "nobody listens there; start the server" in one_act(address)
    with pytest.raises(RemotePolicyError, match="nobody listens"):
        PolicyMaker(f"remote:{address}", {})


def test_a_server_that_comes_later():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address, done = f"ws://127.0.0.1:{port}", threading.Event()

    def later():
        time.sleep(0.3)
        with scripted(answering(zeros()), port):
            done.wait(20)

    thread = threading.Thread(target=later)
    thread.start()
    try:
        (trial,) = run_trials(make("SanaWM/PointNav-v0", max_episode_steps=2), remote(address, wait=15), [0], name="r")
    finally:
        done.set()
        thread.join()
    assert trial.ending == "truncated"


def test_a_server_that_dies_costs_one_episode():
    """The connection breaks in the second episode; the third is played."""
    episodes = []

    def handler(websocket):
        episodes.append(websocket)
        fatal = len(episodes) == 2

        def answer(request, number):
            if fatal and number == 1:
                websocket.socket.shutdown(socket.SHUT_RDWR)
            return zeros()(request, number)

        answering(answer)(websocket)

    with scripted(handler) as address:
        env = make("SanaWM/PointNav-v0", max_episode_steps=3)
        trials = list(run_trials(env, remote(address), [0, 1, 2], name="remote"))
    assert [trial.ending for trial in trials] == ["truncated", "failed", "truncated"]
    assert trials[1].steps == 1 and "the connection broke before an answer came" in trials[1].reason


# -- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "full"),
    [("ws://a:1", "ws://a:1"), ("wss://a.b/x", "wss://a.b/x"), ("localhost:8000", "ws://localhost:8000")],
)
def test_addresses(given, full):
    assert read_address(given) == full


@pytest.mark.parametrize("address", ["http://a:1", "ws://", "ws://a:99999", "ws://a:b", "ws://a:0", "ws://[::1", " "])
def test_no_addresses(address):
    with pytest.raises(ValueError, match="address is ws://HOST:PORT"):
        make_policy(f"remote:{address}")


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match=KEY) as caught:
        make_policy("remote:ws://me:secret@host:1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"replan": 0}, {"replan": 1.5}, {"timeout": 0}, {"timeout": float("inf")}, {"wait": -1}, {"names": "image"}],
)
def test_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        remote("ws://127.0.0.1:1", **settings)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(ValueError, match=r'need msgpack; pip install "sanawm_env\[remote\]"'):
        make_policy("remote:ws://127.0.0.1:1")
