"""What `sanawm doctor` reports: device, versions, download, memory plan and speed, before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sanawm_env.cli.doctor.memory import BASIS, PRECISIONS, MemoryPlan, Precision, plan_memory
from sanawm_env.cli.doctor.speed import expected_speed
from sanawm_env.world.accel.device import Device, look_at, proviso, unsupported
from sanawm_env.world.checkpoints.local import builtin_checkpoints
from sanawm_env.world.checkpoints.release.files import is_release
from sanawm_env.world.checkpoints.release.layouts import RELEASES, TEXT_ENCODER, VAE_REPO, release_config
from sanawm_env.world.config import WorldConfig

__all__ = ["EXTRAS", "diagnose"]

EXTRAS = {
    "release": ("diffusers", "transformers", "huggingface_hub"),
    "quant": ("torchao",),
    "cuda": ("fla-core", "triton"),
    "eval": ("evo", "scikit-image", "matplotlib", "jinja2"),
}
"""Optional packages by what they are for: the released weights, low precision, faster kernels, evaluation."""


def diagnose(
    checkpoint: str,
    device: str = "auto",
    precision: str | None = None,
    slots: Sequence[int] = (1, 2, 4, 8),
    *,
    measure: bool = True,
) -> dict[str, Any]:
    """A JSON-ready report about running a checkpoint on a device.

    Args:
        checkpoint: Built-in name, folder, or repository of the release.
        device: See `doctor_device.look_at`.
        precision: The one asked for; None is bfloat16 for the release, float32 for other worlds.
        slots: Numbers of rollouts to plan for; the first is the one that the verdict is about.
        measure: Time what can be timed here: the built-in world, or matrix products for the release on a CPU.

    Raises:
        FileNotFoundError: No such checkpoint.
        ValueError: Unknown device or precision, a precision that the device cannot run, or slots below 1.
    """
    if not slots or min(slots) < 1:
        raise ValueError(f"slots must be at least 1; got {list(slots)}.")
    where = look_at(device)
    config, source = find_config(checkpoint)
    chosen = _precision(precision, where, is_release=source["release"] is not None)
    plans = [plan_memory(config, p, n, gpu=where.kind == "cuda") for p in PRECISIONS for n in sorted(set(slots))]
    rows = [_row(plan, where) for plan in plans]
    mine = plan_memory(config, chosen, slots[0], gpu=where.kind == "cuda")
    return {
        "checkpoint": source
        | {
            "name": config.name,
            "resolution": f"{config.width}x{config.height}",
            "fps": config.fps,
            "sampler_calls_per_chunk": len(config.sigmas) - 1,
            "frames_per_chunk": config.chunk_frames * config.model.temporal_stride,
        },
        "device": where.to_dict(),
        "versions": _versions(),
        "extras": {
            extra: {"packages": {name: _installed(name) for name in names}, "install": f"sanawm_env[{extra}]"}
            for extra, names in EXTRAS.items()
        },
        "download": _download(source),
        "memory": {"plans": rows, "basis": BASIS},
        "speed": expected_speed(config, checkpoint, source["release"], where, measure=measure),
        "chosen": _row(mine, where),
        "verdict": _verdict(config, mine, where),
    }


def find_config(checkpoint: str) -> tuple[WorldConfig, dict[str, Any]]:
    """The world of a checkpoint, from its config alone, and where the checkpoint is.

    Raises:
        FileNotFoundError: No such name, folder or repository.
        ValueError: A broken config.
    """
    from sanawm_env.world.checkpoints.local import CONFIG, resolve

    name, _, revision = checkpoint.partition("@")
    if name in RELEASES:
        known = RELEASES[name]
        return release_config(name), {"release": name, "folder": None, "revision": revision or known.revision}
    folder = Path(checkpoint)
    if checkpoint not in builtin_checkpoints() and folder.is_dir() and is_release(folder):
        return release_config(_layout(folder)), {"release": _layout(folder), "folder": str(folder), "revision": None}
    if checkpoint not in builtin_checkpoints() and not folder.exists():
        raise FileNotFoundError(
            f"unknown checkpoint {checkpoint!r}; use a built-in name ({', '.join(builtin_checkpoints())}), a folder, "
            f"or a repository: {', '.join(RELEASES)}."
        )
    place = resolve(checkpoint)
    try:
        config = WorldConfig.from_dict(json.loads((place / CONFIG).read_text(encoding="utf-8"))["world"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place / CONFIG}: {error}; save or download the checkpoint again.") from None
    return config, {"release": None, "folder": str(place), "revision": None}


def _layout(folder: Path) -> str:
    """Repository that a local release folder is laid out like."""
    organisation = VAE_REPO.partition("/")[0]
    if (folder / "sana_dit").is_dir():
        return VAE_REPO
    if not (folder / "dit").is_dir():
        return f"{organisation}/SANA-WM_bidirectional-diffusers"
    causal = any("chunk_causal" in path.name for path in (folder / "dit").iterdir())
    return f"{organisation}/SANA-WM_{'chunk_causal' if causal else 'bidirectional'}"


def _precision(asked: str | None, device: Device, *, is_release: bool) -> Precision:
    if asked is None:
        return "bf16" if is_release and unsupported("bf16", device) is None else "fp32"
    if asked not in PRECISIONS:
        raise ValueError(f"unknown precision {asked!r}; use one of {', '.join(PRECISIONS)}.")
    if reason := unsupported(asked, device):
        able = [p for p in PRECISIONS if unsupported(p, device) is None]
        raise ValueError(f"precision {asked} does not run on {device.label}: {reason}; use {' or '.join(able)}.")
    return asked


def _row(plan: MemoryPlan, device: Device) -> dict[str, Any]:
    reason = unsupported(plan.precision, device)
    missing = None if device.memory is None else max(0, plan.needed - device.memory)
    fits = None if missing is None else missing == 0 and reason is None
    facts = {"missing": missing, "unsupported": reason, "if_gpu_is": proviso(plan.precision, device), "fits": fits}
    return plan.to_dict() | facts


def _verdict(config: WorldConfig, plan: MemoryPlan, device: Device) -> str:
    """One sentence: whether it fits, else how much is missing and what would fit."""
    needs = f"{plan.precision} with {plan.slots} slot{'s' * (plan.slots > 1)} needs {_gb(plan.needed)}"
    if device.memory is None:
        return f"{needs}; the memory of {device.label} is not known."
    most = most_slots(config, plan.precision, device)
    if plan.needed <= device.memory:
        return f"{needs} of the {_gb(device.memory)} of {device.label}: fits; up to {most} slots would."
    others = [
        p
        for p in PRECISIONS
        if p != plan.precision
        and unsupported(p, device) is None
        and plan_memory(config, p, plan.slots, gpu=plan.together).needed <= device.memory
    ]
    fixes = []
    if others:
        fixes.append(f"{' or '.join(others)} would fit")
    if 0 < most:
        fixes.append(f"{plan.precision} fits up to {most} slot{'s' * (most > 1)}")
    text_is_it = plan.encoding > device.memory >= plan.running
    if text_is_it:
        fixes.append("encode prompts on the CPU and it fits")
    fix = "; ".join(fixes) or "no precision would fit: take a device with more memory"
    return f"{needs}, {device.label} has {_gb(device.memory)}: {_gb(plan.needed - device.memory)} missing; {fix}."


def most_slots(config: WorldConfig, precision: Precision, device: Device, limit: int = 4096) -> int:
    """Largest number of slots that fits, 0 if none does."""
    if device.memory is None:
        return 0

    def fits(slots: int) -> bool:
        return plan_memory(config, precision, slots, gpu=device.kind == "cuda").needed <= (device.memory or 0)

    low, high = 0, limit
    while low < high:  # memory grows with slots
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _download(source: dict[str, Any]) -> dict[str, Any]:
    """What has to come over the network, with the sizes that are known."""
    repo = source["release"]
    if repo is None:
        return {"files": [], "known_gb": 0.0, "unknown_sizes": 0, "free_disk_gb": _free()}
    local = source["folder"] is not None
    files: list[dict[str, Any]] = []
    release = RELEASES[repo]
    parts: dict[str, float | None] = dict(release.gigabytes) or dict.fromkeys(("transformer", "vae"))
    for path, size in parts.items():
        # Of the others' VAEs only the streaming one decodes causally, so theirs is not fetched.
        if path != "vae" or repo == VAE_REPO:
            files.append({"repo": repo, "path": f"{path}/", "gb": size, "present": local or _cached(repo, path)})
    if repo != VAE_REPO:
        vae = "ltx2_causal_vae"
        about = RELEASES[VAE_REPO].gigabytes.get(vae)
        files.append({"repo": VAE_REPO, "path": f"{vae}/", "gb": about, "present": _cached(VAE_REPO, vae)})
    files.append({"repo": TEXT_ENCODER, "path": "*", "gb": 5.2, "present": _cached(TEXT_ENCODER, "config.json")})
    wanted = [file for file in files if not file["present"]]
    return {
        "files": files,
        "known_gb": round(sum(file["gb"] or 0.0 for file in wanted), 1),
        "unknown_sizes": sum(file["gb"] is None for file in wanted),
        "free_disk_gb": _free(),
        "note": "sizes are about right and were not asked of the Hub; the refiner (38 GB and more) is not fetched",
    }


def _hub() -> Path:
    """The Hub's cache, without importing huggingface_hub."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface")
    return Path(home) / "hub"


def _cached(repo: str, path: str) -> bool:
    """Whether a snapshot in the Hub's cache has the path; that it is complete only a load can tell."""
    snapshots = _hub() / f"models--{repo.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob(f"*/{path}"))


def _free() -> float:
    """Free space where downloads go, GB."""
    place = _hub()
    while not place.exists() and place != place.parent:
        place = place.parent
    return round(shutil.disk_usage(place).free / 1e9, 1)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions() -> dict[str, str | None]:
    import platform

    import torch

    import sanawm_env

    found: dict[str, str | None] = {"python": platform.python_version(), "sanawm_env": sanawm_env.__version__}
    found |= {name: _installed(name) for name in ("torch", "numpy", "gymnasium", "safetensors")}
    return found | {"cuda_of_torch": torch.version.cuda}


def _gb(size: float) -> str:
    """Bytes as GB of 10^9."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
