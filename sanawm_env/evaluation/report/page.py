"""The HTML report of an evaluation: goals, curves, drift, and clips beside the truth."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sanawm_env.evaluation.parts import Setting, load_scene, run_world
from sanawm_env.files import replacing, write_json, write_text
from sanawm_env.video import write_video
from sanawm_env.world.model import WorldModel

__all__ = ["write_clips", "write_report"]

NAMES = {
    "psnr": "PSNR, dB (more is better)",
    "ssim": "SSIM (more is better)",
    "gmsd": "GMSD (less is better)",
}
SHEET_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds of the columns of the picture of clips."""


def write_clips(world: WorldModel, seeds: Sequence[int], setting: Setting, out: Path) -> list[str]:
    """Videos `clip_<seed>.mp4`, the truth left and the world right, and one picture `clips.png` of them all.

    Returns:
        Names of the videos.
    """
    out.mkdir(parents=True, exist_ok=True)
    names, rows = [], []
    marks = [round(s * world.config.fps) for s in SHEET_S]
    for seed in seeds:
        scene = load_scene(world, seed, SHEET_S[-1])
        made = run_world(world, scene, seed, setting)
        name = f"clip_{seed}.mp4"
        write_video(out / name, np.concatenate([scene.truth, made], axis=2), world.config.fps)
        names.append(name)
        rows += [np.concatenate(list(video[marks]), axis=1) for video in (scene.truth, made)]
    with replacing(out / "clips.png") as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary)
    return names


def write_report(summary: Mapping[str, Any], out: Path, clips: Sequence[str] = ()) -> Path:
    """Write `summary.json` and `report.html`, which needs nothing but the videos beside it.

    Args:
        summary: Of `summary.summarize_results`, with `about` telling what was evaluated.
        out: Folder.
        clips: Names of videos in it.

    Returns:
        Path of the page.

    Raises:
        ModuleNotFoundError: matplotlib or jinja2 is missing; names the extra to install.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('The report needs jinja2 and matplotlib: pip install "sanawm_env[eval]".') from error

    write_json(out / "summary.json", summary)
    page = jinja2.Environment(autoescape=True).from_string(
        (Path(__file__).parent / "report.html.j2").read_text("utf-8")
    )
    html = page.render(
        summary=summary,
        plots=_plots(summary),
        clips=clips,
        sheet=(out / "clips.png").exists() and bool(clips),
        raw=json.dumps({k: v for k, v in summary.items() if k != "curves"}, indent=1),
    )
    write_text(out / "report.html", html)
    return out / "report.html"


def _plots(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Title and SVG of every plot."""
    from matplotlib.figure import Figure  # no pyplot: that would keep figures and look for a screen

    out = []
    for metric, curves in summary.get("curves", {}).items():
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for family, curve in curves["generated"].items():
            _draw(left, curve, family)
        left.set(title=NAMES.get(metric, metric), xlabel="seconds")
        left.legend(fontsize=7)
        for baseline, families in curves["gains"].items():
            _draw(right, families["all"], f"over {baseline}")
        right.axhline(0, color="black", linewidth=0.5)
        right.set(title="gain, with 95 % intervals over scenes", xlabel="seconds")
        right.legend(fontsize=7)
        out.append((f"{metric} over time", _svg(figure)))
    drift = summary.get("drift")
    if drift:
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        for axis, key in zip(figure.subplots(1, 3), ("sharpness", "contrast", "saturation"), strict=True):
            for name, windows in drift["windows"].items():
                axis.plot(10 * np.arange(len(windows[key])) + 5, windows[key], marker="o", label=name)
            most = max(value for windows in drift["windows"].values() for value in windows[key])
            axis.set(title=key, xlabel="seconds", ylim=(0, 1.15 * most))
            axis.legend(fontsize=7)
        out.append(("Drift: means of 10 s windows", _svg(figure)))
    if "beyond" in summary:
        out.append(
            (
                "Beyond the first view: places that frame 0 does not show, and places that it does",
                _beyond(summary["beyond"]),
            )
        )
    return out


def _beyond(found: Mapping[str, Any]) -> str:
    """Plot of what lies beyond the first view, and of what does not: sharpness, self-consistency, depth by distance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    sharp, same, depth = figure.subplots(1, 3)
    for axis, title, lines in (
        (
            sharp,
            "sharpness over the truth's",
            {"unseen": found["sharpness_unseen"], "seen": found["seen"]["sharpness"]},
        ),
        (same, "PSNR against the first look, dB", {"unseen": found["self_consistency_db"]}),
    ):
        for label, line in lines.items():
            axis.plot([float(s) for s in line], list(line.values()), marker="o", label=label)
        most = max((value for line in lines.values() for value in line.values()), default=1.0)
        axis.set(title=title, xlabel="seconds", ylim=(0, 1.15 * most))
        axis.legend(fontsize=7)
    for label, of in (("unseen", found), ("seen", found["seen"])):
        bands = [band for band in of["depth_bands"] or () if band["pixels"]]
        names = [f"{band['from_m']:g}-{band['to_m']:g}" for band in bands]
        for key in ("median_error", "bias"):
            depth.plot(names, [band[key] for band in bands], marker="o", label=f"{label}: {key.replace('_', ' ')}")
    depth.axhline(0, color="black", linewidth=0.5)
    depth.set(title="depth, relative", xlabel="metres")
    if depth.get_legend_handles_labels()[0]:
        depth.legend(fontsize=7)
    return _svg(figure)


def _draw(axis: Any, curve: Mapping[str, Any], label: str) -> None:
    seconds = np.asarray(curve["seconds"], dtype=float)
    mean, low, high = (_floats(curve[name]) for name in ("mean", "low", "high"))
    (line,) = axis.plot(seconds, mean, marker=".", label=label)
    axis.fill_between(seconds, low, high, color=line.get_color(), alpha=0.15)


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]
