"""Python blocks of README and guides must parse, links must lead to a file and a heading, named modules must exist.

mkdocs checks the links of its own pages; README, CONTRIBUTING and the model cards are not among them.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("sanawm_env", "policies", "bridges", "tests", "benchmarks", "examples")
ELSEWHERE = ("diffusion/", "tests/envs/test_envs.py")
"""Files of NVlabs/Sana and of Gymnasium that pages name."""
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]*`")
FILE = re.compile(r"`((?:[\w.-]+/)*\w+\.py)`")
MODULE = re.compile(r"\b((?:sanawm_env|benchmarks)(?:\.\w+)+)")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def main() -> int:
    """Print every fault; 1 if there is one."""
    guides = [
        ROOT / "README.md",
        *sorted((ROOT / "docs/start").glob("*.md")),
        *sorted((ROOT / "docs/how-to").glob("*.md")),
    ]
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sanawm_env").rglob("*.md")]
    faults = [fault for page in guides for fault in python_faults(page)]
    faults += [fault for page in sorted(pages) for fault in link_faults(page)]
    # The changelog names what is no more.
    faults += [fault for page in sorted(pages) if page.name != "CHANGELOG.md" for fault in name_faults(page)]
    print("\n".join(faults) or f"docs: {len(pages)} pages, Python and links are in order")
    return 1 if faults else 0


def python_faults(page: Path) -> list[str]:
    """Blocks marked `python` that do not parse."""
    text = page.read_text(encoding="utf-8")
    faults = []
    for block in FENCED.finditer(text):
        if block[1] == "python":
            try:
                ast.parse(block[2])
            except SyntaxError as error:
                line = text.count("\n", 0, block.start(2)) + (error.lineno or 1)
                faults.append(f"{page.relative_to(ROOT)}:{line}: {error.msg}")
    return faults


def link_faults(page: Path) -> list[str]:
    """Relative links to files or headings that do not exist."""
    text = page.read_text(encoding="utf-8")
    # Same length, so that line numbers stay right.
    bare = FENCED.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
    bare = INLINE_CODE.sub(lambda code: " " * len(code[0]), bare)
    faults = []
    for link in LINK.finditer(bare):
        target, _, heading = (link[1] or link[2]).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target) if target else page
        wrong = not file.exists() or (heading and file.suffix == ".md" and heading not in headings(file))
        if wrong:
            faults.append(
                f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, link.start()) + 1}: no {link[1] or link[2]}"
            )
    return faults


def name_faults(page: Path) -> list[str]:
    """Files and modules that are named and do not exist, after a move for instance."""
    text = page.read_text(encoding="utf-8")
    files = {path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    named = [name for name in FILE.findall(text) if "/" in name and not name.startswith(ELSEWHERE)]
    faults = [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]
    faults += [name for name in MODULE.findall(text) if not module_exists(name)]
    return [f"{page.relative_to(ROOT)}: no {name}" for name in faults]


def module_exists(name: str) -> bool:
    """Whether a dotted name is a module, or a word in the module that holds it."""
    place, parts = ROOT, name.split(".")
    if parts[1] in ("policies", "bridges"):
        parts = parts[1:]
    for index, part in enumerate(parts):
        if (place / part).is_dir():
            place = place / part
            continue
        here = place / f"{part}.py"
        words = parts[index + 1 :] if here.is_file() else parts[index:]
        source = (here if here.is_file() else place / "__init__.py").read_text(encoding="utf-8")
        return all(re.search(rf"\b{word}\b", source) for word in words)
    return True


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", title.replace("`", "").lower())
        found.add(re.sub(r"[\s-]+", "-", words).strip("-"))
    return found


if __name__ == "__main__":
    sys.exit(main())
