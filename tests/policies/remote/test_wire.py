"""Messages: what goes in comes out, and nothing else gets in."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sanawm_env.policies.remote.wire import WireError, pack, unpack

NUMBERS = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64))
)


@given(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_come_back(array):
    back = unpack(pack({"observation/image": array, "prompt": "häuser", "more": [1, None, 2.5]}))
    assert back["prompt"] == "häuser" and back["more"] == [1, None, 2.5]
    found = back["observation/image"]
    assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()
    assert found.flags.writeable


def test_scalars_and_views():
    back = unpack(pack({"a": np.float32(0.1), "b": np.int64(-3), "c": np.bool_(True), "d": np.eye(3).T[::2]}))
    assert back["a"] == np.float32(0.1) and back["a"].dtype == np.float32
    assert back["b"] == -3 and back["c"] and np.array_equal(back["d"], np.eye(3)[::2])


@pytest.mark.parametrize("thing", [np.array([object()]), np.array(1j), np.array("a"), np.zeros(2, "f4,f4"), {1, 2}])
def test_what_cannot_be_sent(thing):
    with pytest.raises(WireError, match="cannot be sent"):
        pack({"actions": thing})


def array(dtype="<f4", shape=(1,), data=b"\0" * 4, **others):
    return {b"__ndarray__": True, b"dtype": dtype, b"shape": shape, b"data": data} | others


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (array(dtype="|O"), "dtype must be"),
        (array(dtype="O8"), "dtype must be"),
        (array(dtype="(1000000000,)f8"), "dtype must be"),
        (array(dtype="f4,O"), "dtype must be"),
        (array(dtype="<c8", data=b"\0" * 8), "dtype must be"),
        (array(dtype="nonsense"), "dtype must be"),
        (array(dtype=3), "dtype must be"),
        (array(shape=(2,)), "must fill its shape"),
        (array(shape=(2**62, 2**62)), "must fill its shape"),
        (array(shape=(-1, -1)), "list of lengths"),
        (array(shape=(True,)), "list of lengths"),
        (array(shape=4), "list of lengths"),
        (array(shape=(1,) * 40), "must fill its shape"),
        (array(data="text"), "must fill its shape"),
        ({b"__npgeneric__": True, b"dtype": "<f4", b"data": "1"}, "must be a number"),
        ({b"__npgeneric__": True, b"dtype": "|i1", b"data": 1000}, "no msgpack message"),
        ({b"__npgeneric__": True}, "dtype must be"),
    ],
)
def test_forged_arrays_are_refused(made, said):
    with pytest.raises(WireError, match=said):
        unpack(msgpack.packb({"actions": made}))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data):
    try:
        unpack(data)
    except WireError as error:
        assert "\n" not in str(error) and len(str(error)) < 400


def test_depth_and_length_are_bounded():
    for data in (b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b""):
        with pytest.raises(WireError):
            unpack(data)
