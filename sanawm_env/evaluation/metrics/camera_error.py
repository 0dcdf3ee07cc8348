"""How far a recovered camera is from the commanded one: the benchmark's figures, and those of `evo`.

The benchmark (SANA-WM-Bench; docs/model.md, "Benchmark") takes both paths relative to their first frame, aligns them
as world-to-camera transforms, and averages over frames: `RotErr`, `TransErr` and `CamMC`. `evo` gives absolute and
relative pose errors after Umeyama alignment. Figures at the end of the path are without any alignment.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.camera import validate_c2w
from sanawm_env.evaluation.camera_recovery.poses import MIN_SHARE

__all__ = ["MIN_PATH", "CameraError", "align_w2c", "camera_error", "mean_camera_error", "translation_where_followed"]

Array = NDArray[np.float64]

MIN_PATH = 0.25
"""Metres; a shorter path has no relative translation error, and no direction to align."""
MIN_POSES = 3
LOST = 25.0
"""Percent of the path: an estimator this far off in the true pictures of a scene has lost itself there."""


@dataclass(frozen=True)
class CameraError:
    """Errors of one path; None where a figure does not exist."""

    rot_err_deg: float | None = None
    """Benchmark: mean angle between rotations, degrees."""
    trans_err: float | None = None
    """Benchmark: mean distance of translations after its alignment, in units of the true path."""
    cam_mc: float | None = None
    """Benchmark: mean Frobenius norm of the 3x4 difference."""
    scale: float | None = None
    """The benchmark alignment's scale; 1 for a path of the right size, None for paths below `MIN_PATH`."""
    ape_se3_m: float | None = None
    """evo: RMSE of positions after rigid alignment, metres; None without metres or without a path."""
    ape_sim3_m: float | None = None
    """evo: the same after alignment with scale."""
    rpe_m: float | None = None
    """evo: RMSE of the translation from each pose to the next, metres; None without metres."""
    rpe_deg: float | None = None
    """evo: RMSE of the rotation from each pose to the next, degrees."""
    end_rotation_deg: float | None = None
    """Angle between the last rotations, relative to the first frame, degrees."""
    end_translation_m: float | None = None
    """Distance between the last positions, relative to the first frame, metres."""
    path_m: float = 0.0
    """Length of the true path, metres."""
    relative_translation_percent: float | None = None
    """`end_translation_m` in percent of `path_m`; None for paths below `MIN_PATH`."""
    poses_used: int = 0
    """Poses that were compared, the first included."""
    poses_failed: int = 0
    """Poses that could not be recovered."""
    failure: str = ""
    """Why there are no figures; empty if there are."""


def camera_error(
    recovered: ArrayLike,
    true: ArrayLike,
    ok: ArrayLike | None = None,
    *,
    metric: bool = True,
    reason: str = "",
    min_share: float = MIN_SHARE,
) -> CameraError:
    """Compare a recovered path with the true one.

    Args:
        recovered: `(n, 4, 4)` camera-to-world in any world frame; ignored where not `ok`.
        true: `(n, 4, 4)` camera-to-world of the same frames, in any world frame, metres.
        ok: `(n,)` bool, which poses were recovered; None takes those that are finite.
        metric: Recovered translations are metres. Otherwise they are first scaled to the true path by least
            squares, and errors in metres that a scale would hide are left out.
        reason: Why poses are missing; becomes part of `failure`.
        min_share: With fewer of the poses after the first than this, the path counts as not recovered: errors
            of the few that remain would flatter it.

    Returns:
        The errors, or a `failure`.

    Raises:
        ValueError: Paths of different length, true poses that are not rigid, or a first pose that is not ok.
        ImportError: `evo` is not installed.
    """
    truth, guess = validate_c2w(true), np.array(recovered, dtype=np.float64)
    if truth.ndim != 3 or guess.shape != truth.shape or len(truth) < 2:
        raise ValueError(f"need two paths (n >= 2, 4, 4) of one length; got {guess.shape} and {truth.shape}.")
    finite = np.isfinite(guess).all((1, 2))
    good = finite if ok is None else np.asarray(ok, dtype=bool) & finite
    if good.shape != (len(truth),) or not good[0]:
        raise ValueError(f"ok must be ({len(truth)},) and the first pose, which all are relative to, recovered.")
    steps = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1)
    length = float(steps.sum())
    counts: dict[str, Any] = {"path_m": length, "poses_used": int(good.sum()), "poses_failed": int((~good).sum())}
    if good.sum() < MIN_POSES or good[1:].mean() < min_share:
        why = f"{int(good[1:].sum())} of {len(good) - 1} poses recovered"
        return CameraError(**counts, failure=f"{why}: {reason}" if reason else why)
    guess, truth = _relative(validate_c2w(guess[good])), _relative(truth[good])
    if not metric:
        guess[:, :3, 3] *= _fit_scale(guess[:, :3, 3], truth[:, :3, 3])
    moves = length >= MIN_PATH
    figures: dict[str, Any] = _bench_figures(guess, truth, moves) | _evo_figures(guess, truth, metric, moves)
    if good[-1]:
        end = float(np.linalg.norm(guess[-1, :3, 3] - truth[-1, :3, 3]))
        figures["end_rotation_deg"] = float(_angles(guess[-1:, :3, :3], truth[-1:, :3, :3])[0])
        figures["end_translation_m"] = end
        figures["relative_translation_percent"] = 100 * end / length if moves else None
    return CameraError(**counts, **figures)


def align_w2c(recovered: ArrayLike, true: ArrayLike) -> tuple[Array, float]:
    """The benchmark's alignment of two paths of world-to-camera transforms.

    A change of world frame multiplies world-to-camera rotations from the right, so one rotation (the mean of
    `R_recovered^T R_true`, projected by SVD) aligns them all. Then scale `s` and translation `t` minimise
    `|s * t_recovered + R_recovered t - t_true|^2`. This is our reading of
    the benchmark's code and paper (docs/model.md, "Benchmark").

    Args:
        recovered: `(n, 4, 4)` world-to-camera.
        true: `(n, 4, 4)` world-to-camera.

    Returns:
        The aligned recovered path `(n, 4, 4)`, and the scale.
    """
    path, target = np.array(recovered, dtype=np.float64), np.asarray(true, dtype=np.float64)
    turn, shift = path[:, :3, :3].copy(), path[:, :3, 3].copy()
    u, _, v = np.linalg.svd(np.einsum("nji,njk->ik", turn, target[:, :3, :3]))
    mean = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    system = np.concatenate([shift[:, :, None], turn], axis=2).reshape(-1, 4)
    solution = np.linalg.lstsq(system, target[:, :3, 3].reshape(-1), rcond=None)[0]
    path[:, :3, :3] = turn @ mean
    path[:, :3, 3] = (system @ solution).reshape(-1, 3)
    return path, float(solution[0])


def mean_camera_error(errors: Sequence[CameraError]) -> dict[str, float | int | None]:
    """Means over paths, each figure over the paths that have it, with the failures counted.

    Returns:
        JSON-ready: every figure of `CameraError`, None if no path has it; `paths`, `paths_failed`, and the
        summed `poses_used` and `poses_failed`.

    Raises:
        ValueError: No path.
    """
    if not errors:
        raise ValueError("nothing to average: no path was compared.")
    rows = [asdict(error) for error in errors]
    means: dict[str, float | int | None] = {}
    for name in rows[0]:
        if name not in ("failure", "poses_used", "poses_failed"):
            values = [row[name] for row in rows if row[name] is not None]
            means[name] = float(np.mean(values)) if values else None
    means["paths"], means["paths_failed"] = len(errors), sum(bool(error.failure) for error in errors)
    means["poses_used"] = sum(error.poses_used for error in errors)
    means["poses_failed"] = sum(error.poses_failed for error in errors)
    return means


def translation_where_followed(
    made: Sequence[CameraError], true: Sequence[CameraError]
) -> dict[str, float | int | None]:
    """Mean translation error over the scenes that the estimator can follow: one that it cannot decides a mean alone.

    Which scenes count is decided by true pictures (`LOST`), so that no world has a say in it.

    Args:
        made: Errors of the cameras recovered from generated frames.
        true: Of those from true renders of the same scenes, in the same order.

    Returns:
        JSON-ready: `percent` of the path and `percent_of_true_renders` over the same `scenes`, None if there are none;
        `lost_in_true_renders` are left out by `LOST` or had no figure there, `lost_in_generated` have one there alone.
    """
    name = "relative_translation_percent"
    pairs = [(getattr(m, name), getattr(t, name)) for m, t in zip(made, true, strict=True)]
    followed = [(m, t) for m, t in pairs if t is not None and t <= LOST]
    both = [(m, t) for m, t in followed if m is not None]
    return {
        "percent": float(np.mean([m for m, _ in both])) if both else None,
        "percent_of_true_renders": float(np.mean([t for _, t in both])) if both else None,
        "scenes": len(both),
        "lost_in_true_renders": len(pairs) - len(followed),
        "lost_in_generated": len(followed) - len(both),
    }


def _bench_figures(guess: Array, truth: Array, moves: bool) -> dict[str, float | None]:
    target: Array = np.linalg.inv(truth).astype(np.float64)
    aligned, scale = align_w2c(np.linalg.inv(guess), target)
    apart = aligned[:, :3] - target[:, :3]
    return {
        "rot_err_deg": float(_angles(aligned[:, :3, :3], target[:, :3, :3]).mean()),
        "trans_err": float(np.linalg.norm(apart[:, :, 3], axis=1).mean()),
        "cam_mc": float(np.linalg.norm(apart, axis=(1, 2)).mean()),
        "scale": scale if moves else None,
    }


def _evo_figures(guess: Array, truth: Array, metric: bool, moves: bool) -> dict[str, float | None]:
    try:
        from evo.core.geometry import GeometryException
        from evo.core.metrics import APE, RPE, PoseRelation, StatisticsType, Unit
        from evo.core.trajectory import PosePath3D
    except ImportError:
        raise ImportError("camera errors need the package evo: pip install 'sanawm_env[eval]'.") from None

    def path(poses: Array) -> Any:
        return PosePath3D(poses_se3=list(poses))

    def rmse(measure: Any, ours: Any) -> float:
        measure.process_data((path(truth), ours))
        return float(measure.get_statistic(StatisticsType.rmse))

    def aligned(scale: bool) -> float | None:
        ours = copy.deepcopy(path(guess))
        try:
            ours.align(path(truth), correct_scale=scale)
        except GeometryException:  # a straight line leaves the roll about it open
            return None
        return rmse(APE(PoseRelation.translation_part), ours)

    def relative(relation: Any) -> float:
        return rmse(RPE(relation, delta=1, delta_unit=Unit.frames, all_pairs=True), path(guess))

    return {
        "ape_se3_m": aligned(False) if moves and metric else None,
        "ape_sim3_m": aligned(True) if moves else None,
        "rpe_m": relative(PoseRelation.translation_part) if metric else None,
        "rpe_deg": relative(PoseRelation.rotation_angle_deg),
    }


def _relative(c2w: Array) -> Array:
    return np.asarray(np.linalg.inv(c2w[0]) @ c2w)


def _fit_scale(guess: Array, truth: Array) -> float:
    return float((guess * truth).sum() / max(float((guess**2).sum()), 1e-12))


def _angles(a: Array, b: Array) -> Array:
    """Degrees between rotations `(n, 3, 3)`."""
    between = Rotation.from_matrix(np.swapaxes(a, -1, -2) @ b)
    return np.asarray(np.rad2deg(between.magnitude()))
