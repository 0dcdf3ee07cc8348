"""OpenCV, or how to get one that loads here; what can do without it does not import this module.

from sanawm_env.camera.opencv import cv2
"""

try:
    import cv2
except ImportError as error:  # it is not there, or one of the system's libraries that it wants is not
    raise ImportError(
        f"OpenCV cannot be loaded ({error}). Where there is no screen, for instance in a container, install the build "
        "that needs none: pip uninstall -y opencv-python && pip install opencv-python-headless. To keep the other one, "
        "give it the system's libraries: apt-get install libgl1 libglib2.0-0."
    ) from error

__all__ = ["cv2"]
