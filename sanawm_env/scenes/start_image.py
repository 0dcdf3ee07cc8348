"""The first frame of a world: from a file, a picture or an array, with the intrinsics that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sanawm_env.camera.intrinsics import Intrinsics, check_fov, fit_image, fit_intrinsics
from sanawm_env.camera.resize import resized
from sanawm_env.scenes.clips import first_frame
from sanawm_env.scenes.seeds import WORLD_SEEDS

__all__ = [
    "MIN_SIDE",
    "WORLD_SEEDS",
    "FittedImage",
    "ImageSource",
    "IntrinsicsSource",
    "StartImage",
    "built_in",
    "draw_seeds",
    "fit",
    "prepare",
    "read_image",
    "resized",
]

ImageSource: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"
IntrinsicsSource: TypeAlias = "ArrayLike | Intrinsics"

MIN_SIDE = 16
"""Pixels; a picture with a shorter side holds nothing that a world could be grown from."""


@dataclass(frozen=True, eq=False)
class StartImage:
    """A first frame at the world's resolution."""

    image: NDArray[np.uint8]
    """`(H, W, 3)` RGB."""
    intrinsics: NDArray[np.float64]
    """`(4,)` fx, fy, cx, cy in pixels of `image`."""
    fov_assumed: bool
    """Whether the field of view is the default one, for want of better knowledge."""


def read_image(source: ImageSource) -> NDArray[np.uint8]:
    """Any accepted picture as `(H, W, 3)` uint8 RGB.

    Files and PIL images of every 8-bit mode are converted: transparency is dropped, grey becomes RGB, and the
    orientation that a camera noted in a file is applied. Arrays are taken as they are, because their meaning
    would have to be guessed.

    Args:
        source: Path, PIL image, or `(H, W, 3)` uint8 array.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a picture, another array layout or type, 16-bit or float pixels, or sides below
            `MIN_SIDE`.
    """
    if isinstance(source, str | Path):
        pixels = _read_file(Path(source))
    elif isinstance(source, Image.Image):
        pixels = _from_pil(source, "image")
    else:
        pixels = _from_array(source)
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"image is {pixels.shape[1]}x{pixels.shape[0]} pixels, too small to start a world from; "
            f"give one of at least {MIN_SIDE} pixels on each side."
        )
    return pixels


@dataclass(frozen=True, eq=False)
class FittedImage:
    """A picture at the world's resolution, ready for any number of starts.

    Reading and resizing a large picture takes longer than a step; cameras can be fitted to it as often as needed.
    """

    image: NDArray[np.uint8]
    """`(H, W, 3)` RGB, read-only."""
    source_size: tuple[int, int]
    """Width and height of the picture as it was given, pixels."""

    def start(
        self, *, intrinsics: IntrinsicsSource | None, fov_deg: float | None, default_fov_deg: float
    ) -> StartImage:
        """A first frame of it, seen by a camera.

        Args:
            intrinsics: Of the picture as it was given, in its own pixels: an `Intrinsics`, or any layout of
                `Intrinsics.from_any`; of several rows the first counts.
            fov_deg: Its horizontal field of view, degrees, in place of `intrinsics`.
            default_fov_deg: Used when neither is given.

        Raises:
            ValueError: Both are given, or a camera that cannot have taken the picture; names the fix.
        """
        if intrinsics is not None and fov_deg is not None:
            raise ValueError("give either intrinsics or fov_deg, not both: they may contradict each other.")
        if intrinsics is None:
            camera = Intrinsics.from_fov(default_fov_deg if fov_deg is None else fov_deg, *self.source_size)
        elif isinstance(intrinsics, Intrinsics):
            camera = intrinsics
            check_fov(camera.values, camera.width, camera.height)
        else:
            camera = Intrinsics.from_any(intrinsics, *self.source_size)
        camera.check_size(*self.source_size)
        first = Intrinsics(camera.values.reshape(-1, 4)[0], *self.source_size)
        height, width = self.image.shape[:2]
        fitted = fit_intrinsics(first, width, height)
        return StartImage(self.image.copy(), fitted.values.copy(), intrinsics is None and fov_deg is None)


def fit(source: ImageSource, width: int, height: int) -> FittedImage:
    """Bring a picture to the world's size by an aspect-preserving resize and a centre crop.

    Args:
        source: See `read_image`.
        width: Of the world's frames, pixels.
        height: Of the world's frames, pixels.

    Raises:
        FileNotFoundError, ValueError: A picture that cannot be used; names the fix.
    """
    pixels = read_image(source)
    fitted, _ = fit_image(pixels, None, width, height)
    fitted.flags.writeable = False
    return FittedImage(fitted, (pixels.shape[1], pixels.shape[0]))


def prepare(
    source: ImageSource | FittedImage,
    width: int,
    height: int,
    *,
    intrinsics: IntrinsicsSource | None,
    fov_deg: float | None,
    default_fov_deg: float,
) -> StartImage:
    """A picture and its camera at the world's size: `fit`, unless that has been done, then `FittedImage.start`.

    Raises:
        FileNotFoundError, ValueError: A picture or camera that cannot be used; names the fix.
    """
    if intrinsics is not None and fov_deg is not None:
        raise ValueError("give either intrinsics or fov_deg, not both: they may contradict each other.")
    fitted = source if isinstance(source, FittedImage) else fit(source, width, height)
    return fitted.start(intrinsics=intrinsics, fov_deg=fov_deg, default_fov_deg=default_fov_deg)


def built_in(seed: int, width: int, height: int, fov_deg: float | None = None, level: bool = False) -> StartImage:
    """The first frame of a procedural scene; the seed decides its family too.

    Args:
        seed: Scene seed, not negative; see `WORLD_SEEDS`.
        width: Pixels.
        height: Pixels.
        fov_deg: Horizontal field of view; None lets the seed choose.
        level: Whether the camera stands upright, rather than pitched and rolled by a few degrees.
    """
    options: dict[str, Any] = {} if fov_deg is None else {"fov": (fov_deg, fov_deg)}
    image, intrinsics, _, _ = first_frame(seed, height, width, level=level, **options)
    return StartImage(image, intrinsics.double().numpy(), False)


def draw_seeds(rng: np.random.Generator) -> tuple[int, int]:
    """Scene seed and noise seed of one episode; always both, so that an image leaves a seed's noise alone."""
    scene, noise = rng.integers([WORLD_SEEDS.start, 0], [WORLD_SEEDS.stop, 2**63 - 1])
    return int(scene), int(noise)


def _read_file(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise FileNotFoundError(f"no image file {path}; check the path.")
    try:
        with Image.open(path) as picture:
            return _from_pil(picture, str(path))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise _unreadable(str(path), error) from None


def _from_pil(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Pixels of a picture, which PIL reads, and may fail to read, only now."""
    if picture.mode.startswith(("I", "F")):
        raise ValueError(
            f"{name} has {picture.mode} pixels, whose range is unknown; convert it to 8 bits per channel first."
        )
    try:
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> ValueError:
    return ValueError(f"{name} cannot be read as an image ({error}); give a PNG, JPEG or WebP file.")


def _from_array(source: Any) -> NDArray[np.uint8]:
    try:
        array = np.asarray(source)
    except Exception:
        array = np.empty(0, dtype=object)
    wanted = "image must be a path, a PIL image, or a uint8 RGB array of shape (H, W, 3)"
    if array.dtype != np.uint8:
        fix = "scale it to 0..255 and call .astype(numpy.uint8)" if array.dtype.kind == "f" else "convert it"
        raise ValueError(f"{wanted}; got {type(source).__name__} of {array.dtype}: {fix}.")
    if array.ndim == 3 and array.shape[2] == 3:
        return array.copy()
    fix = "convert it to RGB"
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        fix = "repeat the grey channel three times"
    elif array.ndim == 3 and array.shape[2] == 4:
        fix = "drop the alpha channel with image[..., :3]"
    elif array.ndim == 3 and array.shape[0] == 3:
        fix = "move the channels last with image.transpose(1, 2, 0)"
    raise ValueError(f"{wanted}; got shape {array.shape}: {fix}.")
