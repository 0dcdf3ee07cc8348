"""The application that clients see: one address, the same protocol, and behind it the replicas."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sanawm_env.server import wire
from sanawm_env.server.cluster.fleet import Fleet
from sanawm_env.server.cluster.forward import ask_all, forward
from sanawm_env.server.cluster.numbers import family, merged
from sanawm_env.server.cluster.sockets import Bridge
from sanawm_env.server.errors import CODES
from sanawm_env.server.web.app import read_body
from sanawm_env.server.web.auth import Guard
from sanawm_env.server.web.limits import LARGEST_IMAGE
from sanawm_env.server.web.run import Guarded, security_headers
from sanawm_env.server.web.sockets import told

__all__ = ["make_front"]

_METHODS = ["GET", "POST", "PUT", "DELETE"]


def make_front(
    make_fleet: Callable[[], Fleet],
    guard: Guard,
    token: str,
    largest_message: int,
    routes: list[BaseRoute] | None = None,
) -> Starlette:
    """The application.

    Args:
        make_fleet: Makes the fleet, in the event loop that will use it.
        guard: Who may talk to it.
        token: Of the replicas.
        largest_message: Bytes of a client's WebSocket message.
        routes: Further ones: a page.

    Returns:
        It has `state.largest_message`, and `state.front` once it runs; its lifespan ends the replicas.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        front = app.state.front = _Front(make_fleet(), token)
        front.fleet.begin()
        yield
        await front.fleet.close()

    def of_front(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                response: Response = await getattr(request.app.state.front, name)(request)
                return response
            except Exception as error:
                text = told(error)
                headers = {"Connection": "close"} if text["code"] == "too-large" else None
                return JSONResponse({key: text[key] for key in ("error", "code")}, CODES[text["code"]], headers)

        return answer

    async def socket(websocket: WebSocket) -> None:
        await websocket.app.state.front.socket(websocket)

    app = Starlette(
        routes=[
            Route("/healthz", of_front("health")),
            Route("/metrics", of_front("metrics")),
            Route("/api/replicas", of_front("replicas"), methods=["GET"]),
            Route("/api/sessions", of_front("sessions"), methods=["GET"]),
            Route("/api/sessions", of_front("create"), methods=["POST"]),
            Route("/api/sessions/{session}", of_front("one"), methods=_METHODS),
            Route("/api/sessions/{session}/{rest:path}", of_front("one"), methods=_METHODS),
            Route("/api/{rest:path}", of_front("any"), methods=_METHODS),
            WebSocketRoute("/ws", socket),
            *(routes or []),
        ],
        lifespan=lifespan,
    )
    app.state.largest_message = largest_message
    app.add_middleware(Guarded, guard=guard, headers=security_headers(False))
    return app


class _Front:
    """The endpoints."""

    def __init__(self, fleet: Fleet, token: str) -> None:
        self.fleet, self._token = fleet, token
        self._sockets = 0

    async def health(self, request: Request) -> Response:
        """Well if one replica is."""
        answers = {
            replica.number: json.loads(answer.body)
            for replica, answer in await ask_all(self.fleet, self._token, "/healthz")
        }
        replicas = [
            {"replica": each.number, "state": each.state, "losses": each.losses, **answers.get(each.number, {})}
            for each in self.fleet.replicas
        ]
        well = [each for each in answers.values() if each["status"] == "ok"]
        failed = all(each.state == "failed" for each in self.fleet.replicas)
        facts = {
            "status": "ok" if well else "failed" if failed else "warming",
            "sessions": len(self.fleet.session_ids()),
            "progress": max((each["progress"] for each in answers.values()), default=0.0),
            "replicas": replicas,
        }
        return JSONResponse(facts, 200 if well else 503)

    async def metrics(self, request: Request) -> Response:
        """Those of the replicas, and of the front."""
        answers = await ask_all(self.fleet, self._token, "/metrics")
        text = merged({str(replica.number): answer.body.decode() for replica, answer in answers})
        states = [replica.state for replica in self.fleet.replicas]
        counts = {f'{{state="{state}"}}': float(states.count(state)) for state in ("ready", "starting", "failed")}
        losses = {f'{{replica="{each.number}"}}': float(each.losses) for each in self.fleet.replicas}
        text += family("replicas", "gauge", "Replicas.", counts)
        text += family("replica_losses_total", "counter", "Replicas' processes that died.", losses)
        text += family("sessions_moved_total", "counter", "Sessions that went elsewhere.", {"": self.fleet.moved})
        text += family("front_websockets", "gauge", "Open WebSockets of clients.", {"": self._sockets})
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def replicas(self, request: Request) -> Response:
        """Where they are, and what they serve."""
        found = [
            {
                "replica": each.number,
                "state": each.state,
                "failure": each.failure,
                "losses": each.losses,
                "machine": None if each.started is None else each.started.machine,
                "pid": None if each.started is None else each.started.pid,
                "sessions": sorted(each.sessions),
            }
            for each in self.fleet.replicas
        ]
        return JSONResponse({"replicas": found}, headers={"Cache-Control": "no-store"})

    async def sessions(self, request: Request) -> Response:
        """Those that some replica has, and those that lie in the folder alone."""
        answers = await ask_all(self.fleet, self._token, "/api/sessions", timeout=60.0)
        found = [each for _, answer in answers for each in json.loads(answer.body)["sessions"]]
        known = {each["session"] for each in found}
        asleep = [name for name in self.fleet.session_ids() if name not in known]
        found += [{"session": name, "asleep": True, "controlled": False} for name in asleep]
        return JSONResponse({"sessions": found}, headers={"Cache-Control": "no-store"})

    async def create(self, request: Request) -> Response:
        """A new session, with the replica that has the fewest."""
        body, key = await read_body(request, LARGEST_IMAGE), None
        with suppress(wire.WireError):
            key = wire.read_json(body or b"{}").get("key")
        key = key if isinstance(key, str) else None
        return (await forward(self.fleet, self._token, request, body, None, key)).response()

    async def one(self, request: Request) -> Response:
        """What concerns one session."""
        body = await read_body(request, LARGEST_IMAGE)
        return (await forward(self.fleet, self._token, request, body, request.path_params["session"])).response()

    async def any(self, request: Request) -> Response:
        """What any replica can answer."""
        return (
            await forward(self.fleet, self._token, request, await read_body(request, LARGEST_IMAGE), None)
        ).response()

    async def socket(self, websocket: WebSocket) -> None:
        """A client's WebSocket."""
        await websocket.accept()
        self._sockets += 1
        try:
            await Bridge(websocket, self.fleet, self._token).run()
        finally:
            self._sockets -= 1
