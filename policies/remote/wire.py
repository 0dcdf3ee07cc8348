"""Messages of openpi's policy protocol: msgpack, with NumPy arrays as maps of bytes, dtype and shape.

An array is `{b"__ndarray__": True, b"data": bytes, b"dtype": str, b"shape": [...]}`, a NumPy scalar
`{b"__npgeneric__": True, b"data": number, b"dtype": str}` (openpi-client 0.1.2, `msgpack_numpy`). Nothing is ever
unpickled: only booleans and real numbers are arrays here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["WireError", "need_libraries", "pack", "unpack"]

_KINDS = "biuf"
_MOST_AXES = 32


class WireError(ValueError):
    """Bytes that are no message, or a value that cannot be sent."""


def need_libraries() -> None:
    """See whether the extra is there.

    Raises:
        ValueError: msgpack or websockets is missing; says what to install.
    """
    try:
        import msgpack  # noqa: F401
        import websockets  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("msgpack", "websockets"):
            raise
        raise ValueError(f'remote policies need {error.name}; pip install "sanawm_env[remote]".') from None


def pack(message: Any) -> bytes:
    """One message.

    Args:
        message: Dictionaries, lists, strings, bytes, numbers and NumPy arrays of booleans or real numbers.

    Raises:
        WireError: Something else is in it.
    """
    import msgpack

    try:
        packed: bytes = msgpack.packb(message, default=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot be sent: {error}") from None
    return packed


def unpack(data: bytes) -> Any:
    """Read one message; arrays are copies that can be written to.

    Raises:
        WireError: It is none, or holds an array of other things than numbers.
    """
    import msgpack

    try:
        return msgpack.unpackb(data, object_hook=_array)
    except WireError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        said = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise WireError(f"no msgpack message: {said}") from None


def _plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"a {type(value).__name__} has no place in a message")
    if value.dtype.kind not in _KINDS:
        raise TypeError(f"arrays hold booleans or real numbers, not {value.dtype}")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def _array(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" not in found and b"__npgeneric__" not in found:
        return found
    dtype, data = _dtype(found.get(b"dtype")), found.get(b"data")
    if b"__npgeneric__" in found:
        if not isinstance(data, bool | int | float):
            raise WireError(f"a scalar's data must be a number; got {type(data).__name__}")
        return dtype.type(data)
    shape = found.get(b"shape")
    if not isinstance(shape, list | tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise WireError("an array's shape must be a list of lengths")
    if len(shape) > _MOST_AXES or not isinstance(data, bytes) or math.prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"an array's bytes must fill its shape {list(shape[:_MOST_AXES])} of {dtype}")
    return np.ndarray(tuple(shape), dtype, buffer=data).copy()


def _dtype(text: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(text) if isinstance(text, str) else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in _KINDS:
        raise WireError(f"an array's dtype must be one of booleans or real numbers; got {str(text)[:40]!r}")
    return dtype
