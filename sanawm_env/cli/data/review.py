"""`sanawm review`: a contact page of a dataset in the browser."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sanawm_env.cli.common.console import report

__all__ = ["Review"]


@dataclass
class Review:
    """Look at the episodes of a dataset in a browser, and keep, drop or tag them by keyboard.

    The dataset may be growing. Decisions go to its sanawm/review.json; nothing else of it is touched.
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    """Folder of `sanawm collect`."""
    port: int = 8765
    """Where the page is served, to this machine only; 0 takes a free port."""
    open: bool = False
    """Open the page in the browser."""

    def run(self) -> None:
        """Serve until interrupted.

        Raises:
            ValueError, FileNotFoundError: No dataset, or a port that cannot be had.
        """
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie in 0..65535; got {self.port}.")
        try:
            import uvicorn

            from sanawm_env.data.review.server import make_app
            from sanawm_env.server.web.listening import listen
        except ModuleNotFoundError as error:
            if error.name not in ("uvicorn", "starlette"):
                raise
            raise ValueError(f"`sanawm review` needs {error.name}: pip install 'sanawm_env[review]'.") from None
        token = secrets.token_urlsafe(18)
        app = make_app(self.dataset, token)
        listening = listen("127.0.0.1", self.port)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/?token={token}"
        report(f"{self.dataset}: open {address} (Ctrl-C ends it)")
        if self.open:
            import webbrowser

            webbrowser.open_new_tab(address)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        with listening:
            uvicorn.Server(config).run(sockets=[listening])
