"""`sanawm data`: what is in a dataset, textured clips, other formats, checks, parts, the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from sanawm_env.cli.data.check import Check
from sanawm_env.cli.data.convert import Convert
from sanawm_env.cli.data.generate import Generate
from sanawm_env.cli.data.info import DataInfo
from sanawm_env.cli.data.push import Push
from sanawm_env.cli.data.split import Split

__all__ = ["DataCommand"]


@dataclass
class DataCommand:
    """Datasets: `sanawm data info|generate|convert|check|split|push`."""

    what: (
        Annotated[DataInfo, tyro.conf.subcommand("info")]
        | Annotated[Generate, tyro.conf.subcommand("generate")]
        | Annotated[Convert, tyro.conf.subcommand("convert")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[Split, tyro.conf.subcommand("split")]
        | Annotated[Push, tyro.conf.subcommand("push")]
    )

    def run(self) -> None:
        """Pass on."""
        self.what.run()
