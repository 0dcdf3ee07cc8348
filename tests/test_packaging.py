"""What a wheel installs is what the repository holds."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sanawm_env

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"sanawm_env": "sanawm_env", "policies": "sanawm_env.policies", "bridges": "sanawm_env.bridges"}


def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def folders_with_code():
    for folder, package in FOLDERS.items():
        for home in {file.parent for file in (ROOT / folder).rglob("*.py")}:
            yield home, ".".join([package, *home.relative_to(ROOT / folder).parts])


def test_every_folder_is_a_listed_package():
    assert {package for _, package in folders_with_code()} == set(settings()["packages"])


def test_every_package_says_what_it_holds():
    assert not [package for home, package in folders_with_code() if not (home / "__init__.py").is_file()]


def test_no_common_name_reaches_site_packages():
    """A user's own folder `policies` must not be hidden by ours."""
    assert {package.partition(".")[0] for package in settings()["packages"]} == {"sanawm_env"}
    mapped = settings()["package-dir"]
    assert mapped == {package: folder for folder, package in FOLDERS.items() if folder != package}


def test_no_folder_has_more_than_a_dozen_entries():
    for folder in ("sanawm_env", "policies", "bridges"):
        for path in [ROOT / folder, *(ROOT / folder).rglob("*/")]:
            if path.is_dir() and path.name != "__pycache__":
                names = {entry.name for entry in path.iterdir()}
                entries = names - {"__init__.py", "py.typed", "__pycache__"}
                if path == ROOT / "sanawm_env":  # ten folders, and the modules that users and all folders import
                    files = {name for name in entries if name.endswith(".py")}
                    assert files <= {"client.py", "files.py", "registration.py", "video.py"}, sorted(files)
                    assert len(entries - files) <= 10, sorted(entries - files)
                else:
                    assert len(entries) <= 12, (path, sorted(entries))


@pytest.mark.parametrize("old", sorted(sanawm_env._MOVED))
def test_former_modules_are_the_present_ones(old):
    module = importlib.import_module(old)
    assert module is importlib.import_module(sanawm_env._MOVED[old])
    assert module.__name__ == module.__spec__.name == sanawm_env._MOVED[old]


FORMER = """
from sanawm_env.env import SanaWMEnv
from sanawm_env.vector_env import SanaWMVectorEnv
from sanawm_env.snapshot import EnvSnapshot
from sanawm_env.state import WorldState
from sanawm_env.config import WorldConfig, small_config
from sanawm_env.world import WorldConfig, WorldModel, WorldState
from sanawm_env.wrappers import DiscreteNavigation, TwistActions, VectorDiscreteNavigation
from sanawm_env.wrappers.twist import VectorTwistActions
from sanawm_env.bench import make_bench, read_bench
from sanawm_env.images import ImageSource, built_in, draw_seeds, prepare, read_image
from sanawm_env.rollout import Recipe, dream, relative, write_rollout
from sanawm_env.tasks import Beginning, Episode, Referee, Stage, Step, Task, get_task
from sanawm_env.evaluation import psnr, rollout
from sanawm_env.evaluation.cost import Outcome, Useful, cost_per_useful
from sanawm_env.scenes import EVAL_SEEDS, TRAIN_SEEDS, first_frame, make_clips
from sanawm_env.camera import rollout_keys
from sanawm_env.video import VideoWriter
"""


def test_names_of_before_can_be_imported():
    # In a process of its own: by now other tests have imported the modules by their present names.
    subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", FORMER], check=True, cwd=ROOT)
