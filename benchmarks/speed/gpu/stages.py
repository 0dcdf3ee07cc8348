"""Which stages a GPU hour has, in the order in which they run, and what each imports beside torch and the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Part(NamedTuple):
    """A piece of a stage."""

    name: str
    """Unique in its stage."""
    work: Callable[[], dict[str, Any]]
    """Its answer is JSON-ready."""
    minutes: float = 1.0
    """About how long it takes; it does not begin where less is left."""


@dataclass(frozen=True)
class Settings:
    """What all stages are told."""

    size: Literal["release", "small"]
    """`release`: true sizes. `small`: the same code on toys; its figures mean nothing."""
    device: str
    """`cuda` or `cpu`."""
    out: Path
    """Folder of the run."""
    base_minutes: float = 0.0
    """Minutes that the recipe `base` trains in all; 0 trains it not at all."""
    stage_minutes: float = 9.0
    """When the process is ended."""

    @property
    def small(self) -> bool:
        """Whether this is only a rehearsal."""
        return self.size == "small"


@dataclass(frozen=True)
class Stage:
    """A part of the hour that runs in a process of its own."""

    name: str
    """Also of its module in `benchmarks.speed.gpu`, and of its folder of results."""
    about: str
    """One line."""
    imports: tuple[str, ...] = ()
    """Distributions that it needs beside the package's own dependencies."""
    optional: tuple[str, ...] = ()
    """Without these some of its parts say that they could not run."""

    def parts(self, settings: Settings) -> Iterator[Part]:
        """Its parts, in order."""
        return import_module(f"benchmarks.speed.gpu.{self.name}").parts(settings)


STAGES = (
    Stage("gpu_tests", "the tests that need a GPU", ("pytest", "hypothesis"), ("triton", "fla-core")),
    Stage("ways", "stage 1 and VAE at true size: ways to run, 1 to 8 slots", ("diffusers",), ("triton", "fla-core")),
    Stage("worlds", "the built-in worlds: frames per second for 1 to 256 slots"),
    Stage("lower", "8 and 4 bits: error and speed", ("torchao",), ("mslk",)),
    Stage("refiner", "stage 2 at true size", ("diffusers",)),
    Stage("states", "states in 8 bits: bytes, error and speed", ("diffusers",)),
    Stage("training", "training throughput of `small`, then the recipe `base`"),
)
