"""The command `sanawm`, one file per subcommand."""

from sanawm_env.cli.main import main

__all__ = ["main"]
