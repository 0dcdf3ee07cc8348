"""`pytest -m gpu`: what can only be tested on a GPU."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.speed.gpu.stages import Part, Settings

ROOT = Path(__file__).resolve().parents[3]


def parts(settings: Settings) -> Iterator[Part]:
    """The package's own tests, and the kernels' by themselves: compiling those takes longest."""
    kernels = "tests/world/accel/kernels"
    yield Part("kernels", lambda: run_tests([kernels]), 2.0)
    if not settings.small:  # collecting all of them takes a CPU minutes
        yield Part("others", lambda: run_tests(["tests", f"--ignore={kernels}"]), 4.0)


def run_tests(arguments: list[str]) -> dict[str, Any]:
    """Counts, and the names of tests that failed.

    Raises:
        RuntimeError: pytest itself did not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rs", f"--junitxml={report}", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1, 5) or not report.exists():  # 5: nothing was chosen
            raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}")
        cases = list(ET.parse(report).getroot().iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    return {
        "passed": len(cases) - len(bad) - len(skipped),
        "failed": [f"{case.get('classname')}::{case.get('name')}" for case in bad],
        "skipped": len(skipped),
        "tail": done.stdout.splitlines()[-8:],
    }
