"""A window for render mode `human`, through OpenCV."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

__all__ = ["Window", "window_problem"]

_TRY = "import cv2; cv2.namedWindow('sanawm_env'); cv2.destroyAllWindows()"
_PATIENCE = 30.0
"""Seconds that OpenCV may take to open a window."""


def window_problem() -> str | None:
    """Why no window can be opened here and how to fix it; None if nothing speaks against it.

    Quick, as every environment asks this for its list of render modes; `Window` tries for good.
    """
    if sys.platform.startswith("linux") and (problem := _unreachable()):
        return problem
    try:
        from sanawm_env.camera.opencv import cv2
    except ImportError as error:
        return str(error)
    gui = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
    if gui.split(":")[-1].strip() == "NONE":
        return (
            "this OpenCV is the headless build; pip uninstall opencv-python-headless and "
            "pip install --force-reinstall opencv-python"
        )
    return None


def _unreachable() -> str | None:
    """Whether nobody listens at the displays that the environment names (old terminals, ssh, containers)."""
    x11, wayland = os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY", "")
    if not (x11 or wayland):
        return "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"
    if (x11 and _listens_x11(x11)) or (wayland and _listens_wayland(wayland)):
        return None
    return f"nobody answers at the display {x11 or wayland}; set DISPLAY to one that is there, or unset it"


def _listens_x11(display: str) -> bool:
    host, _, number = display.rpartition(":")
    screen = number.split(".")[0]
    if not screen.isdecimal():
        return False
    if host in ("", "unix"):
        path = f"/tmp/.X11-unix/X{screen}"
        return _connects(socket.AF_UNIX, "\0" + path) or _connects(socket.AF_UNIX, path)
    return _connects(socket.AF_INET, (host, 6000 + int(screen)))


def _listens_wayland(display: str) -> bool:
    return _connects(socket.AF_UNIX, os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), display))


def _connects(family: int, address: Any) -> bool:
    try:
        with socket.socket(family) as caller:
            caller.settimeout(2.0)
            caller.connect(address)
            return True
    except (OSError, OverflowError):
        return False


@functools.lru_cache(maxsize=8)
def _refuses(*displays: str | None) -> str | None:
    """Why OpenCV opens no window: tried in a child process, once for the same displays.

    A display that listens may still turn the user away, or lack what Qt wants of it. OpenCV's Qt build raises nothing
    then but ends the process that asked, whatever else it was doing.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY], capture_output=True, text=True, errors="replace", timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"OpenCV got no window within {_PATIENCE:g} s on the display {displays[0] or displays[1]}"
    except OSError:
        return None  # no interpreter to try it with
    if done.returncode == 0:
        return None
    said = next((line.strip() for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
    return f"OpenCV cannot open one on the display {displays[0] or displays[1]} ({said})"


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
        problem = window_problem()
        if problem is None and sys.platform.startswith("linux"):
            problem = _refuses(os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY"))
        if problem:
            raise DependencyNotInstalled(
                f"render_mode='human' cannot open a window: {problem}; "
                "or use render_mode='rgb_array', or 'rgb_array_list' with sanawm_env.video."
            )
        from sanawm_env.camera.opencv import cv2

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
