"""openpi's own client against our policy server, and our client against a server that speaks by openpi's code.

The server of openpi itself is on no registry; what it sends is made by `openpi_client.msgpack_numpy`, which both sides
share, so that a server of ten lines around that module says what it would say.
"""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from sanawm_env.policies import make_policy
from sanawm_env.policies.remote.described import describe
from sanawm_env.policies.remote.requests import named
from sanawm_env.policies.remote.wire import pack, unpack

from sanawm_env.evaluation.policy.trials import run_trials
from tests.policies.policy_worlds import make, play
from tests.policies.remote.servers import scripted, served

pytestmark = pytest.mark.judge


@pytest.fixture
def openpi(need):
    """Its modules `msgpack_numpy` and `websocket_client_policy`."""
    need("openpi_client")
    from openpi_client import msgpack_numpy, websocket_client_policy

    return msgpack_numpy, websocket_client_policy


def test_the_bytes_are_the_same(openpi):
    theirs, _ = openpi

    @given(hnp.arrays(hnp.scalar_dtypes().filter(lambda dtype: dtype.kind in "biuf"), hnp.array_shapes(min_dims=0)))
    def both(array):
        message = {"observation/image": array, "prompt": "go", "more": {"steps": 3, "scalar": array.reshape(-1)[0]}}
        assert pack(message) == theirs.packb(message)
        mine, other = unpack(theirs.packb(message)), theirs.unpackb(pack(message))
        for found in (mine, other):
            assert found["observation/image"].dtype == array.dtype
            assert found["observation/image"].tobytes() == array.tobytes()

    both()


@pytest.mark.parametrize("key", [None, "a long key"])
def test_their_client_on_our_server(openpi, key):
    _, client = openpi
    env = make("SanaWM/PointNav-v0")
    local = make_policy("scripted:follow")
    with served("scripted:follow", key=key) as address:
        host, port = address.removeprefix("ws://").split(":")
        policy = client.WebsocketClientPolicy(host, int(port), api_key=key)
        assert policy.get_server_metadata()["policy"] == "scripted:follow"
        for seed in (0, 1):
            observation, info = env.reset(seed=seed)
            local.begin(env, observation, info)
            begin = {"episode": {"seed": seed, "environment": describe(env)}}
            ended = False
            while not ended:
                answer = policy.infer({**named(observation, {}), "prompt": "go", **begin})
                (action,) = answer["actions"]
                assert np.array_equal(action, local.act(observation, info)) and answer["server_timing"]["infer_ms"] > 0
                observation, _, terminated, truncated, info = env.step(action)
                ended, begin = terminated or truncated, {}
            assert info["success"]
        with pytest.raises(RuntimeError, match="Error in inference server:\nobservation/goal must be an array"):
            policy.infer({"prompt": "go"})


def test_their_chunk_broker_plays_what_ours_plays(openpi, need):
    need("tree")
    from openpi_client import action_chunk_broker as broker

    _, client = openpi
    theirs, ours = [], []

    def handler(websocket):
        import openpi_client.msgpack_numpy as wire

        websocket.send(wire.packb({}))
        for number, message in enumerate(websocket):
            wire.unpackb(message)
            websocket.send(wire.packb({"actions": number + np.arange(12.0).reshape(4, 3) / 100}))

    with scripted(handler) as address:
        host, port = address.removeprefix("ws://").split(":")
        policy = broker.ActionChunkBroker(client.WebsocketClientPolicy(host, int(port)), action_horizon=3)
        theirs = [policy.infer({"prompt": "go"})["actions"] for _ in range(8)]

    from gymnasium import spaces
    from sanawm_env.policies.remote.chunks import read_actions

    number = 0
    while len(ours) < 8:
        answer = {"actions": number + np.arange(12.0).reshape(4, 3) / 100}
        ours, number = ours + read_actions(answer, spaces.Box(-9, 9, (3,), np.float64), 3, False), number + 1
    assert np.array_equal(theirs, ours[:8])


def test_our_client_on_their_bytes(openpi):
    wire, _ = openpi
    seen = []

    def handler(websocket):
        packer = wire.Packer()
        websocket.send(packer.pack({"action_horizon": 5, "model": "pi0"}))
        for message in websocket:
            seen.append(wire.unpackb(message))
            if len(seen) == 3:
                websocket.send("Traceback (most recent call last):\nKeyError: 'observation/wrist'")
                return
            actions = np.tile(np.array([0, 0, 0.5, 0, 0, 0], np.float32), (5, 1))
            timing = {"infer_ms": np.float64(1.5)}
            websocket.send(packer.pack({"actions": actions, "state": np.zeros(7), "server_timing": timing}))

    with scripted(handler) as address:
        env = make("SanaWM/PointNav-v0", max_episode_steps=8)
        play(env, make_policy(f"remote:{address}"), seed=2)
        (trial,) = run_trials(env, make_policy(f"remote:{address}"), [2], name="remote")
    assert len(seen) == 3 and trial.ending == "failed" and "KeyError: 'observation/wrist'" in trial.reason
    assert seen[0]["observation/image"].dtype == np.uint8 and seen[0]["prompt"].startswith("Go to the goal")
