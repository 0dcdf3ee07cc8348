"""`play`: walk by hand through the world of an environment, from a notebook or a prompt, and go on from there."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import fields
from html import escape
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.settings import Settings
from sanawm_env.envs.simulator import Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.server import protocol
from sanawm_env.server.client.values import plain, sent_picture
from sanawm_env.server.sessions.host import Host, Limits
from sanawm_env.server.sessions.simulators import ALLOWED
from sanawm_env.server.web.auth import Guard
from sanawm_env.server.web.limits import Uploads
from sanawm_env.server.web.listening import locked

__all__ = ["Playing", "play"]


def play(env: Any, *, port: int = 0, height: int = 720, data: str | Path | None = None) -> Playing:
    """Open the page of `sanawm play` on this environment's world, where it stands, in a server beside the program.

    The environment itself stays where it is. Let it rest while somebody walks, since both use the same model::

        observation, info = env.reset(seed=7)
        page = sanawm_env.play(env)  # the last line of a cell: the page appears below
        ...
        observation, info = env.unwrapped.restore(page.snapshot())  # go on from where the person stopped
        page.close()

    Args:
        env: A `SanaWMEnv`, perhaps wrapped, that was reset. Its task, sensors and settings are those of the walk, but
            for the action mode: people steer by pose deltas (`delta`).
        port: 0 takes a free one.
        height: Of the frame in a notebook, pixels.
        data: Folder for episodes of walks that begin on the page; None records none.

    Returns:
        The server, and where to find it.

    Raises:
        ModuleNotFoundError: Without the extra `play`.
        ResetNeeded: The environment was not reset.
        TypeError: No `SanaWMEnv`.
        ValueError: The port cannot be had, or another server uses the folder.
    """
    base = env.unwrapped
    if not isinstance(base, SanaWMEnv):
        raise TypeError(f"play takes a SanaWMEnv; got {type(base).__name__}.")
    if missing := [name for name in ("starlette", "uvicorn", "websockets") if find_spec(name) is None]:
        raise ModuleNotFoundError(f"play needs {missing[0]}: pip install 'sanawm_env[play]'.", name=missing[0])
    return Playing(base.simulation, base.snapshot(), port, height, data)


class Playing:
    """A page that is served until `close`; as a context manager until the block is left."""

    def __init__(
        self, simulator: Simulator, moment: EnvSnapshot, port: int, height: int, data: str | Path | None
    ) -> None:
        """See `play`."""
        from sanawm_env.server.web.app import make_app
        from sanawm_env.server.web.background import in_background
        from sanawm_env.server.web.page import page_routes

        self._height, self._stack = height, ExitStack()
        with self._stack:
            folder = self._stack.enter_context(locked(None if data is None else Path(data)))
            token = secrets.token_urlsafe(18)
            app = make_app(
                simulator.model, folder, Guard(token, ("127.0.0.1", "localhost")), Limits(idle_seconds=float("inf")),
                routes=page_routes(), recording=data is not None, framed=True,
            )  # fmt: skip
            self._host: Host = app.state.dispatcher.host
            uploads = app.state.dispatcher.uploads
            bound = self._stack.enter_context(in_background(app, port))
            self.session: str = self._host.call(lambda: _begun(self._host, uploads, simulator, moment)).result()
            """Id of the walk."""
            asked = protocol.Snapshot(session=self.session, name="Start")
            self._host.submit(asked, internal=True).result()
            self.url: str = f"http://127.0.0.1:{bound}/?token={token}#walk/{self.session}"
            """For a browser of this machine. It holds a token: who has it may use every walk of this server."""
            self._stack = self._stack.pop_all()

    def snapshot(self, session: str | None = None) -> EnvSnapshot:
        """Where the walk stands, for `env.unwrapped.restore`.

        Args:
            session: Id of another walk that was begun on the page, as its address shows it; None is the first one.

        Raises:
            RuntimeError: It was closed.
            ServerError: No such walk.
        """
        host = self._host
        found: EnvSnapshot = host.call(lambda: host.session(session or self.session).require().only).result()
        return found

    def close(self) -> None:
        """End the server and its walks; safe to call again."""
        self._stack.close()

    def __enter__(self) -> Playing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Playing({self.url!r})"

    def _repr_html_(self) -> str:
        """The page, for notebooks whose browser runs on this machine."""
        url = escape(self.url, quote=True)
        style = f"width:100%;height:{self._height}px;border:0;border-radius:12px"
        frame = f'<iframe src="{url}" style="{style}" allow="gamepad; fullscreen; clipboard-write"></iframe>'
        return f'{frame}<p><a href="{url}" target="_blank">Open it in a tab of its own</a></p>'


def _begun(host: Host, uploads: Uploads, simulator: Simulator, moment: EnvSnapshot) -> str:
    """A session at a moment; in the host's thread."""
    settings = simulator.settings
    given = _settings(settings, uploads)
    if settings.action_mode != "delta":
        given |= {"action_mode": "delta"}
        given.pop("keymap", None)
    else:
        host.simulators.keep(given, simulator)
    session = host.create(given)
    session.now = Slots.of([session.simulator.adopt(moment)])
    return session.id


def _settings(settings: Settings, uploads: Uploads) -> dict[str, Any]:
    """Settings as JSON has them; what is as it is by default is left out."""
    usual = Settings()
    names = [each.name for each in fields(settings) if each.name in ALLOWED and each.name != "image"]
    values = {name: plain(getattr(settings, name)) for name in names}
    given = {name: value for name, value in values.items() if value != plain(getattr(usual, name))}
    if settings.image is not None:
        given["image"] = uploads.add(sent_picture(settings.image))
    return given
