"""The protocol through a front is that of one server, also when replicas go."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sanawm_env import SanaWMEnv, SanaWMVectorEnv
from sanawm_env.client import RemoteSanaWMEnv, RemoteSanaWMVectorEnv
from sanawm_env.server import wire
from sanawm_env.server.client.connection import RemoteError
from tests.server.client.test_env import FAST, same
from tests.server.cluster.fleets import fronted
from tests.server.serving import TOKEN


@pytest.fixture(scope="module")
def front(model, tmp_path_factory):
    with fronted(model, tmp_path_factory.mktemp("front")) as running:
        yield running


def get(front, path, method="GET", token=TOKEN, body=None):
    request = urllib.request.Request(front.url.split("/?")[0] + path, body, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ask(socket, **message):
    socket.send(json.dumps(message))
    head, payload = wire.split(socket.recv(60))
    return wire.decode(head, payload)


def socket_to(front):
    return connect(front.url.replace("http:", "ws:").replace("/?", "/ws?"), compression=None, max_size=None)


def test_sessions_are_spread_and_see_each_others_snapshots(front, model):
    """Each environment has a replica of its own; one goes to a moment of the other's."""
    first, second = RemoteSanaWMEnv(front.url, **FAST), RemoteSanaWMEnv(front.url, **FAST)
    local = SanaWMEnv(model, **FAST)
    same(first.reset(seed=1), local.reset(seed=1))
    same(first.step(np.full(6, 0.5)), local.step(np.full(6, 0.5)))
    second.reset(seed=2)
    places = [front.replica_of(env._required.id) for env in (first, second)]
    assert places[0] is not places[1]
    here = first.snapshot("here")
    second.restore(here)
    same(second.step(np.zeros(6)), local.step(np.zeros(6)))
    second.reset(options={"state": here})
    with pytest.raises(RemoteError, match="no such snapshot"):
        second._required.ask("restore", snapshot="snothing", **{"from": first._required.id})
    (left,) = first.fork(1)
    assert front.replica_of(left._required.id) is places[0]
    left.close()
    first.close(), second.close()


def test_one_socket_over_two_replicas(front, model):
    """Which a proxy that gives each connection to one replica could not do; one of the two dies in the middle."""
    envs = RemoteSanaWMVectorEnv(2, front.url, **FAST)
    local = SanaWMVectorEnv(2, model, **FAST)
    assert {front.replica_of(each.id) for each in envs._remotes} == set(front.processes)
    same(envs.reset(seed=5), local.reset(seed=5))
    moves = np.random.default_rng(5).uniform(-1, 1, (3, 2, 6))
    for k, move in enumerate(moves):
        same(envs.step(move), local.step(move))
        if k == 0:
            front.processes[0].die()
    envs.close()


def test_http_goes_to_the_replica_of_the_session(front):
    status, body = get(front, "/api/sessions", "POST", body=json.dumps({"settings": FAST, "key": "a-key"}).encode())
    session = json.loads(body)["session"]
    assert status == 201
    again = get(front, "/api/sessions", "POST", body=json.dumps({"settings": FAST, "key": "a-key"}).encode())
    assert json.loads(again[1])["session"] == session
    assert json.loads(get(front, f"/api/sessions/{session}")[1])["n"] == 0
    assert session in {each["session"] for each in json.loads(get(front, "/api/sessions")[1])["sessions"]}
    assert get(front, "/api/sessions/snothing-like-it")[0] == 404
    assert get(front, "/api/sessions/..%2f..%2fetc%2fpasswd")[0] == 404
    assert get(front, "/api/gallery")[0] == 200 and json.loads(get(front, "/api/world")[1])["name"] == "tiny"
    assert get(front, "/api/world", token="another")[0] == 401
    assert get(front, "/api/images", "POST", body=b"no picture")[0] == 422
    assert get(front, f"/api/sessions/{session}", "DELETE")[0] == 200
    assert get(front, f"/api/sessions/{session}")[0] == 404


def test_health_and_numbers_of_all(front):
    status, body = get(front, "/healthz")
    facts = json.loads(body)
    assert status == 200 and facts["status"] == "ok" and [each["replica"] for each in facts["replicas"]] == [0, 1]
    text = get(front, "/metrics")[1].decode()
    assert 'sanawm_replicas{state="ready"} 2' in text
    assert text.count("# TYPE sanawm_steps_total counter") == 1
    assert 'sanawm_steps_total{replica="0"}' in text and 'sanawm_steps_total{replica="1"}' in text


def test_what_is_no_message(front):
    with socket_to(front) as socket:
        assert ask(socket, type="ping", id=3)["id"] == 3
        socket.send("{")
        assert wire.split(socket.recv(10))[0]["code"] == "malformed"
        assert ask(socket, type="step", session="snothing-like-it", id="x")["code"] == "unknown-session"
        assert ask(socket, type="nonsense", id=1)["code"] == "unknown-type"
        assert ask(socket, type="describe", session=3)["code"] == "malformed"
    with connect(front.url.split("/?")[0].replace("http:", "ws:") + "/ws?token=another") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd.code == 4401


def test_a_replica_that_dies(front, model):
    """The client is told by its socket, comes back, and asks again under the same number."""
    remote, local = (
        RemoteSanaWMEnv(front.url, task="PointNav", patience=60.0, **FAST),
        SanaWMEnv(model, task="PointNav", **FAST),
    )
    same(remote.reset(seed=3), local.reset(seed=3))
    moves = np.random.default_rng(0).uniform(-1, 1, (5, 6))
    same(remote.step(moves[0]), local.step(moves[0]))
    here, there = remote.snapshot(), local.snapshot()
    same(remote.step(moves[1]), local.step(moves[1]))
    dead, moved = front.name_of(remote._required.id), front.fleet.moved
    front.replica_of(remote._required.id).die()
    same(remote.step(moves[2]), local.step(moves[2]))
    assert front.name_of(remote._required.id) != dead  # another one, or the same one started again
    same(remote.restore(here), local.restore(there))
    same(remote.step(moves[3]), local.step(moves[3]))
    assert front.fleet.moved == moved + 1
    remote.close()


def test_a_raw_socket_is_told_to_come_back(front):
    with socket_to(front) as socket:
        session = ask(socket, type="create", settings=FAST)["session"]
        ask(socket, type="attach", session=session, client="me")
        first = ask(socket, type="reset", session=session, n=1, seed=4)
        step = ask(socket, type="step", session=session, n=2, action=[0, 0, 1, 0, 0, 0])
        front.replica_of(session).die()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(30)
        assert closed.value.rcvd.code == 1012
    with socket_to(front) as socket:
        assert ask(socket, type="attach", session=session, client="me")["n"] == 2
        again = ask(socket, type="step", session=session, n=2, action=[0, 0, 1, 0, 0, 0])
        np.testing.assert_array_equal(again["info"]["frames"], step["info"]["frames"])
        assert again["n"] == 2 and first["n"] == 1
        assert ask(socket, type="delete", session=session)["type"] == "done"


def test_no_replica_left(model, tmp_path):
    with fronted(model, tmp_path, count=1) as front:
        session = json.loads(get(front, "/api/sessions", "POST", body=b"{}")[1])["session"]
        front.processes[0].broken = "the model is gone"
        front.processes[0].die()
        status, body = get(front, f"/api/sessions/{session}")
        assert status == 503 and json.loads(body)["code"] == "unavailable"
        assert "the model is gone" in json.loads(body)["error"]
        status, body = get(front, "/healthz")
        assert status == 503 and json.loads(body)["status"] == "failed"
