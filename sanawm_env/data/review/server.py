"""The page's server. It listens to this machine only, and takes decisions only from whoever has the token."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import av
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sanawm_env.data.review.decisions import Decision, Decisions, read_decisions
from sanawm_env.data.review.episodes import Episodes
from sanawm_env.data.review.media import Media
from sanawm_env.data.storage.native import version_of

__all__ = ["make_app"]

_STATIC = Path(__file__).parent / "static"
_LARGEST_BODY = 100_000
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(root: Path, token: str, cache: Path | None = None) -> Starlette:
    """The application for one dataset.

    Args:
        root: Folder of the dataset.
        token: What a decision has to carry in the header `X-Sanawm-Token`.
        cache: Folder of thumbnails and playable copies; None is that of the package.

    Raises:
        FileNotFoundError, ValueError: No dataset there.
    """
    episodes, decisions, media = Episodes(root), Decisions(root), Media(cache)

    async def page(request: Request) -> Response:
        return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-store"})

    def listing() -> dict[str, Any]:
        problem, known = None, {}
        try:
            known = read_decisions(root)
        except ValueError as error:  # the episodes can be looked at all the same
            problem = str(error)
        rows = [row | known.get(row["name"], Decision()).to_dict() for row in episodes.rows()]
        return {"name": root.resolve().name, "folder": str(root.resolve()), "problem": problem, "episodes": rows}

    async def dataset(request: Request) -> Response:
        # Before the listing, so that what comes meanwhile makes another one.
        tag = f'"{await run_in_threadpool(version_of, root)}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:  # the page asks every few seconds
            return Response(status_code=304, headers=headers)
        body = json.dumps(_finite(await run_in_threadpool(listing)), allow_nan=False).encode()
        return Response(body, media_type="application/json", headers=headers)

    async def path(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(episodes.path, request.path_params["name"]))

    async def video(request: Request) -> Response:
        found = episodes.video(request.path_params["name"])
        return FileResponse(await run_in_threadpool(media.playable, found), media_type="video/mp4")

    async def thumbnail(request: Request) -> Response:
        found = episodes.video(request.path_params["name"])
        made = await run_in_threadpool(media.thumbnail, found, episodes.frames(request.path_params["name"]))
        return FileResponse(made, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})

    async def decide(request: Request) -> Response:
        if not secrets.compare_digest(request.headers.get("x-sanawm-token", "").encode(), token.encode()):
            return _error(403, "this page has no right to decide; open the address that `sanawm review` printed.")
        if int(request.headers.get("content-length") or _LARGEST_BODY + 1) > _LARGEST_BODY:
            return _error(413, "a decision is a short text.")
        name = episodes.file(request.path_params["name"]).stem
        try:
            decision = Decision.from_dict(json.loads(await request.body()))
        except ValueError as error:
            return _error(400, str(error))
        try:
            await run_in_threadpool(decisions.set, name, decision)
        except ValueError as error:
            return _error(409, str(error))
        return JSONResponse(decision.to_dict())

    routes = [
        Route("/", _safe(page)),
        Route("/api/dataset", _safe(dataset)),
        Route("/api/path/{name}", _safe(path)),
        Route("/api/decisions/{name}", _safe(decide), methods=["PUT"]),
        Route("/video/{name}.mp4", _safe(video)),
        Route("/thumbnail/{name}.jpg", _safe(thumbnail)),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    # Only these names: a page of another site that points its own name here (DNS rebinding) is turned away.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"], www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts])


def _safe(endpoint: Endpoint) -> Endpoint:
    """Turn what may go wrong with one episode into an answer."""

    async def answer(request: Request) -> Response:
        try:
            response = await endpoint(request)
        except FileNotFoundError as error:
            return _error(404, str(error))
        except (ValueError, OSError, av.error.FFmpegError, IndexError) as error:
            return _error(422, str(error))
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return answer


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _finite(value: Any) -> Any:
    """The same without numbers that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
