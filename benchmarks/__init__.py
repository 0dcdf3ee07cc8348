"""Measurements of the product; each is a script that prints one JSON line."""

from __future__ import annotations

import inspect
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

Args = TypeVar("Args")


def print_line(
    measure: Callable[[Args], dict[str, Any]],
    arguments: type[Args],
    description: str | None,
    argv: Sequence[str] | None,
    errors: tuple[type[Exception], ...] = (ValueError, OSError),
) -> None:
    """Read a script's arguments, measure, and print the result as one JSON line.

    What is among `errors` is said in one line, in the name of the file that measures, with exit code 2.
    """
    import tyro

    try:
        result = measure(tyro.cli(arguments, description=description, args=argv))
    except errors as error:
        print(f"{Path(inspect.getfile(measure)).stem}: error: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(result, allow_nan=False))


def hardware(threads: int) -> dict[str, Any]:
    """Processor, its cores, the threads that torch uses, and how busy the machine was."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpu": name, "cores": os.cpu_count(), "threads": threads, "load_1min": round(os.getloadavg()[0], 2)}
