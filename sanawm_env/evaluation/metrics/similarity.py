"""Structural similarity, and a perceptual distance that needs no weights.

The distance is GMSD, and it is *not* LPIPS: LPIPS compares the activations of a trained network, whose weights
this project does not ship. GMSD compares edges. Both grow with visible damage, their numbers cannot be
compared, and no figure made here may be set beside a published LPIPS.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sanawm_env.camera.opencv import cv2

__all__ = ["WINDOW", "gmsd", "luma", "ssim", "ssim_map"]

WINDOW = 11
"""Pixels on each side of the window that SSIM is computed in."""
_GMSD_T = 170.0
"""Constant of Xue et al. for images in 0..255."""
_PREWITT = np.array([[1.0, 0.0, -1.0]] * 3) / 3

Array = NDArray[np.float64]


def ssim(frames: ArrayLike, truth: ArrayLike) -> Array:
    """Structural similarity of each image, as SANA-WM-Bench computes it, by scikit-image.

    Each colour channel on its own, in an 11x11 uniform window (its reflecting border included) with
    C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2 and population variances, in float64; then the mean over pixels and
    channels. The window is uniform, where Wang et al. 2004 use a Gaussian one.

    Args:
        frames: `(..., H, W, 3)` uint8.
        truth: Likewise; leading axes broadcast.

    Returns:
        `(...)`, 1 for equal images.

    Raises:
        ValueError: Not uint8, images of different sizes, or smaller than the window.
        ModuleNotFoundError: scikit-image is missing; names the extra to install.
    """
    return _each("ssim", lambda ours, theirs: float(ssim_map(ours, theirs).mean()), frames, truth, WINDOW)


def ssim_map(frame: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Array:
    """`ssim` of two images `(H, W, 3)` before the mean over pixels: `(H, W)`, the mean of the channels.

    Raises:
        ValueError: Images of different sizes, or smaller than the window.
        ModuleNotFoundError: scikit-image is missing; names the extra to install.
    """
    try:
        from skimage.metrics import structural_similarity
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('SSIM needs scikit-image: pip install "sanawm_env[eval]".') from error

    how = {"win_size": WINDOW, "channel_axis": -1, "data_range": 255, "use_sample_covariance": False}
    # The mean that it returns by itself leaves out the border; that of SANA-WM-Bench does not.
    _, everywhere = structural_similarity(frame, truth, full=True, **how)
    return np.asarray(everywhere.mean(-1))


def gmsd(frames: ArrayLike, truth: ArrayLike) -> Array:
    """Gradient magnitude similarity deviation of each image: a perceptual distance, not LPIPS.

    Follows the authors' code: luma in 0..255, 2x2 mean and every second pixel, Prewitt gradients with zeros
    beyond the border, the similarity (2 ab + T) / (a^2 + b^2 + T) of the gradient magnitudes with T = 170, and
    its standard deviation over the picture. It sees edges only: an even change of brightness costs nothing.

    Source: Xue, Zhang, Mou, Bovik: "Gradient Magnitude Similarity Deviation: A Highly Efficient Perceptual
    Image Quality Index", IEEE Transactions on Image Processing 23(2), 2014, arXiv:1308.3052.

    Args:
        frames: `(..., H, W, 3)` uint8 RGB.
        truth: Likewise; leading axes broadcast.

    Returns:
        `(...)`, 0 for equal images; 0.2 is bad, 0.5 the most there is.

    Raises:
        ValueError: Not uint8, images of different sizes, or below 2 pixels on a side.
    """
    return _each("gmsd", _gmsd, frames, truth, 2)


def luma(frame: NDArray[np.uint8]) -> Array:
    """BT.601 luma `(..., H, W)` in 0..255 of RGB `(..., H, W, 3)`."""
    return np.asarray(frame @ np.array([0.299, 0.587, 0.114]))


def _gmsd(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> float:
    a, b = _edges(luma(ours)), _edges(luma(theirs))
    return float(((2 * a * b + _GMSD_T) / (a * a + b * b + _GMSD_T)).std())


def _edges(plane: Array) -> Array:
    """Gradient magnitude at half the size."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, height % 2), (0, width % 2)))  # as the authors' zero-padded convolution
    half = plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean((1, 3))
    across, down = (cv2.filter2D(half, -1, k, borderType=cv2.BORDER_CONSTANT) for k in (_PREWITT, _PREWITT.T))
    return np.hypot(across, down)


def _each(
    name: str,
    compare: Callable[[NDArray[np.uint8], NDArray[np.uint8]], float],
    frames: ArrayLike,
    truth: ArrayLike,
    least: int,
) -> Array:
    """Compare image by image: a minute of video in float64 planes would fill the memory."""
    ours, theirs = np.asarray(frames), np.asarray(truth)
    if ours.dtype != np.uint8 or theirs.dtype != np.uint8:
        raise ValueError(f"{name} compares uint8 images; got {ours.dtype} and {theirs.dtype}.")
    size = ours.shape[-3:]
    if ours.ndim < 3 or size != theirs.shape[-3:] or size[-1] != 3:
        raise ValueError(f"{name} needs RGB images (..., H, W, 3) of one size; got {ours.shape} and {theirs.shape}.")
    if min(size[:2]) < least:
        raise ValueError(f"{name} needs at least {least} pixels on a side; got {size[:2]}.")
    lead = np.broadcast_shapes(ours.shape[:-3], theirs.shape[:-3])
    ours, theirs = np.broadcast_to(ours, lead + size), np.broadcast_to(theirs, lead + size)
    found = np.empty(lead)
    for index in np.ndindex(lead):
        found[index] = compare(ours[index], theirs[index])
    return found
