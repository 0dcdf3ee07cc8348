"""The outer loop of every training stage: a wall-clock budget, a progress bar, a log, regular saves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sanawm_env.training.parallel import join
from sanawm_env.training.store import appending

Step = Callable[[float], tuple[dict[str, float], float]]
"""Takes the minutes gone by; returns numbers to log (with `loss` among them) and the minutes afterwards, both
averaged over all processes so that these stop together."""


def train_for(
    minutes: float,
    step: Step,
    save: Callable[[float], None],
    *,
    out: Path,
    progress: dict[str, Any],
    clips_per_step: int,
    save_every: float,
) -> None:
    """Call `step` until the budget is spent.

    Args:
        minutes: Wall-clock budget of this call.
        step: One training step.
        save: Called with the minutes of this call, every `save_every` minutes and at the end; first process only.
        out: Run folder; `log.jsonl` is appended to.
        progress: `step` and `clips` are counted up; `minutes` holds those of earlier calls.
        clips_per_step: Of one process.
        save_every: Minutes.
    """
    rank, ranks = join()
    bar = tqdm(
        total=round(minutes, 1),
        unit="min",
        bar_format="{l_bar}{bar}| {n:.1f}/{total} min [{remaining} left{postfix}]",
        disable=rank > 0,
    )
    first, before, saved, now = progress["step"], progress["minutes"], 0.0, 0.0
    mean: dict[str, float] = {}
    with bar, appending(out / "log.jsonl") as log:
        while now < minutes:
            values, now = step(now)
            mean = {k: v if k not in mean else 0.98 * mean[k] + 0.02 * v for k, v in values.items()}
            progress["step"] += 1
            progress["clips"] += clips_per_step * ranks
            rate = (progress["step"] - first) * clips_per_step * ranks / max(1e-9, now * 60)
            bar.n = now
            bar.set_postfix_str(
                f"step {progress['step']}, loss {mean['loss']:.4f}, {rate:.1f} clips/s",
                refresh=progress["step"] % 10 == 0,
            )
            if rank == 0 and progress["step"] % 50 == 0:
                row = {"step": progress["step"], "minutes": before + now, **mean, "clips_per_s": rate}
                log.write(json.dumps(row) + "\n")
                log.flush()
            if now - saved >= save_every and now < minutes:
                saved = now
                if rank == 0:
                    save(now)
        if rank == 0:
            save(now)


def clock() -> Callable[[], float]:
    """Minutes since this call."""
    began = time.monotonic()
    return lambda: (time.monotonic() - began) / 60


def learning_rate(step: int, warmup: int, minutes: float, budget: float, decay_share: float) -> float:
    """Factor of the learning rate: linear warm-up over `warmup` steps, linear fall over the budget's last part."""
    warm = min(1.0, (1 + step) / max(1, warmup))
    left = (budget - minutes) / max(1e-9, decay_share * budget)
    return warm * max(0.02, min(1.0, left))
