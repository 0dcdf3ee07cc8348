"""Pinhole intrinsics that know the image they belong to, and the resize-and-crop of the release.

Pixel coordinates have their origin at the top left *corner* of the image, so that resizing scales focal
lengths and principal point alike and the centre of a ``w x h`` image is ``(w / 2, h / 2)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from sanawm_env.camera.pose import load_npy

__all__ = [
    "HALF_PIXEL",
    "MAX_FOV_DEG",
    "Intrinsics",
    "check_fov",
    "fit_geometry",
    "fit_image",
    "fit_intrinsics",
    "load_intrinsics",
]

HALF_PIXEL = np.array([0.0, 0.0, 0.5, 0.5])
"""From fx, fy, cx, cy of OpenCV, ROS or TUM, where (0, 0) is the centre of the first pixel, to those of here."""
MAX_FOV_DEG = 150.0
"""Degrees; a pinhole image of a wider view is all stretched border, so numbers that say so mean something else."""
_OFF_ONE_AXIS, _OFF_BOTH_AXES = 0.45, 0.22
"""Distances of the principal point from the middle, as shares of a side, that say the image had another size."""


@dataclass(frozen=True, eq=False)
class Intrinsics:
    """Focal lengths and principal point of a pinhole camera, constant or per frame."""

    values: NDArray[np.float64]
    """``(..., 4)``: fx, fy, cx, cy in pixels."""
    width: int
    """Width in pixels of the image that ``values`` refer to."""
    height: int
    """Height in pixels of that image."""

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim == 0 or values.shape[-1] != 4:
            raise ValueError(
                f"intrinsics must be fx, fy, cx, cy, shape (..., 4); got {values.shape}. "
                "Use Intrinsics.from_any for 3x3 matrices."
            )
        if not np.isfinite(values).all():
            raise ValueError("intrinsics have NaN or infinite entries; drop or interpolate those frames.")
        if (values[..., :2] <= 0).any():
            raise ValueError(
                f"focal lengths must be positive pixels; got {values[..., :2].min()}. "
                "Check the order fx, fy, cx, cy, or use Intrinsics.from_fov."
            )
        if self.width < 1 or self.height < 1:
            raise ValueError(f"image size must be at least 1x1 pixels; got {self.width}x{self.height}.")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @classmethod
    def from_fov(cls, horizontal_fov_deg: float, width: int, height: int) -> Intrinsics:
        """Square pixels and a central principal point, from the horizontal field of view in degrees."""
        if not 0 < horizontal_fov_deg < 180:
            raise ValueError(f"horizontal_fov_deg must lie between 0 and 180 degrees; got {horizontal_fov_deg}.")
        focal = width / 2 / np.tan(np.deg2rad(horizontal_fov_deg) / 2)
        return cls(np.array([focal, focal, width / 2, height / 2]), width, height)

    @classmethod
    def from_any(cls, array: ArrayLike, width: int, height: int) -> Intrinsics:
        """Accept the layouts in use, of a camera that can have taken the image.

        Args:
            array: ``(4,)`` or ``(F, 4)`` of fx, fy, cx, cy; ``(3, 3)`` or ``(F, 3, 3)`` matrices; or those with a
                column of zeros, and perhaps a row, added: ``(..., 3, 4)`` and ``(..., 4, 4)``. Pixels.
            width: Width in pixels of the image they refer to.
            height: Height in pixels of that image.

        Returns:
            Intrinsics with ``values`` of shape ``(4,)`` or ``(F, 4)``.

        Raises:
            ValueError: on another shape, skew, values that no camera has, or values in other units or of another
                image: a field of view above `MAX_FOV_DEG`, or a principal point far from the middle.
        """
        given = _without_pose(np.asarray(array, dtype=np.float64))
        if given.ndim in (2, 3) and given.shape[-2:] == (3, 3):
            rest = given - _matrix(_vector(given))
            if not np.allclose(np.nan_to_num(rest), 0, atol=1e-6):
                raise ValueError(
                    "intrinsic matrices must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; "
                    "rectify images that have skew, and transpose matrices stored column-major."
                )
            given = _vector(given)
        elif given.ndim not in (1, 2) or given.shape[-1] != 4 or not given.size:
            raise ValueError(
                f"intrinsics must have shape (4,), (F, 4), (3, 3) or (F, 3, 3); got {given.shape}. "
                "Reorder them to fx, fy, cx, cy in pixels."
            )
        camera = cls(given, width, height)
        check_fov(camera.values, width, height)
        _check_centre(camera.values, width, height)
        return camera

    @property
    def horizontal_fov_deg(self) -> NDArray[np.float64]:
        """Angle in degrees between the left and the right image border, shape ``(...)``."""
        focal, centre = self.values[..., 0], self.values[..., 2]
        return np.rad2deg(np.arctan2(centre, focal) + np.arctan2(self.width - centre, focal))

    def resized(self, width: int, height: int) -> Intrinsics:
        """Intrinsics of the image resized to ``width x height``; also of a latent grid laid over it."""
        across, down = width / self.width, height / self.height
        return Intrinsics(self.values * np.array([across, down, across, down]), width, height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """Intrinsics of the ``width x height`` crop whose top left corner is ``(left, top)``, pixels."""
        return Intrinsics(self.values - np.array([0, 0, left, top]), width, height)

    def per_frame(self, num_frames: int) -> NDArray[np.float64]:
        """Values ``(num_frames, 4)``: constant ones, also in one row, repeated; others checked for their number."""
        if self.values.ndim == 1 or self.values.shape == (1, 4):
            return np.tile(self.values.reshape(4), (num_frames, 1))
        if self.values.shape != (num_frames, 4):
            raise ValueError(
                f"need intrinsics for {num_frames} frames; got shape {self.values.shape}. "
                "Pass one (4,) vector, or one row per pose."
            )
        return self.values.copy()

    def check_size(self, width: int, height: int) -> None:
        """Check that these are intrinsics of an image of that size, pixels.

        Raises:
            ValueError: They refer to another one.
        """
        if (self.width, self.height) != (width, height):
            raise ValueError(
                f"intrinsics refer to a {self.width}x{self.height} image, the image is {width}x{height}; "
                f"call intrinsics.resized({width}, {height}) first."
            )

    def matrix(self) -> NDArray[np.float64]:
        """Matrices ``(..., 3, 3)`` that take camera coordinates to homogeneous pixels."""
        return _matrix(self.values)


def check_fov(values: NDArray[np.float64], width: int, height: int) -> None:
    """Refuse focal lengths that are no pixels of the image.

    Args:
        values: ``(..., 4)`` fx, fy, cx, cy.
        width: Width of the image, pixels.
        height: Height of the image, pixels.

    Raises:
        ValueError: A field of view above `MAX_FOV_DEG`; says what the numbers look like instead.
    """
    rows = values.reshape(-1, 4)
    views = np.rad2deg(2 * np.arctan2([width, height], 2 * rows[:, :2])).max(-1)
    row, widest = rows[views.argmax()], views.max()
    if widest <= MAX_FOV_DEG:
        return
    seen = f"intrinsics {', '.join(f'{v:g}' for v in row)} give a {width}x{height} image a field of view of "
    if np.abs(row).max() <= 10:
        fix = f"they look normalised: multiply fx and cx by the width ({width}), fy and cy by the height ({height})"
    else:
        fix = "they look like those of a smaller image or another unit: give pixels of the picture itself"
    raise ValueError(f"{seen}{widest:.1f} degrees; {fix}.")


def _check_centre(values: NDArray[np.float64], width: int, height: int) -> None:
    off = np.abs(values[..., 2:] / [width, height] - 0.5).reshape(-1, 2)
    bad = (off.max(-1) > _OFF_ONE_AXIS) | (off.min(-1) > _OFF_BOTH_AXES)
    if bad.any():
        cx, cy = values.reshape(-1, 4)[bad.argmax(), 2:]
        raise ValueError(
            f"the principal point ({cx:g}, {cy:g}) lies far from the middle of the {width}x{height} image, as that of "
            f"an image of about {2 * cx:.0f}x{2 * cy:.0f} pixels: scale all four numbers to the picture's own size. If "
            "it is a crop beside the middle, pass sanawm_env.camera.Intrinsics(values, width, height) instead."
        )


def _without_pose(given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Projection matrices ``(..., 3, 4)`` or ``(..., 4, 4)`` without their empty last column; others as they are."""
    if given.ndim not in (2, 3) or given.shape[-1] != 4 or given.shape[-2] not in (3, 4):
        return given
    # Four rows of fx, fy, cx, cy have the same shape as one 4x4 matrix, but no zeros where a matrix has them.
    is_matrix = given.ndim == 3 or not (given[[0, 1], [1, 0]].any() or given[2, :2].any())
    if not is_matrix:
        return given
    if given[..., :3, 3].any() or (given.shape[-2] == 4 and (given[..., 3, :] != [0, 0, 0, 1]).any()):
        raise ValueError(
            f"got projection matrices of shape {given.shape} whose last column or row is not empty: they hold a pose "
            "as well. Give the 3x3 intrinsic matrix alone, and the pose with the camera's path."
        )
    return given[..., :3, :3]


def _vector(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = [0, 1, 0, 1], [0, 1, 2, 2]
    return matrix[..., rows, columns]


def _matrix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.zeros((*values.shape[:-1], 3, 3))
    matrix[..., [0, 1, 0, 1], [0, 1, 2, 2]] = values
    matrix[..., 2, 2] = 1.0
    return matrix


def fit_geometry(
    source_width: int, source_height: int, width: int, height: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Smallest aspect-preserving resize that covers ``width x height``, then the centre crop.

    Args:
        source_width: Source image width in pixels.
        source_height: Source image height in pixels.
        width: Target width in pixels.
        height: Target height in pixels.

    Returns:
        ``(resized_width, resized_height)`` and the crop's ``(left, top)``.
    """
    scale = max(width / source_width, height / source_height)
    resized_width = max(width, round(source_width * scale))
    resized_height = max(height, round(source_height * scale))
    crop = ((resized_width - width) // 2, (resized_height - height) // 2)
    return (resized_width, resized_height), crop


@overload
def fit_image(
    image: NDArray[np.uint8], intrinsics: Intrinsics, width: int, height: int
) -> tuple[NDArray[np.uint8], Intrinsics]: ...
@overload
def fit_image(
    image: NDArray[np.uint8], intrinsics: None, width: int, height: int
) -> tuple[NDArray[np.uint8], None]: ...
def fit_image(
    image: NDArray[np.uint8], intrinsics: Intrinsics | None, width: int, height: int
) -> tuple[NDArray[np.uint8], Intrinsics | None]:
    """Resize (LANCZOS) and centre-crop a first frame to the model's size, as the release does.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        intrinsics: Intrinsics of that image; None stays None.
        width: Target width in pixels.
        height: Target height in pixels.

    Returns:
        The ``(height, width, 3)`` uint8 image and the intrinsics that belong to it.

    Raises:
        ValueError: if the image is not uint8 HWC RGB, or the intrinsics refer to another image size.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"image must be uint8 of shape (H, W, 3); got {image.dtype} {image.shape}. "
            "Convert with PIL's Image.convert('RGB') and numpy.asarray."
        )
    source_height, source_width = image.shape[:2]
    if intrinsics is not None:
        intrinsics.check_size(source_width, source_height)
    size, (left, top) = fit_geometry(source_width, source_height, width, height)
    resized = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    fitted = np.asarray(resized.crop((left, top, left + width, top + height)), dtype=np.uint8).copy()
    return fitted, None if intrinsics is None else fit_intrinsics(intrinsics, width, height)


def fit_intrinsics(intrinsics: Intrinsics, width: int, height: int) -> Intrinsics:
    """The intrinsics that `fit_image` returns; they do not depend on what the image shows."""
    size, (left, top) = fit_geometry(intrinsics.width, intrinsics.height, width, height)
    return intrinsics.resized(*size).cropped(left, top, width, height)


def load_intrinsics(path: str | Path, width: int, height: int) -> Intrinsics:
    """Read intrinsics from a ``.npy`` file in any layout of `Intrinsics.from_any`.

    Args:
        path: The file; values in pixels.
        width: Width in pixels of the image they refer to.
        height: Height in pixels of that image.

    Returns:
        The intrinsics.

    Raises:
        ValueError: if the file or its values are not usable.
        FileNotFoundError: if there is no such file.
    """
    array = load_npy(path)
    try:
        return Intrinsics.from_any(array, width, height)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
