"""Sizes and rates that clients are held to, and the pictures that they upload."""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from sanawm_env.files import replacing
from sanawm_env.scenes.start_image import read_image
from sanawm_env.server.errors import ServerError
from sanawm_env.world.accel.threads import aside
from sanawm_env.world.model import WorldModel

__all__ = ["LARGEST_IMAGE", "LARGEST_REQUEST", "Rate", "Uploads", "largest_message"]

LARGEST_IMAGE = 20_000_000
"""Bytes of an uploaded picture."""
MOST_PIXELS = 40_000_000
"""Of an uploaded picture; its header is read before any pixel is."""
LARGEST_REQUEST = 100_000
"""Bytes of a JSON request."""
MOST_UPLOADS = 1_000_000_000
"""Bytes of all uploaded pictures together."""


@dataclass
class Rate:
    """A token bucket."""

    per_second: float
    burst: float
    _left: float = -1.0
    _since: float = 0.0

    def take(self) -> bool:
        """Whether one more fits now."""
        now = time.monotonic()
        left = self.burst if self._left < 0 else min(self.burst, self._left + (now - self._since) * self.per_second)
        self._since, self._left = now, left - 1 if left >= 1 else left
        return left >= 1


class Uploads:
    """Pictures in a folder, each under the hash of its bytes."""

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, data: bytes) -> str:
        """Keep a picture, as the PNG of its pixels.

        Returns:
            Its id.

        Raises:
            ServerError: Too many bytes or pixels, or no picture.
        """
        if len(data) > LARGEST_IMAGE:
            raise ServerError("too-large", f"a picture has at most {LARGEST_IMAGE // 10**6} MB; shrink it.")
        name = hashlib.sha256(data).hexdigest()[:32]
        path = self._folder / f"{name}.png"
        if path.exists():
            return name
        if sum(each.stat().st_size for each in self._folder.glob("*.png")) > MOST_UPLOADS:
            raise ServerError("full", f"uploads hold {MOST_UPLOADS // 10**6} MB; remove some from the data folder.")
        try:
            with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise _too_many_pixels()
                pixels = read_image(picture)
        except Image.DecompressionBombError:
            raise _too_many_pixels() from None
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ServerError("invalid", "no picture; upload a PNG, JPEG or WebP file.") from error
        except ServerError:
            raise
        except ValueError as error:
            raise ServerError("invalid", str(error)) from None
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary, "png", compress_level=1)
        return name

    def find(self, name: object) -> Path:
        """The file of an id.

        Raises:
            ServerError: `unknown-image`.
        """
        # Only what `add` makes, so that no text of a client becomes a path elsewhere.
        if isinstance(name, str) and len(name) == 32 and set(name) <= set("0123456789abcdef"):
            if (path := self._folder / f"{name}.png").exists():
                return path
        raise ServerError("unknown-image", "there is no such image; upload it first.")


def _too_many_pixels() -> ServerError:
    return ServerError("too-large", f"a picture has at most {MOST_PIXELS // 10**6} megapixels; shrink it.")


def largest_message(model: WorldModel) -> int:
    """Bytes of the largest WebSocket message: a picture, or a world file with twice the bytes of a state."""
    config = model.config
    black = np.zeros((1, config.height, config.width, 3), np.uint8)
    camera = np.array([[config.width, config.width, config.width / 2, config.height / 2]], dtype=np.float64)
    text = None
    if config.model.caption_channels:
        import torch

        text = torch.zeros(1, config.model.text_length, config.model.caption_channels)
    state = aside(lambda: model.start(black, camera, [0], text)[0])  # the host's thread is the one that computes
    return max(LARGEST_IMAGE, 2 * state.nbytes) + 1_000_000
