"""Every benchmark is a script that runs from anywhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [p for p in sorted((ROOT / "benchmarks").rglob("*.py")) if '__name__ == "__main__"' in p.read_text()]
HERE = "sys.path.append(str(Path(__file__).resolve().parents[{}]))"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_finds_the_other_benchmarks(path):
    """Python puts the script's own folder on the path; ours comes before the first import of `benchmarks`."""
    lines = path.read_text().splitlines()
    imports = [
        node.lineno
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "benchmarks"
    ]
    if imports:
        depth = len(path.relative_to(ROOT).parts) - 1
        before = "\n".join(lines[: min(imports) - 1])
        assert HERE.format(depth) in before or "python -m benchmarks" in before, path
