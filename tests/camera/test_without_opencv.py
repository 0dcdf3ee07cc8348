"""OpenCV that cannot be loaded, as in a container without libGL: what works, and what the rest says."""

import builtins
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sanawm_env.camera.resize import resized, shrunk

HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
sys.meta_path.insert(0, Hide())
"""


def python(body: str) -> str:
    done = subprocess.run([sys.executable, "-c", HIDE + body], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def no_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "sanawm_env.camera.opencv":
            raise ImportError("hidden")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.slow
def test_environments_tasks_and_rollouts_work(tmp_path: Path) -> None:
    """At full size, and observed at half the size."""
    body = f"""
import gymnasium as gym, sanawm_env
for name, more in (("SanaWM-v0", {{}}), ("SanaWM/ImageNav-v0", {{"obs_size": (64, 112)}})):
    env = gym.make(name, checkpoint="tiny", chunk_frames=1, **more)
    env.reset(seed=0)
    env.step([0.0] * 6)
from sanawm_env.cli import main
main(["rollout", "-c", "tiny", "--actions", "w-8", "--out", {str(tmp_path / "o.mp4")!r}])
assert "cv2" not in sys.modules
print("works")
"""
    assert python(body).splitlines()[-1] == "works" and (tmp_path / "o.mp4").stat().st_size


@pytest.mark.parametrize(
    "body",
    [
        "import gymnasium as gym, sanawm_env\n"
        "try: gym.make('SanaWM-v0', checkpoint='tiny', obs_size=(50, 84)).reset(seed=0)\n"
        "except ImportError as error: print(error)",
        "try: import sanawm_env.evaluation\nexcept ImportError as error: print(error)",
        "import gymnasium as gym, sanawm_env.envs.rendering as rendering\n"
        "rendering._unreachable = lambda: None\n"
        "try: gym.make('SanaWM-v0', checkpoint='tiny', render_mode='human')\n"
        "except gym.error.DependencyNotInstalled as error: print(error)",
    ],
    ids=["other sizes", "evaluation", "window"],
)
def test_the_rest_says_what_to_install(body: str) -> None:
    said = python(body)
    assert "libGL.so.1" in said and "libgl1" in said


def test_the_error_names_the_headless_build() -> None:
    said = python("try: import sanawm_env.camera.opencv\nexcept ImportError as error: print(error)")
    assert "pip install opencv-python-headless" in said


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
def test_same_bits_as_opencv(factor: int, no_opencv: None) -> None:
    rng = np.random.default_rng(factor)
    image = rng.integers(0, 256, (factor * 14, factor * 23, 3), dtype=np.uint8)
    wanted = cv2.resize(image, (23, 14), interpolation=cv2.INTER_AREA)
    assert np.array_equal(resized(image, (14, 23)), wanted) and np.array_equal(shrunk(image, factor), wanted)


def test_other_factors_need_opencv(no_opencv: None) -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    assert resized(image, (30, 40)) is not image
    for call in (lambda: resized(image, (20, 30)), lambda: resized(image, (15, 21)), lambda: shrunk(image, 4)):
        with pytest.raises(ImportError):
            call()
