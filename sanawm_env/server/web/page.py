"""The page of `sanawm play`: its files, as they lie in the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["page_routes"]


class _Fresh(StaticFiles):
    """Files that a browser asks for again after an upgrade; unchanged ones are a 304."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def page_routes() -> list[BaseRoute]:
    """`/` and `/static/`, for `make_app`."""
    folder = Path(str(files("sanawm_env.server") / "page"))

    async def index(request: Request) -> Response:
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})

    return [Route("/", index), Mount("/static", _Fresh(directory=folder))]
