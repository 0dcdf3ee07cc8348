"""The command `sanawm`: `rollout`, `render`, `refine`, `evaluate`, `bench`, `train`, `info`, `doctor` and others."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from sanawm_env.cli.common.console import Interrupted, interrupts, quiet_stdout, tolerant
from sanawm_env.cli.data.annotate import Annotate
from sanawm_env.cli.data.collect import Collect
from sanawm_env.cli.data.datasets import DataCommand
from sanawm_env.cli.data.replay import Replay
from sanawm_env.cli.data.review import Review
from sanawm_env.cli.doctor.command import Doctor
from sanawm_env.cli.evaluation.bench import Bench
from sanawm_env.cli.evaluation.evaluate import Evaluate
from sanawm_env.cli.evaluation.evaluate_policy import EvaluatePolicy
from sanawm_env.cli.evaluation.serve_policy import ServePolicy
from sanawm_env.cli.info import Info
from sanawm_env.cli.refine import Refine
from sanawm_env.cli.render import Render
from sanawm_env.cli.rollout import Rollout
from sanawm_env.cli.ros2.command import Ros2Command
from sanawm_env.cli.server.play import Play
from sanawm_env.cli.server.serve import Serve
from sanawm_env.files import FULL

__all__ = ["main"]


@dataclass
class BenchCommand:
    """Make a bench in the layout of SANA-WM-Bench, run a world over one, score videos: `sanawm bench make|run`."""

    what: Bench

    def run(self) -> None:
        """Pass on."""
        self.what.run()


@dataclass
class Train:
    """Train a world: `sanawm train vae|world|lora|distill|... [--config FILE]`; `--help` after it lists the options."""

    def run(self) -> None:
        """Never reached: the rest of the line goes to the trainer's own parser, see `main`."""


Command = (
    Annotated[Rollout, tyro.conf.subcommand("rollout")]
    | Annotated[Render, tyro.conf.subcommand("render")]
    | Annotated[Refine, tyro.conf.subcommand("refine")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[EvaluatePolicy, tyro.conf.subcommand("evaluate-policy")]
    | Annotated[ServePolicy, tyro.conf.subcommand("serve-policy")]
    | Annotated[Replay, tyro.conf.subcommand("replay")]
    | Annotated[Collect, tyro.conf.subcommand("collect")]
    | Annotated[Review, tyro.conf.subcommand("review")]
    | Annotated[Play, tyro.conf.subcommand("play")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[  # its options stand bare: `--out`, not `--what.out`
        tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[BenchCommand]], tyro.conf.subcommand("bench")
    ]
    | Annotated[tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[DataCommand]], tyro.conf.subcommand("data")]
    | Annotated[tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Ros2Command]], tyro.conf.subcommand("ros2")]
    | Annotated[Annotate, tyro.conf.subcommand("annotate")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command.

    Mistakes of the user end with one line on stderr and exit code 2. `--debug` anywhere, or SANAWM_DEBUG=1,
    shows the traceback instead.

    Args:
        argv: Arguments without the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("SANAWM_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    tolerant()
    try:
        with interrupts():
            _run(arguments)
        sys.stdout.flush()  # while a broken pipe can still be told from a failure
    except KeyboardInterrupt as stop:
        print(f"sanawm: interrupted{f' by {stop}' if isinstance(stop, Interrupted) else ''}", file=sys.stderr)
        sys.exit(128 + (stop.number if isinstance(stop, Interrupted) else signal.SIGINT))
    except BrokenPipeError:  # `| head`: whoever read has enough; results were written before they were printed
        quiet_stdout()
        sys.exit(128 + 13)
    except Exception as error:
        if debug:
            raise
        # A library's own exceptions say little without their name; ours are whole sentences.
        name = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        room = isinstance(error, OSError) and error.errno in FULL
        hint = ". Make room, and give the same line again." if room else ""
        print(f"sanawm: error: {name}{' '.join(str(error).split())}{hint}", file=sys.stderr)
        sys.exit(2)


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["train"]:
        from sanawm_env.training.run import main as train

        train(arguments[1:])
        return
    command = tyro.cli(
        Command,
        prog="sanawm",
        description="Act inside a video world model. `--debug` shows tracebacks.",
        args=arguments,
    )
    command.run()


if __name__ == "__main__":
    main()
