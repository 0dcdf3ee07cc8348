"""`sanawm ros2`: serve a world to robots' software, record one, replay a robot's bag inside one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from sanawm_env.cli.ros2.record import Record
from sanawm_env.cli.ros2.replay import ReplayBag
from sanawm_env.cli.ros2.serve import Serve

__all__ = ["Ros2Command"]


@dataclass
class Ros2Command:
    """Robots: `sanawm ros2 serve|record|replay`."""

    what: (
        Annotated[Serve, tyro.conf.subcommand("serve")]
        | Annotated[Record, tyro.conf.subcommand("record")]
        | Annotated[ReplayBag, tyro.conf.subcommand("replay")]
    )

    def run(self) -> None:
        """Pass on."""
        self.what.run()
