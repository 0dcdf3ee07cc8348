"""Comments and docs cite what the repository holds."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECTION = re.compile(r'docs/([\w/-]+\.md),\s+"([^"]+)"(?:(?:, | and )"([^"]+)")*')
ABSENT = re.compile(r"\bspec(ification)?[ .]*(sections?)? ?[0-9§]|\bspec/(?!v1)", re.IGNORECASE)


def texts():
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    for name in listed.stdout.split():
        if (ROOT / name).is_file() and name != "tests/test_citations.py":
            yield name, (ROOT / name).read_text(encoding="utf-8")


def test_no_absent_specification():
    found = [f"{name}: {match[0]}" for name, text in texts() for match in ABSENT.finditer(text)]
    assert not found


def test_cited_sections_exist():
    cited = 0
    for name, text in texts():
        # A citation may run over the end of a comment's line.
        for match in SECTION.finditer(re.sub(r"\n\s*(#\s*)?", " ", text)):
            page = ROOT / "docs" / match[1]
            assert page.is_file(), f"{name} cites {page}, which is not there"
            headings = re.findall(r"^#+ (?:\d+\. )?(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            for section in re.findall(r'"([^"]+)"', match[0]):
                assert section in headings, f'{name} cites "{section}", which docs/{match[1]} does not have'
                cited += 1
    assert cited > 20


def test_cited_pages_exist():
    cited = 0
    for name, text in texts():
        if name.endswith(".py"):
            for page in re.findall(r"\bdocs/[\w/-]+\.md\b", text):
                assert (ROOT / page).is_file(), f"{name} cites {page}, which is not there"
                cited += 1
    assert cited > 30
