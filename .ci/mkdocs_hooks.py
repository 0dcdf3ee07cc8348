"""For mkdocs: the package as it is installed, and tables of the options of each command.

Both are read from the sources, without importing them, so that the site builds where torch is missing.
"""

import ast
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = re.compile(r"^\{\{ options (\S+):(\w+) \}\}$", re.MULTILINE)


def on_startup(**_: Any) -> None:
    """Lay the tree of links that mkdocstrings reads (`mkdocs.yml`), with `policies` and `bridges` in their place."""
    tree = ROOT / "build" / "docs"
    shutil.rmtree(tree, ignore_errors=True)
    package = tree / "sanawm_env"
    package.mkdir(parents=True)
    for entry in [*(ROOT / "sanawm_env").iterdir(), ROOT / "policies", ROOT / "bridges"]:
        if entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put a table in the place of every line `{{ options sanawm_env/cli/rollout.py:Rollout }}`."""
    return OPTIONS.sub(lambda match: options_table(ROOT / match[1], match[2]), markdown)


def options_table(source: Path, name: str) -> str:
    """What a command does, and its options: those are the fields of a dataclass, with a docstring after each.

    Raises:
        KeyError: The file has no such class; the page names one that was moved.
    """
    classes = _classes(source)
    rows = ["| option | default | meaning |", "|---|---|---|"]
    fields = {option: row for option, *row in _fields(classes[name], classes)}  # what a command redefines counts
    for option, (default, meaning) in fields.items():
        rows.append(f"| {option} | {default} | {_text(meaning)} |")
    return f"{_text(ast.get_docstring(classes[name]) or '', lines=True)}\n\n" + "\n".join(rows)


def _classes(source: Path) -> dict[str, ast.ClassDef]:
    """The classes of a file, and those that it imports from the command line's own modules."""
    found: dict[str, ast.ClassDef] = {}
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sanawm_env.cli."):
            theirs = _classes(ROOT / f"{(node.module or '').replace('.', '/')}.py")
            found = theirs | found
        elif isinstance(node, ast.ClassDef):
            found[node.name] = node
    return found


def _fields(command: ast.ClassDef, classes: dict[str, ast.ClassDef], prefix: str = "") -> list[tuple[str, str, str]]:
    found = []
    for base in command.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found += _fields(classes[base.id], classes, prefix)
    for field, after in zip(command.body, command.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr)):
            continue
        kind, aliases = ast.unparse(field.annotation), ""
        if kind in classes:  # settings of their own: --useful.drift
            found += _fields(classes[kind], classes, f"{prefix}{ast.unparse(field.target)}.")
            continue
        if (flat := re.fullmatch(r"Annotated\[(\w+), tyro\.conf\.OmitArgPrefixes\]", kind)) and flat[1] in classes:
            found += _fields(classes[flat[1]], classes, prefix)  # options that several commands have
            continue
        if kind.startswith("Annotated["):
            aliases = "".join(f", `{alias}`" for alias in re.findall(r"'(-\w)'", kind))
        option = f"`--{prefix}{ast.unparse(field.target)}`{aliases}".replace("_", "-")
        meaning = after.value.value if isinstance(after.value, ast.Constant) else ""
        found.append((option, _default(field.value), str(meaning)))
    return found


def _default(value: ast.expr | None) -> str:
    if value is None:
        return "needed"
    text = ast.unparse(value)
    if text in ("None", "field(default_factory=dict)", "()") or text.startswith("field("):
        return ""
    if text == "DEFAULT_CHECKPOINT":
        source = (Path(__file__).parents[1] / "sanawm_env/registration.py").read_text(encoding="utf-8")
        found = re.search('DEFAULT_CHECKPOINT = "(.+)"', source)
        return f"`{found[1]}`" if found else ""
    if text in ("True", "False"):
        return {"True": "on", "False": "off"}[text]
    quoted = re.fullmatch(r"(?:Path\()?'(.*?)'\)?", text)
    return f"`{quoted[1] if quoted else text}`"


def _text(docstring: str, lines: bool = False) -> str:
    """Escaped: `<stem>` is no tag, and a bar would end the cell."""
    text = docstring.replace("<", "&lt;").replace("|", "\\|")
    return text if lines else " ".join(text.split())
