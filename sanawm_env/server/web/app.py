"""The server's application: HTTP for control, a WebSocket for the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sanawm_env.server import protocol, wire
from sanawm_env.server.errors import CODES, ServerError
from sanawm_env.server.play.hub import Hub
from sanawm_env.server.reading import read_message
from sanawm_env.server.recording.datasets import Recordings
from sanawm_env.server.sessions.host import Host, Limits
from sanawm_env.server.web.auth import Guard
from sanawm_env.server.web.dispatch import Dispatcher
from sanawm_env.server.web.gallery import SEEDS, gallery_picture
from sanawm_env.server.web.limits import LARGEST_IMAGE, LARGEST_REQUEST, Uploads, largest_message
from sanawm_env.server.web.metrics import metrics_text
from sanawm_env.server.web.pictures import jpeg
from sanawm_env.server.web.run import Guarded, security_headers
from sanawm_env.server.web.sockets import serve_socket, told
from sanawm_env.world.model import WorldModel

__all__ = ["make_app", "read_body"]

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(
    model: WorldModel,
    folder: Path,
    guard: Guard,
    limits: Limits | None = None,
    *,
    warmup: bool = False,
    routes: list[BaseRoute] | None = None,
    loading: Mapping[str, Any] | None = None,
    recording: bool = False,
    framed: bool = False,
    owner: str | None = None,
) -> Starlette:
    """The application over one world.

    Args:
        model: The world.
        folder: Where sessions and uploads live; nothing outside it is ever read for a client.
        guard: Who may talk to it.
        limits: What it may hold.
        warmup: Run every kind of step once before `/healthz` says ok.
        routes: Further ones: a page.
        loading: Arguments of `SanaWMEnv` that the world was loaded with, such as `precision`.
        recording: Whether the folder stays, so that episodes may be recorded into it.
        framed: Whether pages of other origins, such as a notebook, may show the page within theirs.
        owner: The name of this server where several share the folder, NUMBER-LETTERS; see `SessionStore`.

    Returns:
        It has `state.dispatcher`, and `state.largest_message` in bytes; its lifespan closes the host, which saves every
        session.
    """
    uploads = Uploads(folder / "uploads")
    host = Host(model, folder, limits, find_image=uploads.find, owner=owner)
    # Each server that shares the folder has datasets of its own, since one process writes to one.
    datasets = folder / ("recordings" if owner is None else f"recordings-{owner.partition('-')[0]}")
    recordings = Recordings(host, datasets, loading) if recording else None
    dispatcher = Dispatcher(host, uploads, Hub(host), recordings)
    warmed = _Warmup(host)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if warmup:
            warmed.start()
        yield
        await dispatcher.hub.close()
        await asyncio.to_thread(host.close)

    app = Starlette(
        routes=[*_routes(dispatcher, warmed), *(routes or [])],
        lifespan=lifespan,
    )
    app.state.dispatcher = dispatcher
    app.state.largest_message = largest_message(model)
    app.add_middleware(Guarded, guard=guard, headers=security_headers(framed))
    return app


class _Warmup:
    """Runs every kind of step once, in the host's thread."""

    def __init__(self, host: Host) -> None:
        self._host, self.progress = host, 1.0

    def start(self) -> None:
        self.progress, config = 0.0, self._host.model.config
        chunks = sorted({1, config.chunk_frames})

        def warm(k: int) -> None:
            self._host.model.warmup(1, chunks[k], progress=False)
            self.progress = (k + 1) / len(chunks)

        for k in range(len(chunks)):
            self._host.call(lambda k=k: warm(k))  # type: ignore[misc]


def _routes(dispatcher: Dispatcher, warmed: _Warmup) -> list[BaseRoute]:
    host = dispatcher.host

    async def health(request: Request) -> Response:
        ready = warmed.progress >= 1
        facts = {"status": "ok" if ready else "warming", "sessions": len(host.session_ids), "progress": warmed.progress}
        return JSONResponse(facts, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        text = metrics_text(host, dispatcher.sockets, dispatcher.refused)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def world(request: Request) -> Response:
        return _json(dispatcher.world())

    async def sessions(request: Request) -> Response:
        if request.method == "POST":
            head = wire.read_json(await read_body(request, LARGEST_REQUEST) or b"{}")
            message = read_message({**head, "type": "create"})
            return _json(await dispatcher.general(message, b""), 201)
        found = await asyncio.wrap_future(host.call(host.listed))
        hub = dispatcher.hub
        return _json(
            {"sessions": [each | {"controlled": hub.controller(each["session"]) is not None} for each in found]}
        )

    async def session(request: Request) -> Response:
        name = request.path_params["session"]
        if request.method == "DELETE":
            return _json(await dispatcher.delete(protocol.Delete(session=name)))
        return _json(await dispatcher.answer(protocol.Describe(session=name)))

    async def snapshots(request: Request) -> Response:
        return _json(await dispatcher.answer(protocol.Snapshots(session=request.path_params["session"])))

    async def picture(request: Request) -> Response:
        asked = protocol.View(session=request.path_params["session"], snapshot=request.path_params["snapshot"])
        image = (await dispatcher.answer(asked))["image"]
        return Response(jpeg(image), media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def world_file(request: Request) -> Response:
        asked = protocol.Save(session=request.path_params["session"], snapshot=request.query_params.get("snapshot"))
        data = (await dispatcher.answer(asked))["payload"]
        name = f"{asked.snapshot or asked.session}.safetensors"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type="application/octet-stream", headers=headers)

    async def images(request: Request) -> Response:
        data = await read_body(request, LARGEST_IMAGE)
        return _json(await dispatcher.general(protocol.Image(), data), 201)

    async def gallery(request: Request) -> Response:
        return _json({"seeds": list(SEEDS)})

    async def gallery_one(request: Request) -> Response:
        config, seed = host.model.config, request.path_params["seed"]
        if seed not in SEEDS:
            raise ServerError("unknown-image", f"the gallery has seeds {SEEDS.start}..{SEEDS.stop - 1}.")
        data = await asyncio.to_thread(gallery_picture, seed, config.width, config.height)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def socket(websocket: WebSocket) -> None:
        await serve_socket(websocket, dispatcher)

    def safe(endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Exception as error:
                dispatcher.refused += 1
                text = told(error)
                # Whoever sends too much is hung up on, rather than read to the end.
                headers = {"Connection": "close"} if text["code"] == "too-large" else None
                return JSONResponse({key: text[key] for key in ("error", "code")}, CODES[text["code"]], headers)

        return answer

    one = "/api/sessions/{session}"
    return [
        Route("/healthz", health),
        Route("/metrics", metrics),
        Route("/api/world", safe(world)),
        Route("/api/sessions", safe(sessions), methods=["GET", "POST"]),
        Route(one, safe(session), methods=["GET", "DELETE"]),
        Route(f"{one}/snapshots", safe(snapshots)),
        Route(f"{one}/snapshots/{{snapshot}}.jpg", safe(picture)),
        Route(f"{one}/world", safe(world_file)),
        Route("/api/images", safe(images), methods=["POST"]),
        Route("/api/gallery", safe(gallery)),
        Route("/api/gallery/{seed:int}.jpg", safe(gallery_one)),
        WebSocketRoute("/ws", socket),
    ]


async def read_body(request: Request, most: int) -> bytes:
    """A request's body; one that is too large is refused as soon as that is known.

    Raises:
        ServerError: `too-large`.
    """
    refusal = ServerError("too-large", f"the body has at most {most} bytes.")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise refusal
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise refusal
        parts.append(part)
    return b"".join(parts)


def _json(answer: dict[str, Any], status: int = 200) -> Response:
    """An answer; arrays in it are nested lists."""
    text = json.dumps(wire.encode(_listed(answer), []), allow_nan=False)
    return Response(text, status, media_type="application/json", headers={"Cache-Control": "no-store"})


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(each) for key, each in value.items() if not str(key).startswith("_")}
    return value.tolist() if hasattr(value, "tolist") else value
