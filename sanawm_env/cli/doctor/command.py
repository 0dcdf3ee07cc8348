"""`sanawm doctor`: will it run here, and what will it take? Nothing is downloaded or loaded to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from sanawm_env.registration import DEFAULT_CHECKPOINT

__all__ = ["Doctor"]


@dataclass
class Doctor:
    """Say what a checkpoint needs: download, memory by precision and slots, extras, expected frames per second.

    Works without a GPU: `--device cuda:80GB` plans for one that is elsewhere.
    """

    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, folder, or repository such as Efficient-Large-Model/SANA-WM_streaming."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1; or a GPU to plan for: cuda:80GB, cuda:32GB:blackwell."""
    precision: Literal["fp32", "bf16", "fp8", "nvfp4", "int8"] | None = None
    """Of the weights; bf16 for the release and fp32 for other worlds if not given."""
    slots: int = 1
    """Rollouts at once, which the verdict is about."""
    measure: bool = True
    """Time what can be timed on this machine in a second or two."""
    json: bool = False
    """Print JSON instead of tables."""

    def run(self) -> None:
        """Print it."""
        from sanawm_env.cli.doctor.report import diagnose

        slots = (self.slots, *(n for n in (1, 2, 4, 8) if n != self.slots))
        report = diagnose(self.checkpoint, self.device, self.precision, slots, measure=self.measure)
        if self.json:
            import json

            print(json.dumps(report, indent=2))
        else:
            print("\n".join(render(report)))


def render(report: dict[str, Any]) -> list[str]:
    """The report as lines for people."""
    about, device, download = report["checkpoint"], report["device"], report["download"]
    where = about["folder"] or f"{about['release']} at {about['revision']}"
    lines = [
        f"checkpoint  {about['name']} ({where})",
        f"            {about['resolution']}, {about['fps']:g} frames/s, {about['frames_per_chunk']} frames a chunk, "
        f"{about['sampler_calls_per_chunk']} sampler calls",
        f"device      {device['label']}{' (not here: a plan only)' if device['hypothetical'] else ''}, "
        f"{'memory unknown' if device['memory'] is None else _gb(device['memory'])}",
        "versions    " + ", ".join(f"{name} {number or '-'}" for name, number in report["versions"].items()),
    ]
    for extra, facts in report["extras"].items():
        packages = ", ".join(f"{name} {number or 'missing'}" for name, number in facts["packages"].items())
        fix = "" if all(facts["packages"].values()) else f'  (pip install "{facts["install"]}")'
        lines.append(f"extra       {extra}: {packages}{fix}")
    lines += ["", "download"]
    for file in download["files"]:
        size = "size unknown" if file["gb"] is None else f"about {file['gb']:g} GB"
        lines.append(f"  {file['repo']} {file['path']}  {'already here' if file['present'] else size}")
    if not download["files"]:
        lines.append("  nothing")
    else:
        unknown = f", and {download['unknown_sizes']} of unknown size" if download["unknown_sizes"] else ""
        lines.append(f"  to fetch: {download['known_gb']:g} GB{unknown}; free disk: {download['free_disk_gb']:g} GB")
        lines.append(f"  {download['note']}")
    lines += ["", "memory (GB)", _row("", "slots", "weights", "VAE", "state", "working", "text enc", "needed", "fits")]
    refused = {plan["precision"]: plan["unsupported"] for plan in report["memory"]["plans"] if plan["unsupported"]}
    for plan in report["memory"]["plans"]:
        if plan["precision"] in refused:
            continue
        lines.append(
            _row(
                plan["precision"],
                plan["slots"],
                *(_number(plan[key]) for key in ("weights", "vae")),
                f"{plan['slots']} x {_number(plan['state_per_slot'])}",
                *(_number(plan[key]) for key in ("working_per_slot", "text_encoder", "needed")),
                _fits(plan),
            )
        )
    lines += [f"  {precision:<7}not on this device: {reason}" for precision, reason in refused.items()]
    lines += [f"  {name}: {basis}" for name, basis in report["memory"]["basis"].items()]
    lines += ["", "expected frames/s of one rollout"]
    for entry in report["speed"]:
        rate = "?" if entry["frames_per_s"] is None else f"{entry['frames_per_s']:g}"
        lines.append(f"  {rate:>8}  {entry['kind']}: {entry['what']} ({entry['basis']})")
    return [*lines, "", report["verdict"]]


def _row(*cells: Any) -> str:
    widths = (7, 6, 9, 8, 12, 9, 9, 9, 0)
    return "  " + "".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _fits(plan: dict[str, Any]) -> str:
    if plan["fits"] is None:
        return "?"
    if not plan["fits"]:
        return f"no, {_number(plan['missing'])} missing"
    return f"yes, if {plan['if_gpu_is']}" if plan["if_gpu_is"] else "yes"


def _number(size: int) -> str:
    gigabytes = size / 1e9
    return f"{gigabytes:.2f}" if gigabytes >= 0.01 else f"{gigabytes:.4f}"


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
