"""Scripts load `sanawm_env` before torch, or its threads spin beside other work (docs/explanation/busy-machine.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADS_TORCH = {"torch", "stable_baselines3", "torchrl", "diffusers", "transformers", "ray", "lerobot"}
SCRIPTS = [
    path
    for folder in ("examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
]


def imported(source: str) -> list[str]:
    """Top-level packages in the order in which the module's own statements import them."""
    found: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found += [name.name.split(".")[0] for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module.split(".")[0])
    return found


def test_there_are_scripts():
    assert len(SCRIPTS) > 15


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_sanawm_env_comes_before_torch(path):
    names = imported(path.read_text(encoding="utf-8"))
    first = next((i for i, name in enumerate(names) if name in LOADS_TORCH), None)
    assert first is None or "sanawm_env" in names[:first], (
        f"{path.name}: import sanawm_env first, then `# isort: split`"
    )
