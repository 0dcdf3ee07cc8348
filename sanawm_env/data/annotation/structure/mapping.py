"""Cameras and points of a clip's keyframes, by COLMAP's incremental and global mappers, which must agree.

Both see the same matches. Registration and reprojection error say little about a path: mappers were seen to place every
frame, at a pixel, on a path that was wrong altogether. Two methods that go wrong in different ways, and yet agree, say
more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.annotation.structure.adjustment import (
    MAX_ERROR,
    SEED,
    Checks,
    examine,
    lens_of,
    polish,
    pose_of,
    reprojection,
)
from sanawm_env.data.annotation.structure.tracks import Tracks, shared, sift_matches

__all__ = ["MAPPERS", "Model", "build_database", "colmap", "map_clip"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

MAPPERS: tuple[Literal["incremental", "global"], ...] = ("incremental", "global")
_MIN_SHARED = 15
_MIN_PLACED = 3
_MIN_POINTS = 30
_FIRST_ANGLES = (16.0, 3.0)
"""Degrees between the rays of the first pair, the next if no pair has it: paths that began with a narrow pair were seen
to end in wrong ones that fit the points as well."""
_REACH = 12
"""Keyframes apart that are matched by corners."""


@dataclass(frozen=True, eq=False)
class Model:
    """What a mapper made of the keyframes, in a scale of its own."""

    c2w: Array
    """`(n, 4, 4)` poses of the keyframes; NaN where one was not placed."""
    intrinsics: Array
    """`(4,)` fx, fy, cx, cy in pixels of the work picture."""
    points: Array
    """`(m, 3)` places of the points."""
    corner: Index
    """`(m,)` the corner (see `Tracks.ids`) that a point was followed by; -1 for a SIFT point."""
    seen: tuple[tuple[Index, Array], ...]
    """For each keyframe: rows of the points that it saw, and `(k, 2)` where."""
    error: float
    """Median distance between where points are seen and where they should be, pixels."""
    angle: float
    """Median angle under which points were seen, degrees."""
    checks: Checks
    """What these points say of it."""

    def moved(self, by: Array) -> Model:
        """The same in another world frame, `(4, 4)` from this one."""
        return replace(self, c2w=by @ self.c2w, points=self.points @ by[:3, :3].T + by[:3, 3])

    def scaled(self, size: float) -> Model:
        """The same in pictures of another size, a multiple of this one."""
        return replace(
            self,
            intrinsics=self.intrinsics * size,
            seen=tuple((rows, at * size) for rows, at in self.seen),
            error=self.error * size,
        )

    @property
    def placed(self) -> NDArray[np.bool_]:
        """`(n,)` whether a keyframe has a pose."""
        return np.isfinite(self.c2w[:, 0, 0])


def colmap() -> Any:
    """The module `pycolmap`, quiet.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import pycolmap
    except ImportError:
        raise ValueError("finding poses needs pycolmap: pip install 'sanawm_env[annotate]'.") from None
    if int(pycolmap.__version__.split(".")[0]) < 4:
        raise ValueError(f"pycolmap {pycolmap.__version__} has no global mapper: pip install -U 'pycolmap>=4'.")
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    return pycolmap


@contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing of a C++ library reach stderr: it logs past its own switches."""
    sys.stderr.flush()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        kept = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@_quiet()
def build_database(folder: Path, tracks: Tracks, keys: Sequence[int], intrinsics: Array) -> Path:
    """Write the keyframes' points and matches as COLMAP's database, and verify the matches.

    Args:
        folder: Where to put it.
        tracks: Of the clip.
        keys: Keyframes.
        intrinsics: `(4,)` fx, fy, cx, cy in pixels of the work picture; a guess if the focal length is to be found.
    """
    pycolmap = colmap()
    images = folder / "images"
    images.mkdir(parents=True)
    for place, key in enumerate(keys):
        (images / _name(place)).write_bytes(np.asarray(tracks.keep[key]).tobytes())
    path = folder / "database.db"
    square = np.isclose(intrinsics[0], intrinsics[1])
    values = intrinsics[[0, 2, 3]] if square else intrinsics
    pycolmap.Database.open(path).close()
    reader = pycolmap.ImageReaderOptions(
        camera_model="SIMPLE_PINHOLE" if square else "PINHOLE", camera_params=",".join(f"{v:.9g}" for v in values)
    )
    pycolmap.import_images(path, images, pycolmap.CameraMode.SINGLE, options=reader)
    sift, pairs = sift_matches(tracks, keys)
    database = pycolmap.Database.open(path)
    try:
        with pycolmap.DatabaseTransaction(database):
            ids = [database.read_image_with_name(_name(place)).image_id for place in range(len(keys))]
            first = [len(tracks.points[key]) for key in keys]
            for place, key in enumerate(keys):
                both = np.concatenate([tracks.points[key], sift[place]]).astype(np.float32)
                database.write_keypoints(ids[place], both)
            found = {(i, j): rows + np.array([first[i], first[j]], np.uint32) for i, j, rows in pairs}
            for i, j in combinations(range(len(keys)), 2):
                rows = [found[i, j]] if len(found.get((i, j), ())) >= _MIN_SHARED else []
                if j - i <= _REACH:
                    rows.append(np.stack(shared(tracks, keys[i], keys[j]), 1).astype(np.uint32))
                if rows and sum(map(len, rows)) >= _MIN_SHARED:
                    database.write_matches(ids[i], ids[j], np.concatenate(rows))
    finally:
        database.close()
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = 12
    options.ransac.max_error = MAX_ERROR
    options.ransac.random_seed = SEED
    options.compute_relative_pose = True
    verifier = pycolmap.GeometricVerifierOptions()
    verifier.num_threads = 1
    pycolmap.geometric_verification(path, verifier, two_view_geometry_options=options)
    return path


@_quiet()
def map_clip(folder: Path, tracks: Tracks, keys: Sequence[int], method: str, *, refine_focal: bool) -> Model | None:
    """Run one mapper on the database of a clip; None if it finds nothing.

    Args:
        folder: Where `build_database` wrote.
        tracks: Of the clip.
        keys: Keyframes.
        method: Of `MAPPERS`.
        refine_focal: Whether the focal length is unknown.
    """
    pycolmap = colmap()
    pycolmap.set_random_seed(SEED)
    out = folder / method
    out.mkdir(exist_ok=True)
    database, images = folder / "database.db", folder / "images"
    if method == "incremental":
        models: dict[int, Any] = {}
        for angle in _FIRST_ANGLES:
            options = _incremental(pycolmap, refine_focal, angle)
            models = models or pycolmap.incremental_mapping(database, images, out, options=options)
    else:
        models = pycolmap.global_mapping(database, images, out, options=_global(pycolmap, refine_focal))
    if not models:
        return None
    best = max(models.values(), key=lambda each: (each.num_reg_images(), each.num_points3D()))
    if best.num_reg_images() < _MIN_PLACED or best.num_points3D() < _MIN_POINTS:
        return None
    polish(pycolmap, best, refine_focal)
    if best.num_points3D() < _MIN_POINTS:
        return None
    error = reprojection(best)
    return _model(best, tracks, keys, error, examine(pycolmap, best, error, refine_focal))


def _incremental(pycolmap: Any, refine_focal: bool, first_angle: float) -> Any:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, SEED
    options.min_num_matches, options.min_model_size = 10, 3
    options.max_num_models = 3
    options.extract_colors = False
    options.ba_refine_focal_length, options.ba_refine_extra_params = refine_focal, False
    mapper = options.mapper
    mapper.num_threads, mapper.random_seed = 1, SEED
    mapper.abs_pose_refine_focal_length, mapper.abs_pose_refine_extra_params = False, False
    mapper.init_min_num_inliers, mapper.init_min_tri_angle, mapper.init_max_forward_motion = 30, first_angle, 1.0
    mapper.abs_pose_min_num_inliers, mapper.abs_pose_max_error = 12, 4.0
    mapper.filter_min_tri_angle, mapper.filter_max_reproj_error = 0.5, 2.5
    mapper.ba_local_min_tri_angle = 1.0
    options.triangulation.min_angle = 0.5
    options.triangulation.random_seed = SEED
    return options


def _global(pycolmap: Any, refine_focal: bool) -> Any:
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads, options.random_seed, options.min_num_matches = 1, SEED, 10
    options.multiple_models = False
    mapper = options.mapper
    mapper.num_threads, mapper.random_seed = 1, SEED
    mapper.rotation_averaging.random_seed = mapper.global_positioning.random_seed = SEED
    mapper.bundle_adjustment.refine_focal_length = refine_focal
    mapper.bundle_adjustment.refine_extra_params = False
    mapper.bundle_adjustment.ceres.solver_options.num_threads = 1
    return options


def _model(model: Any, tracks: Tracks, keys: Sequence[int], error: float, checks: Checks) -> Model:
    c2w = np.full((len(keys), 4, 4), np.nan)
    order = {number: row for row, number in enumerate(model.points3D)}
    points = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
    corner = np.full(len(points), -1, np.int64)
    seen: list[tuple[Index, Array]] = [(np.zeros(0, np.int64), np.zeros((0, 2)))] * len(keys)
    for image in model.images.values():
        if not image.has_pose:
            continue
        place = int(Path(image.name).stem)
        c2w[place] = pose_of(image)
        known = image.get_observation_points2D()
        rows = np.array([order[each.point3D_id] for each in known], np.int64)
        where = np.array([each.xy for each in known]).reshape(-1, 2)
        seen[place] = (rows, where)
        numbers = tracks.ids[keys[place]]
        for index, each in enumerate(image.points2D):
            if each.has_point3D() and index < len(numbers):
                corner[order[each.point3D_id]] = numbers[index]
    intrinsics = lens_of(next(iter(model.cameras.values())))
    angle = _angle(c2w, points, seen)
    return Model(c2w, intrinsics, points, corner, tuple(seen), error, angle, checks)


def _angle(c2w: Array, points: Array, seen: Sequence[tuple[Index, Array]]) -> float:
    """Median over points of the widest angle between two rays to it, degrees."""
    if not len(points):
        return 0.0
    low, high = np.full(points.shape, np.inf), np.full(points.shape, -np.inf)
    for place, (rows, _) in enumerate(seen):
        ray = points[rows] - c2w[place, :3, 3]
        ray = ray / np.linalg.norm(ray, axis=1, keepdims=True)
        low[rows], high[rows] = np.minimum(low[rows], ray), np.maximum(high[rows], ray)
    return float(np.rad2deg(np.median(np.linalg.norm(high - low, axis=1))))


def _name(place: int) -> str:
    return f"{place:04d}.jpg"
