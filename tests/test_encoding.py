"""Text files are UTF-8 whatever the locale: every call that reads or writes one says so."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = sorted(
    path
    for folder in ("sanawm_env", "policies", "bridges", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
ELSEWHERE = ("av", "os", "Image", "tarfile", "archive", "Database", "posed")  # their `open` is no text file's


def unsaid(source):
    """Lines with a call that leaves the encoding to the locale."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(each.arg == "encoding" for each in node.keywords):
            continue
        function, method = node.func, isinstance(node.func, ast.Attribute)
        name = function.attr if method else getattr(function, "id", "")
        owner = getattr(function.value, "id", getattr(function.value, "attr", "")) if method else ""
        words = [*node.args, *(each.value for each in node.keywords if each.arg == "mode")]
        modes = [each.value for each in words if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        binary = any("b" in mode for mode in modes)
        if (
            (name in ("open", "fdopen") and owner not in ELSEWHERE and not binary)
            or (name == "read_text" and not node.args)
            or (name == "write_text" and method and len(node.args) == 1)
        ):
            found.append(node.lineno)
    return found


def test_the_check_sees_what_it_should():
    seen = 'a.read_text()\n(b / c).write_text(x)\nopen("f")\nc.open("a")\nopen("f", mode="w")\n'
    assert unsaid(seen) == [1, 2, 3, 4, 5]
    fine = (
        'a.read_text("utf-8")\nwrite_text(p, x)\nopen("f", "rb")\nos.open("f", 1)\nb.write_text(x, encoding="utf-8")\n'
    )
    assert unsaid(fine) == []


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_file_has_an_encoding(path):
    assert unsaid(path.read_text(encoding="utf-8")) == []
