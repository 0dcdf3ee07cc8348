"""Reading the files of a bench, with errors that say which one to fix."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["BenchError", "read_json", "read_lines", "read_npz", "read_png"]


class BenchError(ValueError):
    """A bench that cannot be used; names the file and the fix."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise BenchError(f"{path} is missing; finish the download, or run the command that makes the bench.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read ({error}); fetch or make it again.") from None


def read_json(path: Path) -> Any:
    """A JSON file."""
    text = "\n".join(read_lines(path))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BenchError(f"{path} is not whole JSON ({error}); fetch or make it again.") from None


def read_npz(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an npz file, as stored; nothing is ever unpickled."""
    try:
        with np.load(path, allow_pickle=False) as data:
            absent = [name for name in names if name not in data.files]
            if absent:
                raise BenchError(f"{path} lacks {', '.join(absent)}; it has {', '.join(data.files) or 'nothing'}.")
            return {name: data[name] for name in names}
    except FileNotFoundError:
        raise BenchError(f"{path} is missing; finish the download, or drop its scene from the manifest.") from None
    except BenchError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BenchError(f"{path} is not a whole .npz file ({error}); fetch or make it again.") from None


def read_png(path: Path) -> tuple[int, int]:
    """Width and height of an image that decodes to its last row."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.size
    except FileNotFoundError:
        raise BenchError(f"{path} is missing; finish the download, or drop its scene from the bench.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BenchError(f"{path} is not a whole image ({error}); fetch or make it again.") from None
