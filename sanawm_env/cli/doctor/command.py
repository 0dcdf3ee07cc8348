"""`sanawm doctor`: will it run here, and what will it take? Nothing is downloaded or loaded to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from sanawm_env.registration import DEFAULT_CHECKPOINT

__all__ = ["Doctor"]

_COLUMNS = ("weights", "vae", "state_per_slot", "working", "text_encoder", "needed")


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
    state_precision: Literal["bf16", "fp8", "int8"] | None = None
    """Of what a rollout remembers; that of the activations if not given."""
    refiner: Literal["stream"] | None = None
    """Stage 2 with every step."""
    slots: int = 1
    """Rollouts at once, which the verdict is about."""
    measure: bool = True
    """Time a built-in world on this machine for a second or two."""
    json: bool = False
    """Print JSON instead of tables."""

    def run(self) -> None:
        """Print it."""
        from sanawm_env.cli.doctor.report import diagnose

        slots = (self.slots, *(n for n in (1, 2, 4, 8) if n != self.slots))
        report = diagnose(
            self.checkpoint, self.device, self.precision, slots, state_precision=self.state_precision,
            refiner=self.refiner is not None, measure=self.measure,
        )  # fmt: skip
        if self.json:
            import json

            print(json.dumps(report, indent=2))
        else:
            print("\n".join(render(report)))


def render(report: dict[str, Any]) -> list[str]:
    """The report as lines for people."""
    about, device, download = report["checkpoint"], report["device"], report["download"]
    elsewhere = " (not here: a plan only)" if device["hypothetical"] else ""
    memory = "memory unknown" if device["memory"] is None else f"{device['memory'] / 1e9:.1f} GB"
    lines = [
        f"checkpoint  {about['name']} ({about['folder'] or about['release'] + ' at ' + about['revision']})",
        f"            {about['resolution']}, {about['fps']:g} frames/s, {about['frames_per_chunk']} frames a chunk, "
        f"{about['sampler_calls_per_chunk']} sampler calls",
        f"device      {device['label']}{elsewhere}, {memory}",
        "versions    " + ", ".join(f"{name} {number or '-'}" for name, number in report["versions"].items()),
    ]
    for extra, packages in report["extras"].items():
        fix = "" if all(packages.values()) else f'  (pip install "sanawm_env[{extra}]")'
        found = ", ".join(f"{name} {number or 'missing'}" for name, number in packages.items())
        lines.append(f"extra       {extra}: {found}{fix}")
    for file in download["files"]:
        size = "size unknown" if file["gb"] is None else f"about {file['gb']:g} GB"
        lines.append(f"download    {file['repo']} {file['path']}: {'already here' if file['present'] else size}")
    lines.append(f"            {download['known_gb']:g} GB to fetch, {download['free_disk_gb']:g} GB of disk free")
    lines += ["", "memory (GB)", _row("", "slots", "weights", "VAE", "state", "working", "text enc", "needed", "fits")]
    for plan in report["memory"]["plans"]:
        if plan["unsupported"] is None:
            sizes = [_gigabytes(plan[column]) for column in _COLUMNS]
            sizes[0] = _gigabytes(plan["weights"] + plan["refiner"])
            sizes[2] = f"{plan['slots']} x {_gigabytes(plan['state_per_slot'] + plan['refiner_state'])}"
            lines.append(_row(plan["precision"], plan["slots"], *sizes, _fits(plan)))
    refused = {plan["precision"]: plan["unsupported"] for plan in report["memory"]["plans"] if plan["unsupported"]}
    lines += [f"  {precision:<7}not on this device: {reason}" for precision, reason in refused.items()]
    lines += [f"  {name}: {basis}" for name, basis in report["memory"]["basis"].items()]
    lines += ["", "expected frames/s of one rollout"]
    for entry in report["speed"]:
        rate = "?" if entry["frames_per_s"] is None else f"{entry['frames_per_s']:g}"
        lines.append(f"  {rate:>8}  {entry['kind']}: {entry['what']}")
    return [*lines, "", report["verdict"]]


def _row(*cells: Any) -> str:
    widths = (7, 6, 9, 8, 12, 9, 9, 9, 0)
    return "  " + "".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _fits(plan: dict[str, Any]) -> str:
    if plan["fits"] is None:
        return "?"
    if not plan["fits"]:
        return f"no, {_gigabytes(plan['missing'])} missing"
    return f"yes, if {plan['if_gpu_is']}" if plan["if_gpu_is"] else "yes"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f}" if size >= 1e7 else f"{size / 1e9:.4f}"
