"""Where and in what type to compute: devices of this machine, GPUs that are only named, and the precisions they run."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch

__all__ = [
    "PRECISIONS",
    "Device",
    "Precision",
    "as_device",
    "as_dtype",
    "check_window",
    "look_at",
    "proviso",
    "unsupported",
]

Precision = Literal["fp32", "bf16", "fp8", "nvfp4", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""The names that `WorldModel.load(precision=...)` takes; what each means: `accel.precision`."""

GENERATIONS = ("volta", "turing", "ampere", "ada", "hopper", "blackwell")
"""Of NVIDIA GPUs, oldest first."""
_HYPOTHETICAL = re.compile(r"cuda:(\d+(?:\.\d+)?)\s*(GB|GiB)(?::(\w+))?", re.IGNORECASE)
_NEEDS = {"bf16": "ampere", "fp8": "hopper", "nvfp4": "blackwell"}
_WHY = {"bf16": "bfloat16 products came with", "fp8": "block-scaled FP8 came with", "nvfp4": "NVFP4 came with"}


@dataclass(frozen=True)
class Device:
    """A place to compute."""

    kind: str
    """`cpu` or `cuda`."""
    label: str
    """For people."""
    memory: int | None
    """Bytes a plan may use: all of a GPU, of the CPU what is available now; None if unknown."""
    generation: str | None = None
    """One of `GENERATIONS`; None for a CPU, or when it is not known."""
    hypothetical: bool = False
    """Named, not present."""
    driver: str | None = None
    """Version of the NVIDIA driver, where it can be asked."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def as_device(device: str | torch.device) -> torch.device:
    """A usable device; `auto` is the first GPU, or the CPU.

    Raises:
        ValueError: No such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}; use 'auto', 'cpu', 'cuda' or 'cuda:1'.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {str(device)!r} is not available: torch sees no CUDA GPU; use 'cpu' or 'auto'.")
    return chosen


def as_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """A floating torch type from its name.

    Raises:
        ValueError: No floating type.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found is None and dtype is None:
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype must be a floating type such as 'float32' or 'bfloat16'; got {dtype!r}.")
    return found


def look_at(device: str) -> Device:
    """Describe a device.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:1`; or a GPU that need not be here, `cuda:80GB`, with its generation
            where that matters, `cuda:32GB:blackwell`.

    Raises:
        ValueError: No such device here, or no such form.
    """
    text = device.strip()
    if match := _HYPOTHETICAL.fullmatch(text):
        size, unit, generation = match.groups()
        if generation and generation.lower() not in GENERATIONS:
            raise ValueError(f"unknown GPU generation {generation!r}; use one of {', '.join(GENERATIONS)}.")
        memory = int(float(size) * (2**30 if unit.lower() == "gib" else 10**9))
        if not memory:
            raise ValueError(f"device {device!r} has no memory; write for instance cuda:80GB.")
        name = f"a {generation.lower()} GPU" if generation else "a GPU"
        return Device("cuda", f"{name} of {size} {unit}", memory, generation.lower() if generation else None, True)
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    if text == "cpu":
        return Device("cpu", "this machine's CPU", _available())
    if not re.fullmatch(r"cuda(:\d+)?", text):
        raise ValueError(
            f"unknown device {device!r}; use auto, cpu, cuda, cuda:1, or a GPU to plan for such as cuda:80GB "
            "or cuda:32GB:blackwell."
        )
    index = int(text.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} is not here: torch sees {torch.cuda.device_count()} CUDA GPUs; plan for one that is "
            "elsewhere by its memory, cuda:80GB."
        )
    facts = torch.cuda.get_device_properties(index)
    return Device("cuda", facts.name, facts.total_memory, _generation(facts.major, facts.minor), driver=_driver())


def check_window(needed: int, slots: int, device: torch.device) -> None:
    """Refuse a refiner's window for which there is no room.

    Args:
        needed: Bytes of all slots.
        slots: How many.
        device: Where; what torch holds there and does not use counts as free.

    Raises:
        MemoryError: Says what would fit.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free: int | None = torch.cuda.mem_get_info(device)[0] + held
    else:
        free = look_at("cpu").memory
    if free is not None and needed > free:
        raise MemoryError(
            f"the refiner's window needs {needed / 1e9:.3g} GB for {slots} slots, {free / 1e9:.3g} GB are free on "
            f"{device}; take a smaller one (refiner={{'kv_max_frames': 4}}), kv_dtype 'fp8', or fewer slots."
        )


def unsupported(precision: str, device: Device) -> str | None:
    """Why a precision does not run on a device; None if it does, or if the GPU's generation is not known."""
    needs = _NEEDS.get(precision)
    if device.kind == "cpu":
        return "it needs a CUDA GPU" if precision in ("fp8", "nvfp4") else None
    if needs is None or device.generation is None:
        return None
    if GENERATIONS.index(device.generation) >= GENERATIONS.index(needs):
        return None
    return f"{_WHY[precision]} {needs.capitalize()}"


def proviso(precision: str, device: Device) -> str | None:
    """What has to be true of a GPU of unknown generation for a precision to run; None if nothing."""
    needs = _NEEDS.get(precision)
    return f"{needs.capitalize()} or newer" if needs and device.kind == "cuda" and device.generation is None else None


def _generation(major: int, minor: int) -> str:
    """Generation of a compute capability; what is newer than Blackwell counts as Blackwell."""
    if major >= 10:
        return "blackwell"
    return {(9, 0): "hopper", (8, 9): "ada", (7, 5): "turing"}.get((major, minor), "ampere" if major == 8 else "volta")


def _driver() -> str | None:
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            found = re.search(r"(\d+\.\d+[\d.]*)", file.readline())
        return found[1] if found else None
    except OSError:
        return None


def _available() -> int | None:
    """Memory that this machine could still give."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, IndexError):
        return None
