"""Running an application, with the guard before it."""

from __future__ import annotations

from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from sanawm_env.server.web.auth import Guard

__all__ = ["Guarded", "make_server", "security_headers"]

Headers = list[tuple[bytes, bytes]]

_OPEN = ("/healthz", "/")
"""Paths that need no token: they tell nothing. A page's own files, under `/static/`, neither."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def make_server(app: Any) -> uvicorn.Server:
    """A `uvicorn.Server` for an application of `make_app`: `run(sockets=[...])` serves until interrupted.

    It keeps no access log, since addresses hold the token, and compresses no frames.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        ws="websockets-sansio",
        ws_max_size=app.state.largest_message,
        ws_per_message_deflate=False,
        server_header=False,
    )
    return uvicorn.Server(config)


def security_headers(framed: bool) -> Headers:
    """What browsers are told of all answers.

    Args:
        framed: Whether pages of other origins, such as a notebook, may show the page within theirs.
    """
    frames = "http: https: vscode-webview:" if framed else "'none'"
    policy = f"default-src 'self'; img-src 'self' data: blob:; frame-ancestors {frames}"
    return [(b"content-security-policy", policy.encode()), *_HEADERS]


class Guarded:
    """Lets in whom the guard knows, and says to browsers what the answers may do."""

    def __init__(self, app: ASGIApp, guard: Guard, headers: Headers) -> None:
        """Stand before an application."""
        self._app, self._guard, self._headers = app, guard, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or turn away."""
        if scope["type"] == "websocket":
            websocket = WebSocket(scope, receive, send)
            code = None if self._guard.welcomes(websocket.headers) else 4403
            if code is None and not self._guard.knows(websocket.headers, websocket.query_params):
                code = 4401
            if code is not None:
                await websocket.accept()  # closed before that, a browser is not told the code
                await websocket.close(code)
                return
        if scope["type"] == "http":
            request = Request(scope)
            refused = self._refused(request)
            if refused is not None:
                await refused(scope, receive, send)
                return
            await self._app(scope, receive, _with_headers(send, self._headers))
            return
        await self._app(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        if not self._guard.welcomes(request.headers):
            return JSONResponse(
                {"error": "this server is called by another name, or from another page.", "code": "forbidden"}, 403
            )
        free = request.url.path in _OPEN or request.url.path.startswith("/static/")
        if free or self._guard.knows(request.headers, request.query_params):
            return None
        error = "the token is missing or wrong; use the address that the server printed."
        return JSONResponse({"error": error, "code": "unauthorized"}, 401)


def _with_headers(send: Send, headers: Headers) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *headers]
        await send(message)

    return sending
