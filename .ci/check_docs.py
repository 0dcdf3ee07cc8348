"""Python blocks of README and guides must parse, and relative links of every page must lead to a file and a heading.

mkdocs checks the links of its own pages; README, CONTRIBUTING and the model cards are not among them.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]*`")
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


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", title.replace("`", "").lower())
        found.add(re.sub(r"[\s-]+", "-", words).strip("-"))
    return found


if __name__ == "__main__":
    sys.exit(main())
