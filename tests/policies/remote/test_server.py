"""`PolicyServer` against clients that do not behave."""

import socket
import threading
import urllib.request
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sanawm_env.policies.maker import PolicyMaker
from sanawm_env.policies.remote.described import describe
from sanawm_env.policies.remote.requests import named
from sanawm_env.policies.remote.server import Player
from sanawm_env.policies.remote.wire import pack, unpack
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.policies.policy_worlds import make
from tests.policies.remote.servers import served

ENV = make("SanaWM/PointNav-v0")
OBSERVATION, _ = ENV.reset(seed=0)
FIRST = {**named(OBSERVATION, {}), "prompt": "go", "episode": {"seed": 3, "environment": describe(ENV)}}


@pytest.fixture(scope="module")
def address():
    with served("scripted:follow") as found:
        yield found


def open_(address, **arguments):
    return connect(address, compression=None, max_size=None, **arguments)


def ask(address, *messages):
    """What is answered to the last of some messages."""
    with open_(address) as websocket:
        websocket.recv()
        for message in messages:
            websocket.send(message if isinstance(message, str | bytes) else pack(message))
            answer = websocket.recv(20)
        return answer


def test_metadata_answers_and_timing(address):
    with open_(address) as websocket:
        metadata = unpack(websocket.recv())
        assert metadata["sanawm_env"] == 1 and metadata["policy"] == "scripted:follow" and len(metadata["digest"]) == 16
        websocket.send(pack(FIRST))
        first = unpack(websocket.recv())
        assert first["actions"].shape == (1, 6) and first["actions"].dtype == np.float32
        assert first["server_timing"]["infer_ms"] > 0
        websocket.send(pack(named(OBSERVATION, {})))
        assert np.array_equal(unpack(websocket.recv())["actions"], first["actions"]), (
            "it keeps nothing from step to step"
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"episode": None}, "first request of an episode must have 'episode'"),
        ({"episode": 3}, "whole number 'seed'"),
        ({"episode": {"seed": -1}}, "whole number 'seed'"),
        ({"episode": {"seed": True}}, "whole number 'seed'"),
        ({"episode": {"seed": 1}}, "described by a dictionary"),
        ({"episode": {"seed": 1, "environment": {}}}, "cannot be used: KeyError 'max_translation'"),
        ({"observation/goal": np.zeros(4, np.float32)}, "observation/goal must be an array of float32"),
        ({"observation/goal": "ahead"}, "got str"),
        ({"observation/image": np.zeros((2, 2, 3), np.uint8)}, "observation/image must be"),
    ],
)
def test_bad_requests(address, change, said):
    answer = ask(address, FIRST | change)
    assert isinstance(answer, str) and said in answer and "Traceback" not in answer and "\n" not in answer
    assert unpack(ask(address, FIRST))["actions"].shape == (1, 6), "others are served"


def test_an_episode_that_cannot_begin_is_not_gone_on_with(address):
    env = make("SanaWM/Explore-v0")
    observation, _ = env.reset(seed=0)
    other = {**named(observation, {}), "episode": {"seed": 1, "environment": describe(env)}}
    assert "scripted:follow steers by a relative goal" in ask(address, FIRST, other)
    player = Player(PolicyMaker("scripted:follow", {}))
    player.answer(FIRST)
    with pytest.raises(ValueError, match="relative goal"):
        player.answer(other)
    with pytest.raises(ValueError, match="first request of an episode"):
        player.answer(named(OBSERVATION, {}))


def test_a_broken_connection_is_closed_with_a_reason(address):
    with open_(address) as websocket:
        websocket.recv()
        websocket.send("text")
        assert "binary message" in websocket.recv()
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv()
        assert closed.value.rcvd.code == 1011


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60), JUNK.map(pack), st.tuples(st.sampled_from(sorted(FIRST)), JUNK), st.text(max_size=9)
    )
)
def test_any_message_is_answered_by_one_sentence(address, message):
    if isinstance(message, tuple):
        name, junk = message
        message = pack(FIRST | {name: junk})
    answer = ask(address, message)
    if isinstance(answer, bytes):
        assert "actions" in unpack(answer)
    else:
        assert answer and "\n" not in answer and "Traceback" not in answer and len(answer) <= 500


def test_any_bytes_on_the_socket_do_not_stop_it(address, capfd):
    port = int(address.rpartition(":")[2])
    for data in (b"", b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", b"POST /x HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(data)
    assert unpack(ask(address, FIRST))["actions"].shape == (1, 6)
    assert capfd.readouterr().err == ""


def test_health_needs_no_key_and_the_rest_does():
    with served("scripted:follow", key="a long key") as address:
        health = address.replace("ws:", "http:") + "/healthz"
        with urllib.request.urlopen(health, timeout=10) as answer:
            assert answer.status == 200 and answer.read() == b"OK\n"
        for headers in ({}, {"Authorization": "Api-Key a long ke"}, {"Authorization": "Bearer a long key"}):
            with pytest.raises(InvalidStatus) as refused, open_(address, additional_headers=headers):
                pass
            assert refused.value.response.status_code == 401
        with open_(address, additional_headers={"Authorization": "Api-Key a long key"}) as websocket:
            assert unpack(websocket.recv())["policy"] == "scripted:follow"


def test_pages_of_other_sites_are_turned_away(address):
    with pytest.raises(InvalidStatus) as refused, open_(address, origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_connections_are_bounded(address):
    with ExitStack() as held:
        for _ in range(64):
            held.enter_context(open_(address)).recv(10)
        with pytest.raises(InvalidStatus) as refused, open_(address):
            pass
    assert refused.value.response.status_code == 503


def test_several_clients_have_an_episode_each():
    with served("random:smooth") as address:
        alone = [ask(address, first(seed), named(OBSERVATION, {})) for seed in range(6)]
        together, ready = [None] * 6, threading.Barrier(6)

        def play(seed):
            ready.wait(20)
            together[seed] = ask(address, first(seed), named(OBSERVATION, {}))

        threads = [threading.Thread(target=play, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    actions = [[unpack(answer)["actions"].tolist() for answer in answers] for answers in (alone, together)]
    assert actions[0] == actions[1] and len({str(action) for action in actions[0]}) == 6


def first(seed):
    return FIRST | {"episode": FIRST["episode"] | {"seed": seed}}
