"""Messages as bytes: a JSON head and a payload, with NumPy arrays described in the head.

Both ends use it, so it needs NumPy alone. Nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bytes", "ImageCodec", "WireError", "decode", "encode", "frame", "read_json", "split"]

ImageCodec = Callable[[NDArray[np.uint8]], bytes]
"""From one RGB image `(H, W, 3)` to a file's bytes."""

_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_KINDS = "biuf"
_LARGEST_HEAD = 1 << 20


class WireError(ValueError):
    """Bytes that are no message of the protocol."""


Bytes = bytes | memoryview


def frame(head: dict[str, Any], payload: Bytes | Sequence[Bytes] = b"") -> bytes:
    """One binary message: 4 bytes of head length (big endian), the head as JSON, the payload or its parts."""
    text = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    parts = [payload] if isinstance(payload, bytes | memoryview) else payload
    return b"".join((len(text).to_bytes(4, "big"), text, *parts))


def split(message: bytes) -> tuple[dict[str, Any], memoryview]:
    """Inverse of `frame`; the payload is a view.

    Raises:
        WireError: The lengths do not fit, or the head is no JSON object.
    """
    length = int.from_bytes(message[:4], "big")
    if len(message) < 4 or length > min(len(message) - 4, _LARGEST_HEAD):
        raise WireError("a binary message is 4 bytes of head length, a JSON head of that length, and a payload.")
    return read_json(message[4 : 4 + length]), memoryview(message)[4 + length :]


def read_json(text: str | bytes) -> dict[str, Any]:
    """A JSON object as every parser reads it: no NaN, no repeated names, no unpaired surrogates.

    Raises:
        WireError: Says what is wrong.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise WireError("the JSON is nested too deeply.") from None
    except ValueError as error:
        raise WireError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise WireError(f"a message is a JSON object; got {type(value).__name__}.")
    return value


# -- arrays ---------------------------------------------------------------------------------------------------


def encode(value: Any, payload: list[Bytes], image: ImageCodec | None = None, image_format: str = "png") -> Any:
    """A tree of dictionaries, lists, numbers, texts and arrays, ready for JSON.

    Args:
        value: The tree.
        payload: Receives the bytes, for `frame`; views of contiguous arrays, which must not change before that.
        image: How arrays that are images, `(..., H, W, 3)` uint8, are written; None writes all arrays raw.
        image_format: Its name.
    """
    return _Encoder(payload, image, image_format).walk(value)


class _Encoder:
    def __init__(self, payload: list[Bytes], image: ImageCodec | None, image_format: str) -> None:
        self._payload, self._image, self._format = payload, image, image_format
        self._offset = sum(map(len, payload))
        self._known: list[NDArray[Any]] = []

    def walk(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return {"$number": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
        if isinstance(value, dict):
            return {str(key): self.walk(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.walk(each) for each in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{type(value).__name__} has no form on the wire.")

    def _array(self, array: NDArray[Any]) -> dict[str, Any]:
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"arrays of {array.dtype} have no form on the wire.")
        for k, other in enumerate(self._known):  # the last frame is observation and info at once
            if array.dtype != other.dtype:
                continue
            if array.shape == other.shape and np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
                return {"$same": k}
            if other.ndim > 1 and len(other) and array.shape == other.shape[1:] and array.dtype == np.uint8:
                if np.array_equal(array, other[-1]):
                    return {"$last": k}
        number = len(self._known)
        self._known.append(array)
        if self._image is not None and array.dtype == np.uint8 and array.ndim >= 3 and array.shape[-1] == 3:
            images = array.reshape(-1, *array.shape[-3:])
            places = [self._put(self._image(one)) for one in images]
            return {"$images": number, "format": self._format, "shape": list(array.shape), "at": places}
        plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
        place = self._put(plain.data.cast("B") if plain.size and plain.flags.c_contiguous else plain.tobytes())
        return {"$array": number, "dtype": plain.dtype.str, "shape": list(array.shape), "at": place}

    def _put(self, data: Bytes) -> list[int]:
        place = [self._offset, len(data)]
        self._payload.append(data)
        self._offset += len(data)
        return place


def decode(value: Any, payload: bytes | memoryview) -> Any:
    """Inverse of `encode`: arrays in memory of their own.

    Raises:
        WireError: The head describes what the payload does not hold.
    """
    return _Decoder(memoryview(payload)).walk(value)


class _Decoder:
    def __init__(self, payload: memoryview) -> None:
        self._payload = payload
        self._known: dict[int, NDArray[Any]] = {}

    def walk(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.walk(each) for each in value]
        if not isinstance(value, dict):
            return value
        try:
            if "$number" in value:
                return _NUMBERS[value["$number"]]
            if "$same" in value:
                return self._known[value["$same"]].copy()
            if "$last" in value:
                return self._known[value["$last"]][-1].copy()
            if "$array" in value:
                return self._keep(value["$array"], self._raw(value))
            if "$images" in value:
                return self._keep(value["$images"], self._pictures(value))
        except (KeyError, TypeError, ValueError, IndexError, OSError, SyntaxError) as error:
            raise WireError(f"a broken description of an array ({error}).") from None
        return {key: self.walk(each) for key, each in value.items()}

    def _keep(self, number: int, array: NDArray[Any]) -> NDArray[Any]:
        self._known[number] = array
        return array

    def _bytes(self, place: list[int]) -> memoryview:
        offset, length = place
        if not 0 <= offset <= offset + length <= len(self._payload):
            raise WireError("an array lies outside the payload.")
        return self._payload[offset : offset + length]

    def _raw(self, value: dict[str, Any]) -> NDArray[Any]:
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in _KINDS:
            raise WireError(f"arrays of {dtype} are not sent.")
        array = np.frombuffer(self._bytes(value["at"]), dtype).reshape(value["shape"])
        return array.astype(dtype.newbyteorder("="))

    def _pictures(self, value: dict[str, Any]) -> NDArray[np.uint8]:
        import io

        from PIL import Image

        images = []
        for place in value["at"]:
            with Image.open(io.BytesIO(self._bytes(place)), formats=[value["format"].upper()]) as picture:
                images.append(np.asarray(picture.convert("RGB")))
        return np.stack(images).reshape(value["shape"])


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice in one object")
    return found
