"""`sanawm serve`: the session server."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro

from sanawm_env.cli.common.console import note, report
from sanawm_env.cli.common.world import check_encoder
from sanawm_env.registration import DEFAULT_CHECKPOINT

__all__ = ["Serve", "address", "need_extra"]


@dataclass
class Serve:
    """Serve one world to browsers and remote environments: many sessions, each with a past that can be rewound.

    The address that is printed holds a token. Whoever has it may use every session.
    """

    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, checkpoint folder or release; `untrained` is a small world of random weights, for tests."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it, for worlds with text; otherwise beside the checkpoint, or from the Hub."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in."""
    port: int = 8766
    """0 takes a free port."""
    token: str | None = None
    """What clients have to send; none makes one up. SANAWM_TOKEN sets it, too, and is not seen in `ps`."""
    insecure: bool = False
    """No token; only on an address of this machine alone."""
    data: Path | None = None
    """Folder in which sessions outlive this process; none is a temporary one."""
    max_sessions: int = 64
    """Sessions at most."""
    snapshot_gb: float = 4.0
    """Gigabytes that all snapshots together may hold."""
    idle_minutes: float = 10.0
    """Until a session that nobody uses is kept on the disk alone."""
    device: str = "auto"
    """As in `SanaWMEnv`."""
    dtype: str | None = None
    """As in `SanaWMEnv`."""
    precision: str | None = None
    """As in `SanaWMEnv`."""
    state_precision: str | None = None
    """As in `SanaWMEnv`; snapshots are the smaller for it."""
    warmup: bool = True
    """Run every kind of step once before the first session needs it."""

    def run(self) -> None:
        """Serve until interrupted.

        Raises:
            ValueError, OSError: An option that cannot be used, or a port that cannot be had.
        """
        self._check()
        need_extra("serve")
        from sanawm_env.server.web.listening import listen, locked
        from sanawm_env.server.web.run import make_server

        with listen(self.host, self.port) as listening, locked(self.data) as folder:
            app, token = self.application(folder)
            server = make_server(app)
            report(address(listening, token))
            server.run(sockets=[listening])

    def application(self, folder: Path, routes: list[Any] | None = None) -> tuple[Any, str | None]:
        """The application, and the token that clients need."""
        from sanawm_env.server.sessions.host import Limits
        from sanawm_env.server.web.app import make_app
        from sanawm_env.server.web.auth import Guard, is_loopback
        from sanawm_env.world.checkpoints.prompts import Prompts
        from sanawm_env.world.model import WorldModel

        model = WorldModel.load(
            self.checkpoint, self.device, self.dtype, precision=self.precision, state_precision=self.state_precision,
            text_encoder=self.text_encoder,
        )  # fmt: skip
        if model.config.reads_text:
            Prompts(model).folders()  # no session could begin without a text encoder
        token = None if self.insecure else self.token or os.environ.get("SANAWM_TOKEN") or secrets.token_urlsafe(18)
        hosts = ("127.0.0.1", "localhost", "::1") if is_loopback(self.host) else None
        limits = Limits(self.max_sessions, int(self.snapshot_gb * 1e9), idle_seconds=self.idle_minutes * 60)
        given = {"dtype": self.dtype, "precision": self.precision}
        loading = {name: value for name, value in given.items() if value is not None}
        app = make_app(
            model, folder, Guard(token, hosts), limits,
            warmup=self.warmup, routes=routes, loading=loading, recording=self.data is not None,
        )  # fmt: skip
        return app, token

    def _check(self) -> None:
        from sanawm_env.server.web.auth import is_loopback

        check_encoder(self.text_encoder)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie in 0..65535; got {self.port}.")
        if self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"--insecure would let everybody who reaches {self.host} in; leave it out, or use --host 127.0.0.1."
            )
        if self.insecure and self.token:
            raise ValueError("give either --token or --insecure.")
        if self.token is not None and len(self.token) < 8:
            raise ValueError("--token has at least 8 letters; leave it out to get a good one.")
        if self.max_sessions < 1 or not self.snapshot_gb > 0 or not self.idle_minutes > 0:
            raise ValueError("--max-sessions, --snapshot-gb and --idle-minutes must be positive.")
        if not self.insecure and not is_loopback(self.host):
            note(
                "the token goes over the network as it is: put a proxy that speaks TLS in front, or use an ssh tunnel."
            )


def address(listening: socket.socket, token: str | None) -> str:
    """What to open in a browser, or to give to a client."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/" + (f"?token={token}" if token else "")


def need_extra(command: str) -> None:
    """See that the server's libraries are there.

    Raises:
        ValueError: Says what to install.
    """
    for name in ("starlette", "uvicorn", "websockets"):
        try:
            import_module(name)
        except ModuleNotFoundError:
            raise ValueError(f"`sanawm {command}` needs {name}: pip install 'sanawm_env[play]'.") from None
