"""The last bundle adjustment of a mapper's model, and what more of them tell: how far can it be believed?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.annotation.structure.agreement import Apart, apart

__all__ = ["MAX_ERROR", "SEED", "Checks", "examine", "lens_of", "polish", "pose_of", "reprojection"]

Array = NDArray[np.float64]

SEED = 1
MAX_ERROR = 2.0
"""Pixels of the work picture by which a match may miss its epipolar line, and a point its place."""


@dataclass(frozen=True)
class Checks:
    """What a model's own points say of it."""

    halves: Apart
    """How far the paths are apart that two halves of the points give: how much it owes to chance."""
    focal_halves: float
    """And their focal lengths, as a share, where they are free."""
    focal_said: float
    """The focal length that the points ask for, as a multiple of the model's."""
    focal_gain: float
    """Share by which it brings them nearer to where they are seen."""


def polish(pycolmap: Any, model: Any, refine_focal: bool) -> None:
    """A last robust adjustment, from which outliers have been taken."""
    options = _options(pycolmap, refine_focal)
    pycolmap.bundle_adjustment(model, options)
    pycolmap.ObservationManager(model).filter_all_points3D(MAX_ERROR, 0.5)
    pycolmap.bundle_adjustment(model, options)


def examine(pycolmap: Any, model: Any, error: float, refine_focal: bool) -> Checks:
    """Adjust a model once more with either half of its points, and with its focal length free.

    Args:
        pycolmap: The module.
        model: Of a mapper, after `polish`.
        error: Its `reprojection`.
        refine_focal: Whether the focal length is unknown.
    """
    numbers = np.random.default_rng(SEED).permutation(sorted(model.points3D))
    paths, focals = [], []
    for half in (numbers[::2], numbers[1::2]):
        part = pycolmap.Reconstruction(model)
        for number in half:
            part.delete_point3D(int(number))
        pycolmap.bundle_adjustment(part, _options(pycolmap, refine_focal))
        images = sorted((each for each in part.images.values() if each.has_pose), key=lambda each: each.name)
        paths.append(np.array([pose_of(each) for each in images]))
        if not refine_focal:
            pycolmap.bundle_adjustment(part, _options(pycolmap, True))
        focals.append(_focal(part))
    free = pycolmap.Reconstruction(model)
    if not refine_focal:
        pycolmap.bundle_adjustment(free, _options(pycolmap, True))
    return Checks(
        apart(*paths),
        abs(float(np.log(focals[0] / focals[1]))),
        _focal(free) / _focal(model),
        1 - reprojection(free) / error,
    )


def reprojection(model: Any) -> float:
    """Median distance of where points are seen from where they should be, pixels."""
    places = {number: point.xyz for number, point in model.points3D.items()}
    off = []
    for image in model.images.values():
        if image.has_pose and (known := image.get_observation_points2D()):
            lens, w2c = lens_of(model.cameras[image.camera_id]), image.cam_from_world().matrix()
            local = np.array([places[each.point3D_id] for each in known]) @ w2c[:, :3].T + w2c[:, 3]
            due = local[:, :2] / local[:, 2:] * lens[:2] + lens[2:]
            off.append(np.linalg.norm(due - np.array([each.xy for each in known]), axis=1))
    return float(np.median(np.concatenate(off)))


def pose_of(image: Any) -> Array:
    """`(4, 4)` camera to world."""
    return np.vstack([image.cam_from_world().inverse().matrix(), [0, 0, 0, 1]])


def lens_of(camera: Any) -> Array:
    """`(4,)` fx, fy, cx, cy, pixels."""
    return np.array(
        [camera.focal_length_x, camera.focal_length_y, camera.principal_point_x, camera.principal_point_y], float
    )


def _focal(model: Any) -> float:
    return float(lens_of(next(iter(model.cameras.values())))[0])


def _options(pycolmap: Any, refine_focal: bool) -> Any:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length, options.refine_extra_params = refine_focal, False
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = 0.5
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.max_num_iterations = 50
    return options
