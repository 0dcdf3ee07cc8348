"""Between Gymnasium's values and those of the protocol: spaces, settings, reset options, pictures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["RemoteSnapshot", "plain", "read_space", "sent_options", "sent_picture"]


@dataclass(frozen=True)
class RemoteSnapshot:
    """A moment that the server holds; it stays valid until its session ends or it is forgotten."""

    session: str
    snapshot: str
    frame_index: int
    """Frames since frame 0."""
    time: float
    """World time since frame 0, seconds."""
    nbytes: int
    """Bytes of the world's state, on the server."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> RemoteSnapshot:
        """From the server's answer."""
        return cls(answer["session"], answer["snapshot"], answer["frame_index"], answer["time"], answer["bytes"])


def read_space(value: Mapping[str, Any]) -> spaces.Space[Any]:
    """The space that a session's description tells."""
    if "dict" in value:
        return spaces.Dict({name: read_space(each) for name, each in value["dict"].items()})
    if "multi_binary" in value:
        return spaces.MultiBinary(value["multi_binary"][0])
    box = value["box"]
    dtype = np.dtype(box["dtype"])
    return spaces.Box(box["low"], box["high"], tuple(box["shape"]), dtype.type)


def plain(value: Any) -> Any:
    """A setting as JSON has it.

    Raises:
        TypeError: It has no such form.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if hasattr(value, "to_dict"):  # a task, a key map
        return plain(value.to_dict())
    if is_dataclass(value) and not isinstance(value, type):  # a sensor, a body
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    raise TypeError(f"a {type(value).__name__} cannot be sent to the server.")


def sent_options(options: dict[str, Any], upload: Callable[[bytes], str]) -> dict[str, Any]:
    """Reset options as the protocol has them; pictures are uploaded.

    Raises:
        ValueError: A state that is no handle of this server.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if "image" in given:
        given["image"] = upload(sent_picture(given["image"]))
    if "state" in given:
        state = given["state"]
        if not isinstance(state, RemoteSnapshot):
            raise ValueError(
                f"a state is a RemoteSnapshot of snapshot(); got {type(state).__name__}; open_world() takes files."
            )
        given["state"] = {"snapshot": state.snapshot, "session": state.session}
    return {key: plain(value) for key, value in given.items()}


def sent_picture(image: Any) -> bytes:
    """A picture's bytes: of a file as they are, of an array or a PIL image as PNG.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No picture.
    """
    if isinstance(image, str | Path):
        if not Path(image).is_file():
            raise FileNotFoundError(f"no image file {image}; check the path.")
        return Path(image).read_bytes()
    if hasattr(image, "convert"):  # PIL, which need not be installed
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(
            "image must be a path, a PIL image, or a uint8 RGB array of shape (H, W, 3); "
            f"got {pixels.dtype} of shape {pixels.shape}."
        )
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + width * 3), np.uint8)  # each row begins with its filter, 0
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
