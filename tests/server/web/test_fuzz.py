"""Whatever a client sends: an answer to it alone, and its neighbour's session goes on."""

import json

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sanawm_env.server import wire
from sanawm_env.server.errors import CODES
from sanawm_env.server.protocol import MESSAGES
from tests.server.serving import TOKEN
from tests.server.web.test_app import Socket, begun

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["session", "n", "seed", "options", "action", "snapshot", "settings", "from", "count", "goal", "policy", "name",
     "twist", "keys", "frame", "encoding", "quality", "client", "control", "take", "key", "id", "snapshot_every"]
)  # fmt: skip
FIELDS = st.dictionaries(NAMES, JSON, max_size=5)
LIKE = st.builds(
    lambda kind, fields, own: {"type": kind, **({"session": None} if own else {}), **fields},
    st.sampled_from(sorted(MESSAGES)),
    FIELDS,
    st.booleans(),
)
"""Nearly right: a known type, known fields, any values; `session: None` stands for the fuzzer's own."""


@pytest.fixture(scope="module")
def pair(server):
    """A socket to misuse with a session of its own, and a neighbour."""
    fuzzed, neighbour = Socket(server.socket_url), Socket(server.socket_url)
    yield fuzzed, begun(fuzzed), neighbour, begun(neighbour)
    fuzzed.close(), neighbour.close()


def settled(socket):
    """All that was sent is answered: whatever it was, it ended in this ping's pong."""
    socket.socket.send(json.dumps({"type": "ping", "id": "settled"}))
    answers = []
    while True:
        head, _ = wire.split(socket.socket.recv(60))
        if head.get("id") == "settled":
            return answers
        answers.append(head)


def check(answers):
    for head in answers:
        if head["type"] == "error":
            assert head["code"] in CODES and head["code"] != "failed", head
            assert "Traceback" not in head["error"] and "sanawm_env/" not in head["error"], head


RELAXED = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@RELAXED
@given(st.one_of(LIKE, LIKE, st.dictionaries(st.text(max_size=6), JSON, max_size=4)))
def test_messages_that_are_nearly_right(pair, message):
    fuzzed, session, _, _ = pair
    if "session" in message and message["session"] is None:
        message = message | {"session": session}
    if message.get("type") in ("delete", "detach", "fork", "create"):
        message = message | {"unknown": 1}  # the fuzzer's session is needed, and others would fill the server
    fuzzed.socket.send(json.dumps(message))
    check(settled(fuzzed))


@RELAXED
@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=100), st.builds(wire.frame, st.just({}), st.binary(max_size=99))
    )
)
def test_bytes_that_are_no_messages(pair, data):
    fuzzed = pair[0]
    fuzzed.socket.send(data)
    answers = settled(fuzzed)
    assert answers and answers[0]["type"] == "error"
    check(answers)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    st.sampled_from(
        ["/api/sessions", "/api/sessions/{}", "/api/sessions/{}/snapshots", "/api/images", "/api/gallery/{}.jpg", "/{}"]
    ),
    st.text(st.characters(codec="ascii", exclude_characters="{}"), min_size=1, max_size=12),
    st.binary(max_size=64),
)
def test_requests(server, method, path, name, body):
    base = server.url.split("?")[0][:-1]
    from urllib.parse import quote

    url = base + path.replace("{}", quote(name, safe=""))
    answer = httpx.request(method, url, content=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    assert answer.status_code < 500 and "Traceback" not in answer.text


def test_the_neighbour_was_not_disturbed(pair):
    """Runs last: its session did one thing since it was begun, and does the next."""
    _, _, neighbour, session = pair
    answer, payload = neighbour.ask(type="step", session=session, n=2, action=[0] * 6)
    assert answer["type"] == "result" and not neighbour.events
    assert np.isfinite(wire.decode(answer, payload)["info"]["c2w"]).all()
