import re
from dataclasses import fields

import pytest

from sanawm_env.server.errors import ServerError
from sanawm_env.server.reading import read_message


def test_fields_have_their_names_on_the_wire():
    message = read_message({"type": "restore", "session": "a", "snapshot": "b", "from": "c", "n": 3, "id": "x"})
    assert (message.source, message.n, message.id) == ("c", 3, "x")
    assert {field.name for field in fields(message)} == {"id", "session", "n", "snapshot", "source"}


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({}, "type is one of"),
        ({"type": 3}, "type is one of"),
        ({"type": "ping", "x": 1}, "no field 'x'"),
        ({"type": "ping", "id": 1.5}, "'id' must be a whole number or a text or null"),
        ({"type": "ping", "id": "x" * 65}, "'id'"),
        ({"type": "step", "session": "a"}, "needs 'action'"),
        ({"type": "step", "action": []}, "needs 'session'"),
        ({"type": "step", "session": "a", "action": {}}, "'action' must be a list"),
        ({"type": "step", "session": "a", "action": [], "n": True}, "'n' must be"),
        ({"type": "reset", "session": "a", "seed": 2**64}, "'seed'"),
        ({"type": "reset", "session": None}, "'session' must be a text"),
        ({"type": "attach", "session": "a", "encoding": "gif"}, "raw, png or jpeg"),
        ({"type": "attach", "session": "a", "quality": 0}, "1..100"),
        ({"type": "play", "session": "a", "snapshot_every": float("inf")}, "finite"),
        ({"type": "control", "session": "a"}, "either a twist or keys"),
        ({"type": "control", "session": "a", "twist": [0, 0, 0, 0, 0, "1"]}, "six finite numbers"),
        ({"type": "control", "session": "a", "keys": [1]}, "list of names"),
        ({"type": "view", "session": "a" * 5000}, "'session'"),
    ],
)
def test_what_is_refused(head, words):
    with pytest.raises(ServerError, match=re.escape(words) if "'" in words else words):
        read_message(head)
