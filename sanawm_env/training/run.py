"""`sanawm train KIND`: dataclass configs, JSON files and command-line overrides."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, TypeVar

import tyro

from sanawm_env.training.stages.average import AverageConfig, average_checkpoints
from sanawm_env.training.stages.decoder import DecoderTrainConfig, train_decoder
from sanawm_env.training.stages.depth import DepthTrainConfig, train_depth
from sanawm_env.training.stages.few_step import DistillConfig, train_distill
from sanawm_env.training.stages.lora import LoraTrainConfig, train_lora
from sanawm_env.training.stages.vae import VAETrainConfig, train_vae
from sanawm_env.training.stages.world import WorldTrainConfig, train_world

RECIPES = Path(__file__).parent / "recipes"
"""Settings of the built-in world's stages."""

ConfigT = TypeVar("ConfigT")


def with_values(default: ConfigT, values: dict[str, Any]) -> ConfigT:
    """A copy of a (nested) config dataclass with some fields set from plain values.

    Raises:
        ValueError: An unknown key, named with the place where it stands.
    """
    fields = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"Unknown keys {unknown} for {type(default).__name__}; known: {sorted(fields)}.")
    for name, value in values.items():
        current = fields[name]
        if dataclasses.is_dataclass(current) and isinstance(value, dict):
            value = with_values(current, value)
        elif isinstance(current, Path):
            value = Path(value)
        elif isinstance(current, tuple):
            value = tuple(value)
        fields[name] = value
    return type(default)(**fields)


def recipe(name: str) -> Path:
    """Path of a settings file, or of a recipe of this package by its name, for instance `tiny-3-walks`."""
    built_in = RECIPES / name.partition("-")[0] / f"{name}.json"
    return built_in if built_in.exists() and not Path(name).exists() else Path(name)


def main(argv: list[str] | None = None) -> None:
    """Run `sanawm train`; the first word is the kind of `usage`; `--config` takes a JSON file or a recipe."""
    argv = list(sys.argv[1:] if argv is None else argv)
    kinds: dict[str, tuple[type, Any]] = {
        "vae": (VAETrainConfig, train_vae),
        "depth": (DepthTrainConfig, train_depth),
        "world": (WorldTrainConfig, train_world),
        "decoder": (DecoderTrainConfig, train_decoder),
        "distill": (DistillConfig, train_distill),
        "average": (AverageConfig, average_checkpoints),
        "lora": (LoraTrainConfig, train_lora),
    }
    if not argv or argv[0] not in kinds:
        raise SystemExit(
            f"usage: sanawm train {{{','.join(kinds)}}} [--config FILE|RECIPE] [options]; --help lists them"
        )
    kind, run = kinds[argv.pop(0)]
    default = kind()
    if "--config" in argv:
        at = argv.index("--config")
        if at + 1 >= len(argv):
            raise SystemExit("--config needs a JSON file")
        path = recipe(argv[at + 1])
        del argv[at : at + 2]
        try:
            default = with_values(default, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise SystemExit(f"{path}: {error}") from error
    run(tyro.cli(kind, default=default, args=argv))


if __name__ == "__main__":
    main()
