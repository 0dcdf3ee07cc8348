"""Limits that a clip must keep to be trained on; each refusal names the figure that broke one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.data.annotation.structure.agreement import path_length
from sanawm_env.data.annotation.structure.tracks import Tracks

__all__ = ["Limits", "check_lens", "check_path", "check_pictures", "look_figures"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """What an accepted clip keeps to. Those of the lens are SANA-WM's own filter; the others were found on renders."""

    least_frames: int = 17
    """A second; shorter clips say too little."""
    dark: float = 12.0
    """Mean brightness, of 255, below which a frame counts as black."""
    dark_share: float = 0.1
    """Share of black frames."""
    frozen_share: float = 0.6
    """Share of frames that repeat the one before: a slideshow, or a screen recording."""
    least_fps: float = 12.0
    """Frames per second of the source."""
    least_corners: int = 25
    """Median number of corners in view."""
    least_shift: float = 0.008
    """Largest move of the points between two frames, as a share of the width, below which nothing moves."""
    mapped_shift: float = 0.025
    """Such a move that mapping needs: where points move by less, a small turn and a small step look too much alike."""
    turning_parallax: float = 1.5
    """Pixels of the work picture up to which a rotation alone explains the clip."""
    least_parallax: float = 2.5
    """Pixels that mapping needs."""
    placed: float = 0.9
    """Share of the frames that must have a measured pose."""
    points: int = 60
    """Mapped points."""
    error: float = 1.0
    """Median reprojection error, pixels of the work picture."""
    angle_deg: float = 1.5
    """Median angle between the rays to a point."""
    apart: float = 0.02
    """Share of the path by which the two mappers may differ."""
    halves: float = 0.015
    """And the two halves of the points."""
    apart_deg: float = 0.5
    """And their rotations, degrees."""
    focal: float = 0.03
    """Share by which two estimates of the focal length may differ."""
    given_focal: float = 0.1
    """Share by which a given focal length may differ from what the clip says, where it says something."""
    said_focal: float = 0.015
    """Spread, as a share, up to which the clip says something about its focal length ..."""
    focal_gain: float = 0.04
    """... and so it does where its own one brings the points nearer to where they are seen, by so large a share."""
    fov_deg: tuple[float, float] = (25.0, 120.0)
    """Fields of view."""
    stretch: float = 0.2
    """Difference of fx and fy, as a share of their mean."""
    jump: float = 8.0
    """A step of the camera as a multiple of the usual one around it."""
    jump_deg: float = 15.0
    """A turn from a frame to the next."""
    shake: float = 0.6
    """Mean change of a step from frame to frame, as a share of the mean step."""


def look_figures(tracks: Tracks) -> dict[str, float]:
    """Figures of the pictures themselves."""
    return {
        "frames": len(tracks),
        "black_share": float((tracks.luma < Limits.dark).mean()),
        "frozen_share": float((tracks.change[1:] < 0.01).mean()) if len(tracks) > 1 else 1.0,
        "corners": float(np.median([len(each) for each in tracks.ids])),
        "sharpness": float(np.median(tracks.sharpness)),
    }


def check_pictures(figures: Mapping[str, float], limits: Limits) -> list[str]:
    """What is wrong with the pictures, before anything is mapped."""
    if figures["frames"] < limits.least_frames:
        return [f"it has {figures['frames']:.0f} frames at 16 a second; at least {limits.least_frames} are needed"]
    found = []
    if figures["black_share"] > limits.dark_share:
        found.append(f"{figures['black_share']:.0%} of its frames are black")
    if figures["frozen_share"] > limits.frozen_share:
        found.append(
            f"{figures['frozen_share']:.0%} of its frames repeat the one before: a still camera, a slideshow or a "
            "screen recording"
        )
    if figures["corners"] < limits.least_corners:
        found.append(
            f"it has {figures['corners']:.0f} corners to hold on to, and {limits.least_corners} are needed: blur, "
            "darkness or plain walls"
        )
    return found


def check_lens(intrinsics: Array, height: int, width: int, limits: Limits) -> list[str]:
    """What is wrong with intrinsics `(..., 4)` of a picture."""
    rows = np.asarray(intrinsics, float).reshape(-1, 4)
    fov = np.rad2deg(2 * np.arctan2([width, height], 2 * rows[:, :2]))
    found = []
    if fov.max() > limits.fov_deg[1] or fov.min() < limits.fov_deg[0]:
        worst = fov.max() if fov.max() > limits.fov_deg[1] else fov.min()
        low, high = limits.fov_deg
        found.append(f"its field of view is {worst:.0f} degrees, outside of {low:.0f} to {high:.0f}")
    stretch = (np.abs(rows[:, 0] - rows[:, 1]) / rows[:, :2].mean(1)).max()
    if stretch > limits.stretch:
        found.append(f"fx and fy differ by {stretch:.0%}")
    return found


def check_path(c2w: Array, limits: Limits) -> tuple[dict[str, float], list[str]]:
    """Figures of a path `(F, 4, 4)` in any unit, and what is wrong with it."""
    steps = np.diff(c2w[:, :3, 3], axis=0)
    length = np.linalg.norm(steps, axis=1)
    turns = Rotation.from_matrix(np.swapaxes(c2w[:-1, :3, :3], 1, 2) @ c2w[1:, :3, :3]).magnitude()
    total = path_length(c2w)
    figures = {"largest_turn_deg": float(np.rad2deg(turns.max())), "jump": 0.0, "shake": 0.0}
    if total > 0:
        # The usual step around each: its own neighbourhood, and never below a fifth of the whole clip's mean.
        around = np.array([np.median(length[max(i - 6, 0) : i + 7]) for i in range(len(length))])
        figures["jump"] = float((length / np.maximum(around, 0.2 * length.mean())).max())
        figures["shake"] = float(np.linalg.norm(np.diff(steps, axis=0), axis=1).mean() / length.mean())
    found = []
    if figures["jump"] > limits.jump:
        found.append(f"its path jumps by {figures['jump']:.1f} times the usual step")
    if figures["largest_turn_deg"] > limits.jump_deg:
        found.append(f"it turns by {figures['largest_turn_deg']:.0f} degrees from one frame to the next")
    if figures["shake"] > limits.shake:
        found.append(f"its steps change by {figures['shake']:.0%} of themselves from frame to frame")
    return figures, found
