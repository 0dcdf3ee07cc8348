"""What `sanawm doctor` reports: device, versions, download, memory plan and speed, before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sanawm_env.cli.doctor.plan import BASIS, MemoryPlan, most_slots, plan_memory
from sanawm_env.world.accel.device import PRECISIONS, Device, look_at, proviso, unsupported
from sanawm_env.world.checkpoints.local import CONFIG, builtin_checkpoints, resolve
from sanawm_env.world.checkpoints.presets import RELEASES, TEXT_ENCODER, VAE_REPO, release_config
from sanawm_env.world.checkpoints.release.files import is_release
from sanawm_env.world.checkpoints.untrained import UNTRAINED
from sanawm_env.world.config import WorldConfig, small_config

__all__ = ["EXTRAS", "diagnose", "find_config"]

EXTRAS = {
    "release": ("diffusers", "transformers", "huggingface_hub"),
    "quant": ("torchao",),
    "cuda": ("fla-core", "triton"),
    "eval": ("evo", "scikit-image", "matplotlib", "jinja2"),
}
"""Optional packages by what they are for: the released weights, low precision, faster kernels, evaluation."""
PUBLISHED = {
    "SANA-WM_streaming": (("H100, bf16", 55.0), ("RTX 5090, bf16", 39.0), ("RTX 5090, nvfp4", 34.0)),
    "SANA-WM_chunk_causal": (("H100, bf16", 3600 * 8 / 24.1),),  # 24.1 videos of a minute an hour on eight
}
"""Seconds for a minute (961 frames) of 720p, one rollout, stage 1 alone, by others' code: docs/model.md, Benchmark."""
STAGE_2 = ("refiner_diffusers", "gemma3_12b")
"""Folders of the streaming release that `refiner="stream"` needs; their sizes are not known here."""
PEAK_H100 = 989e12
"""Dense bfloat16 operations per second of an H100 SXM, by its data sheet."""


def diagnose(
    checkpoint: str,
    device: str = "auto",
    precision: str | None = None,
    slots: Sequence[int] = (1, 2, 4, 8),
    *,
    state_precision: str | None = None,
    refiner: bool = False,
    measure: bool = True,
) -> dict[str, Any]:
    """A JSON-ready report about running a checkpoint on a device.

    Args:
        checkpoint: Built-in name, folder, or repository of the release.
        device: See `accel.device.look_at`.
        precision: The one asked for; None is bfloat16 for the release, float32 for other worlds.
        slots: Numbers of rollouts to plan for; the first is the one that the verdict is about.
        state_precision: As in `WorldModel.load`.
        refiner: With stage 2.
        measure: Time a built-in world, if the device is here.

    Raises:
        FileNotFoundError: No such checkpoint.
        ValueError: Unknown device or precision, a precision that the device cannot run, or slots below 1.
    """
    if not slots or min(slots) < 1:
        raise ValueError(f"slots must be at least 1; got {list(slots)}.")
    where, (config, source) = look_at(device), find_config(checkpoint)
    able = [p for p in PRECISIONS if unsupported(p, where) is None]
    chosen = precision or ("bf16" if source["release"] and "bf16" in able else "fp32")
    if chosen in PRECISIONS and chosen not in able:
        reason = unsupported(chosen, where)
        raise ValueError(f"precision {chosen} does not run on {where.label}: {reason}; use {' or '.join(able)}.")
    asked = [chosen] if chosen not in PRECISIONS else PRECISIONS  # an unknown one is refused by the plan
    gpu = where.kind == "cuda"
    kinds: dict[str, Any] = {"gpu": gpu, "state_precision": state_precision, "refiner": refiner}
    plans = {p: plan_memory(config, p, slots[0], **kinds) for p in asked}
    rows = [_row(replace(plan, slots=n), where) for plan in plans.values() for n in sorted(set(slots))]
    about = {
        "name": config.name,
        "resolution": f"{config.width}x{config.height}",
        "fps": config.fps,
        "sampler_calls_per_chunk": len(config.sigmas) - 1,
        "frames_per_chunk": config.chunk_frames * config.model.temporal_stride,
    }
    return {
        "checkpoint": source | about,
        "device": where.to_dict(),
        "versions": {name: _installed(name) for name in ("sanawm_env", "torch", "numpy", "gymnasium")},
        "extras": {extra: {name: _installed(name) for name in names} for extra, names in EXTRAS.items()},
        "download": _download(source, refiner=refiner),
        "memory": {"plans": rows, "basis": BASIS},
        "speed": _speed(config, checkpoint, source["release"], where, measure=measure),
        "chosen": _row(plans[chosen], where),
        "verdict": _verdict(plans, chosen, where, able),
    }


def find_config(checkpoint: str) -> tuple[WorldConfig, dict[str, Any]]:
    """The world of a checkpoint, from its config alone, and where the checkpoint is.

    Raises:
        FileNotFoundError: No such name, folder or repository.
        ValueError: A broken config.
    """
    name, _, revision = checkpoint.partition("@")
    if name in RELEASES:
        place = {"release": name, "folder": None, "revision": revision or RELEASES[name].revision}
        return release_config(name), place
    if checkpoint == UNTRAINED:
        return small_config(), {"release": None, "folder": UNTRAINED, "revision": None}
    folder, known = Path(checkpoint), builtin_checkpoints()
    if checkpoint not in known and folder.is_dir() and is_release(folder):
        like = _like(folder)
        return release_config(like), {"release": like, "folder": str(folder), "revision": None}
    if checkpoint not in known and not folder.exists():
        raise FileNotFoundError(
            f"unknown checkpoint {checkpoint!r}; use a built-in name ({', '.join(known)}), a folder, or a repository: "
            f"{', '.join(RELEASES)}."
        )
    file = resolve(checkpoint) / CONFIG
    try:
        config = WorldConfig.from_dict(json.loads(file.read_text(encoding="utf-8"))["world"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: {error}; save or download the checkpoint again.") from None
    return config, {"release": None, "folder": str(file.parent), "revision": None}


def _like(folder: Path) -> str:
    """Repository that a local release folder is laid out like."""
    if (folder / "sana_dit").is_dir():
        return VAE_REPO
    if not (folder / "dit").is_dir():
        kind = "bidirectional-diffusers"
    else:
        causal = any("chunk_causal" in path.name for path in (folder / "dit").iterdir())
        kind = "chunk_causal" if causal else "bidirectional"
    return VAE_REPO.replace("streaming", kind)


def _row(plan: MemoryPlan, device: Device) -> dict[str, Any]:
    reason = unsupported(plan.precision, device)
    missing = None if device.memory is None else max(0, plan.needed - device.memory)
    fits = None if missing is None else missing == 0 and reason is None
    facts = {"missing": missing, "unsupported": reason, "if_gpu_is": proviso(plan.precision, device), "fits": fits}
    return plan.to_dict() | facts


def _verdict(plans: dict[str, MemoryPlan], chosen: str, device: Device, able: Sequence[str]) -> str:
    """One sentence: whether it fits, else how much is missing and what would fit."""
    plan = plans[chosen]
    state = f", states in {plan.state_precision}," if plan.state_precision else ""
    state += " and stage 2" if plan.refiner else ""
    needs = f"{chosen} with {plan.slots} slot{'s' * (plan.slots > 1)}{state} needs {_size(plan.needed)}"
    if device.memory is None:
        return f"{needs}; the memory of {device.label} is not known."
    most, has = most_slots(plan, device.memory), _size(device.memory)
    if plan.needed <= device.memory:
        return f"{needs} of the {has} of {device.label}: fits; up to {most} slots would."
    others = [p for p in able if p != chosen and plans[p].needed <= device.memory]
    fixes = [f"{' or '.join(others)} would fit"] if others else []
    if most:
        fixes.append(f"{chosen} fits up to {most} slot{'s' * (most > 1)}")
    if plan.encoding > device.memory >= plan.running:
        fixes.append("encode prompts on the CPU and it fits")
    fix = "; ".join(fixes) or "no precision would fit: take a device with more memory"
    return f"{needs}, {device.label} has {has}: {_size(plan.needed - device.memory)} missing; {fix}."


def _speed(
    config: WorldConfig, checkpoint: str, release: str | None, device: Device, *, measure: bool
) -> list[dict[str, Any]]:
    """What is known about frames per second of one rollout, and of each figure whether it was published or measured."""
    if release is None:
        if measure and not device.hypothetical:
            return [_entry(_measured(checkpoint, device), "measured", f"best of a few steps here, {device.label}")]
        return [_entry(None, "unknown", "nothing was measured; ask for a device of this machine")]
    rows = PUBLISHED.get(release.rpartition("/")[2], ())
    entries = [_entry(961 / s, "published", f"{gpu}, denoising only, by others' code") for gpu, s in rows]
    from sanawm_env.world.accel.flops import chunk_flops

    grid = (config.height // 32, config.width // 32)
    work = chunk_flops(config.model, config.chunk_frames, grid, steps=len(config.sigmas) - 1)
    frames = config.chunk_frames * config.model.temporal_stride
    limit = (
        f"arithmetic limit of an H100 ({PEAK_H100 / 1e12:.0f} TFLOP/s), never reached: {work / 1e12:.1f} TFLOP a chunk"
    )
    return [*entries, _entry(frames * PEAK_H100 / work, "computed", limit)]


def _measured(checkpoint: str, device: Device) -> float:
    """Frames per second of a small world."""
    import numpy as np

    from sanawm_env.cli.common.probe import black_start
    from sanawm_env.world.model import WorldModel

    model = WorldModel.load(checkpoint, device.kind)
    count = model.config.chunk_frames * model.vae.temporal_stride
    state, best = black_start(model), float("inf")
    for _ in range(4):  # the first is slower
        clock = time.perf_counter()
        state, _ = model.step(state, np.tile(np.eye(4), (1, count, 1, 1)))
        best = min(best, time.perf_counter() - clock)
    return count / best


def _entry(rate: float | None, kind: str, what: str) -> dict[str, Any]:
    return {"frames_per_s": None if rate is None else round(rate, 1 if rate >= 1 else 4), "kind": kind, "what": what}


def _download(source: dict[str, Any], *, refiner: bool) -> dict[str, Any]:
    """What has to come over the network, with the sizes that are known (they were not asked of the Hub)."""
    own = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface")
    hub = Path(own) if own else Path(home) / "hub"
    files: list[dict[str, Any]] = []
    if repo := source["release"]:
        parts: dict[str, float | None] = dict(RELEASES[repo].gigabytes) or {"transformer": None}
        wanted = [(repo, path, size) for path, size in parts.items() if path != "vae"]  # stepping needs the causal one
        if repo != VAE_REPO:
            wanted.append((VAE_REPO, "ltx2_causal_vae", RELEASES[VAE_REPO].gigabytes["ltx2_causal_vae"]))
        stage_2 = [(VAE_REPO, path, None) for path in STAGE_2 if refiner]
        for repo, path, size in (*wanted, (TEXT_ENCODER, "", 5.2), *stage_2):
            # That what is there is complete only a load can tell.
            here = any((hub / f"models--{repo.replace('/', '--')}" / "snapshots").glob(f"*/{path}"))
            here |= source["folder"] is not None and (Path(source["folder"]) / path).is_dir() and path != ""
            files.append({"repo": repo, "path": f"{path}/" if path else "*", "gb": size, "present": here})
    disk = next(place for place in (hub, *hub.parents) if place.exists())
    known = round(sum(file["gb"] or 0.0 for file in files if not file["present"]), 1)
    return {"files": files, "known_gb": known, "free_disk_gb": round(shutil.disk_usage(disk).free / 1e9, 1)}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _size(size: float) -> str:
    """Bytes as GB of 10^9."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
