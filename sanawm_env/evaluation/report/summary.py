"""One JSON of everything that a suite found, and how it compares with the project's goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.evaluation.curves import metric_curves
from sanawm_env.evaluation.metrics.camera_error import CameraError, mean_camera_error, translation_where_followed
from sanawm_env.evaluation.metrics.psnr import MOVING_DB
from sanawm_env.evaluation.policy.cost import RolloutQuality, Thresholds, cost_per_useful, peak_rss_bytes
from sanawm_env.evaluation.report.beyond import summarize_beyond
from sanawm_env.evaluation.suite import Results

__all__ = ["GOALS", "Goal", "summarize_results"]

Row = dict[str, Any]
DISTANCES = ("gmsd",)
"""Metrics of which less is better."""


@dataclass(frozen=True)
class Goal:
    """A bar that a summary number should reach."""

    name: str
    path: tuple[str, ...]
    """Where the number stands in the summary."""
    bar: float
    at_least: bool = True
    """False: the number should not exceed the bar."""

    def judge(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Name, value, bar and whether it is reached; None for a number that is not there."""
        value: Any = summary
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        met = None if value is None else bool(value >= self.bar if self.at_least else value <= self.bar)
        return {"name": self.name, "value": value, "bar": self.bar, "at_least": self.at_least, "met": met}


GOALS = (
    Goal("PSNR gain over the frozen frame at 1 s, dB", ("gain_frozen_db", "1"), 6.0),
    Goal("PSNR gain over the frozen frame at 4 s, dB", ("gain_frozen_db", "4"), 3.0),
    Goal("PSNR gain over the nearest homography at 1 s, dB", ("gain_homography_db", "1"), 0.0),
    Goal("PSNR gain over the nearest homography at 4 s, dB", ("gain_homography_db", "4"), 0.0),
    Goal("optical flow as commanded, share", ("flow", "mean"), 0.98),
    Goal("camera rotation error at 5 s, degrees", ("camera", "rot_err_deg"), 3.0, at_least=False),
    Goal(
        "camera translation error at 5 s, % of path",
        ("camera", "relative_translation_percent"),
        10.0,
        at_least=False,
    ),
    Goal("revisit PSNR after a 10 s loop, dB", ("revisit", "psnr_db"), 18.0),
    Goal("sharpness of the last 10 s of a minute over the first", ("drift", "sharpness_ratio"), 0.9),
    Goal("random rollouts of a minute with a collapsed frame", ("random", "collapsed"), 0.0, at_least=False),
    Goal("random rollouts of a minute that are collapsed at the end", ("random", "lost"), 0.0, at_least=False),
    Goal("4 steps below 30 steps, dB at 1 s", ("steps", "below_30", "4"), 0.5, at_least=False),
    Goal("1 step below 30 steps, dB at 1 s", ("steps", "below_30", "1"), 1.5, at_least=False),
    Goal("sharpness over the truth's, beyond the first view, at 5 s", ("beyond", "sharpness_unseen", "5"), 0.6),
    Goal("sharpness over the truth's, beyond the first view, at 65 s", ("beyond", "sharpness_unseen", "65"), 0.6),
    Goal("made-up places seen again after 10 s, PSNR, dB", ("beyond", "self_consistency_db", "10"), 26.0),
    Goal(
        "depth at 1 to 4 m, median error, where frame 0 shows nothing",
        ("beyond", "depth_median_error"),
        0.05,
        at_least=False,
    ),
    Goal(
        "depth at 1 to 4 m, median error, where frame 0 shows it",
        ("beyond", "seen", "depth_median_error"),
        0.05,
        at_least=False,
    ),
    Goal(
        "depth, largest bias of a band, where frame 0 shows it",
        ("beyond", "seen", "depth_bias"),
        0.02,
        at_least=False,
    ),
)
"""What the project wants of its built-in worlds."""


def summarize_results(results: Results, useful: Thresholds | None = None) -> dict[str, Any]:
    """Sum up a suite.

    Args:
        results: Of `suite.run_suite`; parts may be missing or empty.
        useful: When a rollout counts as useful; None is the defaults.

    Returns:
        JSON-ready. `curves` are per metric, baseline and family; `goals` lists every bar with its number.
    """
    out: dict[str, Any] = {}
    builders = {
        "fidelity": _fidelity, "flow": _flow, "revisit": _revisit, "drift": _drift,
        "idle": _idle, "random": _random, "steps": _steps, "beyond": summarize_beyond,
    }  # fmt: skip
    for part, build in builders.items():
        rows = list(results.get(part, {}).values())
        if rows:
            out |= build(rows)
    if results.get("drift"):
        out["cost"] = _cost(results, useful)
    out["goals"] = [goal.judge(out) for goal in GOALS]
    return out


def _table(rows: Sequence[Row], name: str, metric: str) -> NDArray[np.float64]:
    return np.array([row["scores"][name][metric] for row in rows], dtype=np.float64)


def _fidelity(rows: Sequence[Row]) -> dict[str, Any]:
    seconds, families = rows[0]["seconds"], [row["family"] for row in rows]
    still = _table(rows, "frozen", "psnr") >= MOVING_DB  # a scene counts once it has moved
    curves = {}
    for metric in ("psnr", "ssim", "gmsd"):
        tables = {name: np.where(still, np.nan, _table(rows, name, metric)) for name in rows[0]["scores"]}
        generated = tables.pop("generated")
        curves[metric] = metric_curves(
            metric, generated, tables, families, seconds, higher_is_better=metric not in DISTANCES
        )
    psnr = curves["psnr"]
    keys = [f"{s:g}" for s in seconds]
    sharp = np.array([row["sharpness"] for row in rows])
    return {
        "scenes": len(rows),
        "psnr_db": _named(keys, psnr.generated["all"].mean),
        "gain_frozen_db": _named(keys, psnr.gains["frozen"]["all"].mean),
        "gain_homography_db": _named(keys, psnr.gains["homography"]["all"].mean),
        "gain_ssim_frozen": _named(keys, curves["ssim"].gains["frozen"]["all"].mean),
        "gain_gmsd_frozen": _named(keys, curves["gmsd"].gains["frozen"]["all"].mean),
        "sharpness_of_truth": _named(keys, (sharp[..., 0].mean(0) / sharp[..., 1].mean(0)).tolist()),
        "camera": _camera(rows, "camera"),
        "camera_of_true_renders": _camera(rows, "camera_true"),
        "translation_where_followed": translation_where_followed(
            *([CameraError(**row[name]) for row in rows] for name in ("camera", "camera_true"))
        ),
        "curves": {name: each.to_dict() for name, each in curves.items()},
    }


def _camera(rows: Sequence[Row], name: str) -> dict[str, Any]:
    """Means over the scenes in which a camera was recovered; the others are counted."""
    return mean_camera_error([CameraError(**row[name]) for row in rows])


def _flow(rows: Sequence[Row]) -> dict[str, Any]:
    made = np.array([row["obeyed"] for row in rows]).mean(0)
    true = np.array([row["true_obeyed"] for row in rows]).mean(0)
    names = ("yaw", "pitch", "forward")
    return {"flow": _named(names, made.tolist()) | {"mean": float(made.mean()), "true": _named(names, true.tolist())}}


def _revisit(rows: Sequence[Row]) -> dict[str, Any]:
    back = [row for row in rows if row["generated"]["pairs"]]
    return {
        "revisit": {
            "psnr_db": _mean([row["generated"]["mean_psnr_db"] for row in back]),
            "ssim": _mean([row["generated"]["mean_ssim"] for row in back]),
            "psnr_db_true": _mean([row["true"]["mean_psnr_db"] for row in back]),
            "home_psnr_db": _mean([row["home_psnr_db"] for row in rows]),
            "scenes": len(rows),
            "scenes_that_never_come_back": len(rows) - len(back),
            "pairs": sum(row["generated"]["pairs"] for row in back),
        }
    }


def _drift(rows: Sequence[Row]) -> dict[str, Any]:
    def over(name: str, key: str) -> list[float]:
        return np.mean([[w[key] for w in row[name]["windows"]] for row in rows], axis=0).tolist()

    windows = {
        name: {key: over(name, key) for key in ("sharpness", "quality", "contrast", "saturation", "noise")}
        for name in ("generated", "true")
    }
    sharp = windows["generated"]["sharpness"]
    return {
        "drift": {
            "scenes": len(rows),
            "windows": windows,
            "sharpness_ratio": sharp[-1] / sharp[0] if sharp[0] else None,
            "sharpness_ratio_true": windows["true"]["sharpness"][-1] / max(windows["true"]["sharpness"][0], 1e-9),
            "delta": {key: values[0] - values[-1] for key, values in windows["generated"].items()},
            "collapsed_scenes": sum(row["collapsed_frames"] > 0 for row in rows),
            "psnr_db_per_10s": [float(v) for v in _per_window([row["psnr"] for row in rows], len(sharp))],
        }
    }


def _idle(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "idle": {
            "scenes": len(rows),
            "psnr_db_first_second": _mean([row["psnr_db"][0] for row in rows]),
            "psnr_db_last": _mean([row["psnr_last_db"] for row in rows]),
            "flicker": _mean([row["flicker"] for row in rows]),
            "sharpness_ratio": _mean([row["sharpness_first_last"][1] / row["sharpness_first_last"][0] for row in rows]),
        }
    }


def _random(rows: Sequence[Row]) -> dict[str, Any]:
    """Rollouts with a frame of one colour are `collapsed`, those that end in one `lost`.

    A true picture, too, is of one colour from close before a plain wall: a world that goes on after it has not gone.
    """
    bad = [row["collapsed_frames"] > 0 or not row["finite"] for row in rows]
    lost = [row["collapsed_at_end"] or not row["finite"] for row in rows]
    ratio = [row["sharpness_last"] / max(row["sharpness_first"], 1e-9) for row in rows]
    found = {"rollouts": len(rows), "collapsed": sum(bad), "lost": sum(lost), "sharpness_ratio": _mean(ratio)}
    return {"random": found}


def _steps(rows: Sequence[Row]) -> dict[str, Any]:
    names = list(rows[0]["psnr"])
    psnr = {name: np.mean([row["psnr"][name] for row in rows], axis=0).tolist() for name in names}
    sharp = {name: np.mean([row["sharpness"][name] for row in rows], axis=0).tolist() for name in names}
    below = {name: psnr["30"][0] - psnr[name][0] for name in names if name != "30"} if "30" in psnr else {}
    seconds = list(rows[0]["seconds"])
    return {"steps": {"scenes": len(rows), "seconds": seconds, "psnr_db": psnr, "sharpness": sharp, "below_30": below}}


def _cost(results: Results, useful: Thresholds | None) -> dict[str, Any]:
    """Speed of the minute-long rollouts; useful are those whose scene keeps camera and sharpness."""
    rows = results["drift"]
    cameras = {seed: row["camera"] for seed, row in results.get("fidelity", {}).items()}
    outcomes = []
    for seed, row in rows.items():
        camera = cameras.get(seed, {})
        relative = camera.get("relative_translation_percent")
        sharp = row["generated"]["ratio"]["sharpness"]
        outcomes.append(
            RolloutQuality(
                seconds=row["seconds"],
                rot_err_deg=camera.get("rot_err_deg"),
                trans_err=None if relative is None else relative / 100,
                drift=None if sharp is None else abs(1 - sharp),
                collapsed=row["collapsed_frames"] > 0,
            )
        )
    frames, seconds = sum(r["frames"] for r in rows.values()), sum(r["seconds"] for r in rows.values())
    rate = frames / seconds
    return {
        "frames_per_s": rate,
        "videos_per_hour": 3600 * rate / 960,
        "peak_rss_bytes": peak_rss_bytes(),
        "useful": cost_per_useful(outcomes, useful).to_dict(),
        "thresholds": asdict(useful or Thresholds()),
    }


def _per_window(tables: Sequence[Sequence[float]], windows: int) -> NDArray[np.float64]:
    mean = np.mean(tables, axis=0)
    return np.array([part.mean() for part in np.array_split(mean, windows)])


def _named(keys: Sequence[str], values: Sequence[float | None]) -> dict[str, float | None]:
    return dict(zip(keys, values, strict=True))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
