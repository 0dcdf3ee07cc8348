"""From the tracks of a clip to its poses, or to the reasons why it has none."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.annotation.structure.agreement import apart
from sanawm_env.data.annotation.structure.dense import all_poses
from sanawm_env.data.annotation.structure.gates import Limits, check_lens, check_path, check_pictures, look_figures
from sanawm_env.data.annotation.structure.mapping import MAPPERS, Model, build_database, map_clip
from sanawm_env.data.annotation.structure.motion import guess_focal, largest_shift, parallax, turn_only, zoom
from sanawm_env.data.annotation.structure.tracks import LEAST_KEYFRAMES, Tracks, choose_keyframes, enlarged
from sanawm_env.data.formats.common.facts import from_first

__all__ = ["Solution", "solve"]

Array = NDArray[np.float64]

SPACINGS = (1.0, 2.0)
"""Keyframes are chosen once more, farther apart, where the first choice is refused."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Poses of a clip in a scale of their own."""

    c2w: Array
    """`(F, 4, 4)`, frame 0 is the identity; `(0, 4, 4)` if none were found."""
    intrinsics: Array
    """`(4,)` fx, fy, cx, cy in pixels of the work picture."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What was measured."""
    reasons: tuple[str, ...] = ()
    """Why it is refused; empty if it is accepted."""
    model: Model | None = None
    """The points, in the frame of `c2w`; None for a camera that only turns."""
    keys: tuple[int, ...] = ()
    """Frames that were mapped."""

    @property
    def turning(self) -> bool:
        """Whether the camera only turns, so that lengths are zero in any unit."""
        return self.figures.get("motion") == "turns only"


def solve(tracks: Tracks, intrinsics: Array | None, limits: Limits | None = None) -> Solution:
    """Find the poses of a clip.

    Args:
        tracks: Of the clip.
        intrinsics: `(4,)` fx, fy, cx, cy in pixels of the work picture; None if nobody knows them.
        limits: Of what is accepted.
    """
    limits = limits or Limits()
    height, width = tracks.size
    figures: dict[str, Any] = look_figures(tracks)
    given = intrinsics is not None
    lens = np.array([0.85 * width, 0.85 * width, width / 2, height / 2]) if intrinsics is None else intrinsics

    def refused(*reasons: str) -> Solution:
        return Solution(np.zeros((0, 4, 4)), lens, figures, reasons)

    if wrong := [*check_pictures(figures, limits), *(check_lens(lens, height, width, limits) if given else ())]:
        return refused(*wrong)
    keys = choose_keyframes(tracks)
    figures["keyframes"] = len(keys)
    figures["shift"] = largest_shift(tracks, keys)
    if figures["shift"] < limits.least_shift:
        return refused(f"nothing moves: by {figures['shift']:.1%} of the width at most")
    if not given:
        lens[:2] = guess_focal(tracks, keys)
    figures["parallax_px"] = parallax(tracks, keys, lens)
    if figures["parallax_px"] < limits.turning_parallax:
        return _turning(tracks, lens, given, figures, limits)
    if figures["parallax_px"] < limits.least_parallax:
        return refused(
            f"points move by {figures['parallax_px']:.1f} pixels against each other, and {limits.least_parallax} are "
            "needed to tell how the camera moved"
        )
    if figures["shift"] < limits.mapped_shift:
        return refused(
            f"points move by {figures['shift']:.1%} of the width at most, and {limits.mapped_shift:.1%} are needed to "
            "tell how the camera moved"
        )
    left, factor = zoom(tracks, keys, lens)
    figures |= {"zoom": factor, "zoom_leaves_px": left}
    if left < limits.turning_parallax:
        return refused(
            f"it zooms by {factor:.2f}, or moves straight towards a flat wall: the pictures do not tell which, and a "
            "clip has one focal length"
        )
    found = refused()
    for spacing in SPACINGS:
        found = _moving(
            tracks, choose_keyframes(tracks, spacing, round(LEAST_KEYFRAMES / spacing)), lens, given, figures, limits
        )
        if not found.reasons or found.figures.get("focal_contradicted"):
            return found  # nor does another try make a wrong focal length right
    if not given or (larger := enlarged(tracks)) is None:
        return found
    size = larger.size[1] / width
    again = _moving(larger, choose_keyframes(larger, least=LEAST_KEYFRAMES), lens * size, given, figures, limits)
    if again.reasons or again.model is None:
        return found
    return replace(
        again,
        intrinsics=again.intrinsics / size,
        model=again.model.scaled(1 / size),
        figures={**again.figures, "enlarged": size},
    )


def _moving(
    tracks: Tracks, keys: list[int], lens: Array, given: bool, known: Mapping[str, Any], limits: Limits
) -> Solution:
    """Map some keyframes, and place the other frames."""
    figures = {**known, "motion": "moves", "keyframes": len(keys)}
    with tempfile.TemporaryDirectory(prefix="sanawm-annotate-") as folder:
        build_database(Path(folder), tracks, keys, lens)
        models = {name: map_clip(Path(folder), tracks, keys, name, refine_focal=not given) for name in MAPPERS}
    if missing := [name for name, model in models.items() if model is None]:
        why = f"the {' and the '.join(missing)} mapper found no cameras"
        return Solution(np.zeros((0, 4, 4)), lens, figures, (why,))
    first, second = (model for model in models.values() if model is not None)
    wrong = _disagreement(first, second, given, figures, limits)
    best = min(first, second, key=lambda model: (-model.placed.sum(), model.checks.halves.share))
    poses, measured = all_poses(best, tracks, keys)
    figures["placed_share"] = float(measured.mean())
    if figures["placed_share"] < limits.placed:
        wrong.append(f"{figures['placed_share']:.0%} of its frames could be placed, and {limits.placed:.0%} are needed")
    more, shaken = check_path(poses, limits)
    figures |= more
    wrong += shaken + ([] if given else check_lens(best.intrinsics, *tracks.size, limits))
    moved = best.moved(np.linalg.inv(poses[0]))
    return Solution(from_first(poses), best.intrinsics, figures, tuple(wrong), moved, tuple(keys))


def _turning(tracks: Tracks, lens: Array, given: bool, figures: dict[str, Any], limits: Limits) -> Solution:
    figures["motion"] = "turns only"
    poses = turn_only(tracks, lens)
    wrong = []
    if not np.isfinite(poses).all():
        lost = int(np.isfinite(poses[:, 0, 0]).sum())
        poses, wrong = (
            np.zeros((0, 4, 4)),
            [f"it only turns, and after {lost} frames too few points were left to follow"],
        )
    elif not given:
        wrong = ["it only turns, so that its focal length cannot be told: give --fov or --intrinsics"]
    else:
        more, wrong = check_path(poses, limits)
        figures |= more
    return Solution(poses, lens, figures, tuple(wrong))


def _disagreement(a: Model, b: Model, given: bool, figures: dict[str, Any], limits: Limits) -> list[str]:
    """Fill in the figures of two models of one clip, and say what speaks against them."""
    both = a.placed & b.placed
    between = apart(a.c2w[both], b.c2w[both]) if both.sum() >= 3 else None
    figures |= {
        "registered": [float(model.placed.mean()) for model in (a, b)],
        "points": [len(model.points) for model in (a, b)],
        "reprojection_px": [model.error for model in (a, b)],
        "angle_deg": [model.angle for model in (a, b)],
        "mappers_apart": None if between is None else between.share,
        "mappers_apart_deg": None if between is None else between.degrees,
        "halves_apart": [model.checks.halves.share for model in (a, b)],
        "halves_apart_deg": [model.checks.halves.degrees for model in (a, b)],
        "focal_apart": abs(float(np.log(a.intrinsics[0] / b.intrinsics[0]))),
        "focal_halves": [model.checks.focal_halves for model in (a, b)],
    }
    found = []
    if between is None or both.mean() < limits.placed:
        found.append(
            f"the two mappers both placed {both.mean():.0%} of the keyframes, and {limits.placed:.0%} are needed"
        )
    elif between.share > limits.apart or between.degrees > limits.apart_deg:
        found.append(
            f"the two mappers disagree, by {between.share:.1%} of the path and {between.degrees:.2f} degrees, where "
            f"{limits.apart:.0%} and {limits.apart_deg} are allowed"
        )
    if min(figures["points"]) < limits.points:
        found.append(f"{min(figures['points'])} points were mapped, and {limits.points} are needed")
    if max(figures["reprojection_px"]) > limits.error:
        found.append(f"points are seen {max(figures['reprojection_px']):.2f} pixels from where they should be")
    if min(figures["angle_deg"]) < limits.angle_deg:
        found.append(f"points are seen under {min(figures['angle_deg']):.2f} degrees; {limits.angle_deg} are needed")
    share, degrees = max(figures["halves_apart"]), max(figures["halves_apart_deg"])
    if share > limits.halves or degrees > limits.apart_deg:
        found.append(f"two halves of the points give paths that are {share:.1%} and {degrees:.2f} degrees apart")
    spread = max(figures["focal_halves"])
    if not given:
        if figures["focal_apart"] > limits.focal or spread > limits.focal:
            off = max(figures["focal_apart"], spread)
            found.append(f"its focal length is uncertain by {off:.0%}: give --fov or --intrinsics")
    else:
        said = np.array([model.checks.focal_said for model in (a, b)])
        gain = [model.checks.focal_gain for model in (a, b)]
        agreed = max(spread, abs(float(np.log(said[0] / said[1])))) < limits.said_focal
        off = np.log(said)
        says = agreed or min(gain) > limits.focal_gain
        wrong = says and abs(off).min() > limits.given_focal and off[0] * off[1] > 0
        figures |= {"focal_said": said.tolist(), "focal_gain": gain, "focal_contradicted": bool(wrong)}
        if wrong:
            found.append(f"the given focal length is {1 / said.mean() - 1:+.0%} from what the clip says")
    return found
