"""A window for render mode `human`, through OpenCV."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

__all__ = ["Window", "window_problem"]


def window_problem() -> str | None:
    """Why no window can be opened here and how to mend it; None if one can.

    Asked before the first call that draws: OpenCV's Qt build ends the whole process where there is no display.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"
    try:
        import cv2
    except ImportError:
        return "OpenCV is missing; pip install opencv-python"
    gui = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
    if gui.split(":")[-1].strip() == "NONE":
        return (
            "this OpenCV is the headless build; pip uninstall opencv-python-headless and "
            "pip install --force-reinstall opencv-python"
        )
    return None


class Window:
    """Shows frames at the speed of the world, or slower where they come slower."""

    def __init__(self, title: str, fps: float, zoom: int = 1) -> None:
        """Open nothing yet; the window appears with the first frame.

        Args:
            title: In the window's bar.
            fps: Frames per second to show at most.
            zoom: Whole factor by which frames are enlarged.

        Raises:
            DependencyNotInstalled: No window can be opened here.
        """
        if problem := window_problem():
            raise DependencyNotInstalled(
                f"render_mode='human' cannot open a window: {problem}; "
                "or use render_mode='rgb_array', or 'rgb_array_list' with sanawm_env.video."
            )
        import cv2

        self._cv2: Any = cv2
        self._title, self._interval, self._zoom = title, 1.0 / fps, zoom
        self._due = 0.0

    def show(self, frames: NDArray[np.uint8]) -> None:
        """Show `(F, H, W, 3)` RGB frames one after another."""
        for frame in frames:
            wait = self._due - time.monotonic()
            bgr = frame[..., ::-1].repeat(self._zoom, 0).repeat(self._zoom, 1)
            self._cv2.imshow(self._title, bgr)
            self._cv2.waitKey(max(1, int(wait * 1000)))
            self._due = max(self._due, time.monotonic()) + self._interval

    def close(self) -> None:
        """Close the window; a frame shown later opens it again."""
        try:
            self._cv2.destroyWindow(self._title)
        except self._cv2.error:
            pass  # never shown, or closed by hand
