"""What a wheel installs is what the repository holds."""

import tomllib
from pathlib import Path

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
