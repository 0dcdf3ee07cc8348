"""Training: clips per second of `small` by batch, then the recipe `base` for as long as the hour lasts.

`base` is trained in slices, each a part of its own, in one run folder: an hour that is cut short keeps what it learned.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.speed.gpu.stages import Part, Settings

SLICE = 6.0
"""Minutes of one part of `base`."""
PIECE = 15 * 2**20
"""Bytes of a piece of its weights: what can be carried away may be limited."""


def parts(settings: Settings) -> Iterator[Part]:
    """Throughput, then `base`: VAE, clips, walks, and its weights in pieces."""
    for method, batches in (("clips", (8, 64, 256)), ("walks", (4, 32, 128))):
        for batch in (2,) if settings.small else batches:
            yield Part(f"small-{method}-{batch}", lambda m=method, b=batch: throughput(settings, m, b))  # type: ignore[misc]
    if not settings.base_minutes:
        return
    first = min(3.0, settings.base_minutes / 6)
    yield Part("base-1-vae", lambda: base(settings, "base-1-vae", first, last=True), first + 1)
    left = settings.base_minutes * 5 / 6
    for name, minutes in (("base-2-clips", 0.6 * left), ("base-3-walks", 0.4 * left)):
        count = max(1, round(minutes / SLICE))
        for index in range(count):
            args = (settings, name, minutes / count)
            work = lambda a=args, final=index + 1 == count: base(*a, last=final)  # noqa: E731
            yield Part(f"{name}-{index}", work, minutes / count + 1)
    yield Part("base-4-pieces", lambda: pieces(settings))


def throughput(settings: Settings, method: str, batch: int) -> dict[str, Any]:
    """Clips (with walks: segments) per second of `small`, anchored as it is, rendering and coding included."""
    from sanawm_env.training.stages.world import train_world

    config = load("tiny-2-clips" if settings.small else "small-5-anchor", settings, f"{method}-{batch}")
    config = replace(config, init="tiny" if settings.small else "small", method=method, clip_share=0.0, batch=batch)
    if settings.small:
        config = toy(config)
    else:
        pool, latents = (8192, 10) if method == "clips" else (512, 64)
        config = replace(config, data=replace(config.data, pool=pool, clip_latents=latents))
    train(train_world, replace(config, minutes=0.02 if settings.small else 0.75))
    progress = json.loads((config.out / "progress.json").read_text(encoding="utf-8"))
    seconds = 60 * progress["minutes"]
    return {"clips_per_s": round(progress["clips"] / seconds, 2), "steps": progress["step"], "seconds": seconds}


def base(settings: Settings, recipe: str, minutes: float, *, last: bool) -> dict[str, Any]:
    """Train a stage of `base` for some more minutes; only the last slice lets the learning rate fall."""
    from sanawm_env.training.stages.vae import train_vae
    from sanawm_env.training.stages.world import train_world

    vae = recipe.endswith("vae")
    config = load(recipe, settings, recipe)
    if settings.small:
        minutes = 0.02
        config = replace(config, fit_clips=16, batch=2, height=64, width=96) if vae else toy(config)
        if not vae:
            config = replace(config, model=replace(config.model, depth=2, hidden_size=96))
    if not last and not vae:
        config = replace(config, decay_share=0.01)
    train(train_vae if vae else train_world, replace(config, minutes=minutes))
    found = {"run": str(config.out)}
    for name in ("gains.jsonl", "log.jsonl"):
        path = config.out / name
        if path.exists() and (lines := path.read_text(encoding="utf-8").splitlines()):
            found[name] = json.loads(lines[-1])
    return found


def toy(config: Any) -> Any:
    """A world's training at a size that a CPU does in seconds."""
    from sanawm_env.training import sheets

    sheets.SHEET_SEEDS = sheets.SHEET_SEEDS[:6]
    data = replace(config.data, height=64, width=96, pool=32, clip_latents=4)
    return replace(config, batch=2, latents=3, data=data, walks=replace(config.walks, segment=3, longest=3))


def train(run: Callable[[Any], Any], config: Any) -> None:
    """Train; where the renderer does not compile here, without that."""
    try:
        run(config)
    except Exception:
        if not config.compile_renderer:
            raise
        traceback.print_exc()
        run(replace(config, compile_renderer=False))


def pieces(settings: Settings) -> dict[str, Any]:
    """The trained world's files in pieces of at most `PIECE` bytes, its weights in bfloat16; `cat` joins them."""
    import torch
    from safetensors.torch import load_file, save

    source, target = settings.out / "runs" / "base-3-walks" / "checkpoint", settings.out / "base"
    target.mkdir(parents=True, exist_ok=True)
    written = {}
    for path in sorted(path for path in source.iterdir() if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".safetensors" and path.name.startswith("model"):
            tensors = {name: value.to(torch.bfloat16) for name, value in load_file(path).items()}
            data = save(tensors)
        for index in range(0, max(len(data), 1), PIECE):
            name = f"{path.name}.{index // PIECE:02d}"
            (target / name).write_bytes(data[index : index + PIECE])
            written[name] = len(data[index : index + PIECE])
    return {"folder": str(target), "bytes": written}


def load(recipe: str, settings: Settings, run: str) -> Any:
    """A recipe's config for this machine, every folder of it inside the hour's own."""
    from sanawm_env.training import run as training
    from sanawm_env.training.stages.vae import VAETrainConfig
    from sanawm_env.training.stages.world import WorldTrainConfig

    values = json.loads(training.recipe(recipe).read_text(encoding="utf-8"))
    runs = settings.out / "runs"
    kind: Any = VAETrainConfig() if recipe.endswith("vae") else WorldTrainConfig()
    config = training.with_values(kind, values)
    changes: dict[str, Any] = {"out": runs / run, "device": settings.device}
    if recipe != "base-1-vae":
        changes["save_every"] = 1e9  # at the end of a call only
    if recipe.startswith("base") and recipe != "base-1-vae":
        changes["vae"] = runs / "base-1-vae"
        if config.init:
            changes["init"] = str(runs / Path(config.init).parent.name / "checkpoint")
    if settings.small:
        changes["compile_renderer"] = False
    return replace(config, **changes)
