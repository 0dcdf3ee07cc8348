import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sanawm_env.server import wire
from sanawm_env.server.web.pictures import codec

ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.float32, np.float64, np.int64, np.bool_]), hnp.array_shapes(min_dims=0, min_side=0)
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text() | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)


def equal(mine, theirs):
    if isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(equal(mine[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(equal, mine, theirs))
    if isinstance(theirs, np.ndarray):
        return mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
    return type(mine) is type(theirs) and (mine == theirs or mine != mine)


@given(st.dictionaries(st.text("xyz"), TREES, max_size=4))
def test_what_is_sent_is_what_arrives(tree):
    parts = []
    message = wire.frame(wire.encode(tree, parts), b"".join(parts))
    head, payload = wire.split(message)
    assert equal(wire.decode(head, payload), tree)


def test_the_last_frame_is_sent_once():
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 56, 3), dtype=np.uint8)
    tree, parts = {"info": {"frames": frames}, "image": frames[-1], "again": frames.copy()}, []
    head = wire.encode(tree, parts)
    assert sum(map(len, parts)) == frames.nbytes
    assert equal(wire.decode(head, b"".join(parts)), tree)


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_pictures(encoding):
    ramp = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    images, parts = np.stack([np.stack([ramp] * 3, -1)] * 2), []
    head = wire.encode({"frames": images}, parts, codec(encoding, 90), encoding)
    seen = wire.decode(head, b"".join(parts))["frames"]
    assert seen.shape == images.shape and np.abs(seen.astype(int) - images).max() <= (0 if encoding == "png" else 12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{",
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        "[" * 5000,
        '{"a": "\\ud800"}',
        '{"a":' * 3000 + "1" + "}" * 3000,
    ],
)
def test_what_is_no_message(text):
    with pytest.raises(wire.WireError):
        wire.read_json(text)
        raise AssertionError(json.loads(text))


@given(st.binary(max_size=64))
def test_any_bytes(data):
    try:
        head, _ = wire.split(data)
    except wire.WireError:
        return
    assert isinstance(head, dict)


@pytest.mark.parametrize(
    "broken",
    [
        {"$array": 0, "dtype": "<f4", "shape": [4], "at": [0, 400]},
        {"$array": 0, "dtype": "object", "shape": [1], "at": [0, 8]},
        {"$array": 0, "dtype": "<f4", "shape": [3], "at": [0, 8]},
        {"$last": 7},
        {"$images": 0, "format": "png", "shape": [1, 2, 2, 3], "at": [[0, 8]]},
        {"$number": "one"},
    ],
)
def test_arrays_that_are_not_there(broken):
    with pytest.raises(wire.WireError):
        wire.decode({"x": broken}, bytes(8))
