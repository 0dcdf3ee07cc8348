"""Tensors of a weights file, seen through a memory map and without running anything that the file says.

Nothing is copied here: a tensor's bytes are read from disk when somebody copies it, so a 32 GB training state
costs no more memory than the tensors that are taken from it.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["read_json", "read_safetensors", "read_torch", "safetensors_files"]

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def safetensors_files(path: Path) -> list[Path]:
    """The files behind a `.safetensors` file (itself) or a `.safetensors.index.json` (its shards).

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: An index without a map of shards, or one that names files outside its folder.
    """
    files = [path]
    if path.name.endswith(".index.json"):
        shards = read_json(path).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
            raise ValueError(f"{path} has no weight_map; download it again.")
        names = sorted(set(shards.values()))
        if outside := [name for name in names if Path(name).name != name]:
            raise ValueError(f"{path} names a file outside its folder ({outside[0]!r}) and was refused.")
        files = [path.with_name(name) for name in names]
    for file in files:
        _check_present(file)
    return files


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Open a `.safetensors` file, or a sharded one by its index.

    Returns:
        Views into the files, by name.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Truncated, of another kind, a bad index, or two shards with the same tensor.
    """
    state: dict[str, Tensor] = {}
    for file in safetensors_files(path):
        found = _read_one(file)
        if twice := sorted(found.keys() & state.keys()):
            raise ValueError(f"{path}: two shards hold {twice[0]!r}; download them again.")
        state |= found
    return state


def read_torch(path: Path) -> dict[str, Tensor]:
    """Open the streaming release's training state and take its generator.

    Read with `weights_only=True`: the file may name tensors and plain containers and nothing else. Upstream
    takes `generator`, then an optional `state_dict` inside; a bare state dict is accepted too.

    Returns:
        Views into the file, by name as stored.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: Truncated, of another kind, anything that wants to run code, or no generator in it.
    """
    _check_present(path)
    if not zipfile.is_zipfile(path):
        magic = _magic(path)
        what = "an old pickle, which is never opened" if magic.startswith(_PICKLE) else "no whole torch.save file"
        raise ValueError(f"{path} is {what}; it is truncated or of another kind: download it again.")
    try:
        content: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise ValueError(f"{path} cannot be unpickled; it is damaged: download it again.") from None
        raise ValueError(
            f"{path} asks for {asked[1]}, which is no tensor; it was refused and nothing in it was run: "
            "use the release's own file."
        ) from None
    except Exception as error:  # a broken archive fails in many ways, all of which mean this
        raise ValueError(f"{path} cannot be read ({_line(error)}); it is damaged: download it again.") from None
    for name in ("generator", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content or not all(map(_is_weight, content.values())):
        held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"{path} has no 'generator' of named tensors; it holds {held or 'nothing'}: "
            "use the release's sana_dit/model.pt."
        )
    return {str(name): value.detach() for name, value in content.items()}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: Not JSON, or not an object.
    """
    _check_present(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({_line(error)}); download it again.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no JSON object; download it again.")
    return values


def _read_one(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if _magic(path).startswith((_ZIP, _PICKLE)):
            raise ValueError(
                f"{path} is a pickle in spite of its name and was not opened; download the release's own file."
            ) from None
        raise ValueError(
            f"{path} is not a whole safetensors file ({_line(error)}); it is truncated or of another kind: "
            "download it again."
        ) from None


def _check_present(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the download is not complete: start it again.")


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _line(error: Exception) -> str:
    """First line of a message, without its full stop; the type if there is no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")[:200]
