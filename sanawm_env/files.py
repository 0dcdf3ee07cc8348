"""Writing files: whole or not at all, readable text everywhere, and one folder for what may be made again."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FULL",
    "cache_folder",
    "check_writable",
    "replacing",
    "save_array",
    "save_tensors",
    "sync",
    "write_json",
    "write_text",
]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of an OSError: there is no room for what was to be written."""


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Write a file beside its destination, and move it there once it is whole.

    A killed process or a full disk leaves the old file as it was. To replace several files together, nest the
    contexts: none moves before the innermost body is done, and the outermost file moves last.

    Args:
        path: The destination; its folder is made if missing.
        durable: Wait until the file and its name are on the disk: after a power cut, too, it is there whole, and so is
            what was written so before it.

    Yields:
        An empty file of the same suffix in the same folder, to be written. It gets the permissions that a file made
        by `open` has (some libraries write 0600), and is removed if the body raises.

    Raises:
        OSError: The folder cannot be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = os.fstat(handle).st_mode & 0o777  # what the umask leaves, without touching the umask of other threads
    os.close(handle)
    try:
        yield temporary
        os.chmod(temporary, mode)
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except BaseException:
        with suppress(OSError):  # it must not take the place of what went wrong
            temporary.unlink()
        raise


def check_writable(path: str | Path, *, inside: bool = False) -> None:
    """Refuse a file or folder that could not be made, before anything costly begins; its parents need not exist.

    Args:
        path: What is to be made, or replaced.
        inside: Whether it is a folder that is there, and gets files.

    Raises:
        ValueError: The folder it would be made in is read-only, or a file.
    """
    place = Path(path).absolute() if inside else Path(path).absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise ValueError(f"{path} cannot be written: {place} is a file; choose another place.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"{path} cannot be written: {place} is read-only; choose another place.")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str, *, durable: bool = False) -> None:
    """Write a text file in UTF-8, whole or not at all; `durable` as in `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, *, durable: bool = False) -> None:
    """Write JSON, whole or not at all; `durable` as in `replacing`.

    Raises:
        ValueError: A number that JSON has no word for (NaN, infinity).
        TypeError: Something else that JSON cannot hold.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", durable=durable)


def save_array(path: str | Path, array: Any) -> None:
    """Write one array as `.npy`, whole or not at all."""
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        path: The destination.
        tensors: By name; copied to the CPU, and made contiguous and unshared, which safetensors insists on.
        metadata: Strings beside them.
    """
    from safetensors.torch import save_file

    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    seen: set[int] = set()
    for name, value in whole.items():
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            whole[name] = value.clone()
        seen.add(storage.data_ptr())
    with replacing(path) as temporary:
        save_file(whole, temporary, dict(metadata) if metadata is not None else None)


def cache_folder() -> Path:
    """Folder for what can be made again, such as text embeddings; `SANAWM_CACHE` names another one."""
    import platformdirs

    named = os.environ.get("SANAWM_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("sanawm_env", appauthor=False))
