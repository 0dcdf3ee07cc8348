"""What a video is worth that was made without a world model: frame 0 held, or warped as one plane.

A world model has to beat both. The second one is strong on purpose. It knows the true camera motion, and from
a small set of planes it takes, frame by frame, the one that comes closest to the true picture. No predictor
could choose that way, so it is an upper bound of what such a warp can do, and a gain over it is a gain in
parallax or in things that frame 0 does not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sanawm_env.camera import check_fov, validate_c2w
from sanawm_env.camera.opencv import cv2

__all__ = ["DEPTHS", "HEIGHTS", "Warped", "frozen", "nearest_homography"]

DEPTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Metres to the fronto-parallel planes where no depth is given."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Of the given depth: the fronto-parallel planes. The middle one is the median."""
HEIGHTS = (1.2, 1.5, 1.8)
"""Metres from the camera down to the ground planes."""
_NEAREST = 0.05
"""A plane that the camera comes closer to than this share of its first distance is left out."""

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Warped:
    """Frame 0 warped along a path."""

    frames: Frames
    """`(F, H, W, 3)`."""
    plane: tuple[str, ...]
    """F names of the planes that came closest: `frozen`, `infinite`, `depth 2.5 m`, `ground 1.5 m`, `fit`, `floor`."""


def frozen(first: ArrayLike, frames: int) -> Frames:
    """Frame 0 held.

    Args:
        first: `(..., H, W, 3)` uint8.
        frames: Length of the video.

    Returns:
        `(..., frames, H, W, 3)` uint8, a read-only view.
    """
    image = _image(first)
    shape = (*image.shape[:-3], frames, *image.shape[-3:])
    return np.broadcast_to(image[..., None, :, :, :], shape)


def nearest_homography(
    first: ArrayLike,
    truth: ArrayLike,
    c2w: ArrayLike,
    intrinsics: ArrayLike,
    depth0: ArrayLike | None = None,
    up: ArrayLike = (0.0, -1.0, 0.0),
) -> Warped:
    """The best of a few homographies of frame 0, each frame's chosen by its squared error to the truth.

    Tried are: frame 0 as it is, the infinite homography (rotation alone), fronto-parallel planes (at quantiles
    of `depth0`, the median among them, or at `DEPTHS`), the ground at `HEIGHTS` below the camera, and with
    `depth0` two fitted planes: of the whole view, and of its lower half. Inverse depth is linear in the image
    for a plane and proportional to the parallax, so that is what is fitted, by least squares.
    Pixels that look past the edges of frame 0 repeat its border. This is the best of a dozen homographies and
    not of all eight-parameter ones, so a search over those could come a little closer still.

    Args:
        first: `(H, W, 3)` uint8 frame 0.
        truth: `(F, H, W, 3)` uint8 true frames; any moments of the video, in any order after the first.
        c2w: `(F, 4, 4)` their poses, metres, in any world; the first one is that of `first`.
        intrinsics: `(4,)` fx, fy, cx, cy in pixels, pixel centres at + 0.5.
        depth0: `(H, W)` z-depth of frame 0, metres, infinite for the sky; None if it is not known.
        up: `(3,)` direction away from the ground in the camera of frame 0.

    Raises:
        ValueError: Shapes that do not belong together, poses that are not rigid, or depth that is not positive.
    """
    image, video, poses = _image(first), np.asarray(truth), validate_c2w(c2w)
    if video.dtype != np.uint8 or image.ndim != 3 or video.shape[1:] != image.shape:
        raise ValueError(f"truth must be (F, *{image.shape}) uint8 as frame 0 is; got {video.shape} {video.dtype}.")
    if poses.ndim != 3 or len(poses) != len(video):
        raise ValueError(f"{len(video)} frames need c2w of shape ({len(video)}, 4, 4); got {poses.shape}.")
    camera = np.asarray(intrinsics, dtype=np.float64)
    if camera.shape != (4,) or not (camera[:2] > 0).all():
        raise ValueError(f"intrinsics must be fx, fy, cx, cy with positive focal lengths; got {camera.tolist()}.")
    check_fov(camera, image.shape[1], image.shape[0])
    rays = _rays(image.shape[0], image.shape[1], camera)
    planes = _planes(rays, None if depth0 is None else np.asarray(depth0, dtype=np.float64), up)
    relative = np.linalg.inv(poses[0]) @ poses
    chosen, names = [], []
    for pose, true in zip(relative, video, strict=True):
        best, name, least = image, "frozen", _error(image, true)
        for plane, vector in planes.items():
            warped = _warp(image, rays, pose, vector, camera)
            if warped is not None and (error := _error(warped, true)) < least:
                best, name, least = warped, plane, error
        chosen.append(best)
        names.append(name)
    return Warped(np.stack(chosen), tuple(names))


def _image(first: ArrayLike) -> Frames:
    image = np.asarray(first)
    if image.dtype != np.uint8 or image.ndim < 3 or image.shape[-1] != 3:
        raise ValueError(f"frame 0 must be (..., H, W, 3) uint8; got {image.shape} {image.dtype}.")
    return image


def _rays(height: int, width: int, camera: Array) -> Array:
    """`(H, W, 3)` camera rays of unit depth."""
    y, x = np.mgrid[:height, :width] + 0.5
    fx, fy, cx, cy = camera
    return np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], -1)


def _planes(rays: Array, depth: Array | None, up: ArrayLike) -> dict[str, Array]:
    """Planes as vectors m with m . X = 1 for points X on them: inverse depth at ray r is m . r."""
    down = -np.asarray(up, dtype=np.float64)
    if down.shape != (3,) or not np.linalg.norm(down) > 0:
        raise ValueError(f"up must be a direction of three numbers; got {up!r}.")
    down = down / np.linalg.norm(down)
    planes = {"infinite": np.zeros(3)} | {f"ground {h:g} m": down / h for h in HEIGHTS}
    depths: list[float] = list(DEPTHS)
    if depth is not None:
        if depth.shape != rays.shape[:2] or not (depth > 0).all():
            raise ValueError(f"depth0 must be positive and {rays.shape[:2]}, like frame 0; got {depth.shape}.")
        near = depth[np.isfinite(depth)]
        depths = np.quantile(near, QUANTILES).tolist() if near.size else []
        for name, part in {"fit": slice(None), "floor": slice(len(depth) // 2, None)}.items():
            found = np.linalg.lstsq(rays[part].reshape(-1, 3), 1 / depth[part].ravel(), rcond=None)[0]
            planes[name] = np.asarray(found)
    return planes | {f"depth {z:.3g} m": np.array([0.0, 0.0, 1 / z]) for z in depths}


def _warp(image: Frames, rays: Array, pose: Array, plane: Array, camera: Array) -> Frames | None:
    """Draw the view from `pose` of frame 0 painted on a plane; None where the camera reaches the plane.

    Not `cv2.warpPerspective`: after a large turn some rays point behind frame 0, and the projective map would
    bring in the opposite edge, mirrored. Here they stay on their side and repeat the border there.
    """
    rotation, centre = pose[:3, :3], pose[:3, 3]
    gap = 1 - plane @ centre  # distance to the plane, as a share of the first distance
    if gap < _NEAREST:
        return None
    # A point on the plane is X0 = centre + s * R r; up to scale that is (I + centre m^T / gap) R r.
    x, y, z = np.moveaxis(rays @ ((np.eye(3) + np.outer(centre, plane) / gap) @ rotation).T, -1, 0)
    z = np.maximum(z, 1e-6)
    height, width = image.shape[:2]
    fx, fy, cx, cy = camera
    # OpenCV's pixel centres are whole numbers; clipping is what repeating the border means.
    u = np.clip(x / z * fx + cx - 0.5, 0, width - 1).astype(np.float32)
    v = np.clip(y / z * fy + cy - 0.5, 0, height - 1).astype(np.float32)
    return np.asarray(cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _error(ours: Frames, theirs: Frames) -> float:
    return float(np.square(ours.astype(np.float32) - theirs).mean())
