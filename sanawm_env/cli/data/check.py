"""`sanawm data check`: what a reader of a dataset would choke on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

__all__ = ["Check"]


@dataclass
class Check:
    """Say what a reader of the dataset would choke on; exit code 1 if there is something."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """Folder or file of any format that `sanawm data convert` knows."""
    format: str | None = None
    """Of the dataset; found out by itself unless something is so broken that it cannot be."""

    def run(self) -> None:
        """Print the problems, one to a line."""
        from sanawm_env.data.formats import detect, get_format

        if not self.dataset.exists():
            raise FileNotFoundError(f"no dataset {self.dataset}; check the path.")
        found = get_format(self.format) if self.format else detect(self.dataset)
        problems = found.load().check(self.dataset)
        for problem in problems:
            print(f"{'error' if problem.fatal else 'note'}: {problem.where}: {' '.join(problem.what.split())}")
        fatal = sum(problem.fatal for problem in problems)
        print(f"{self.dataset}: {found.title}, {f'{fatal} errors' if fatal else 'no errors'}")
        if fatal:
            sys.exit(1)
