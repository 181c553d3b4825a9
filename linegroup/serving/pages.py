"""The page to try the service with, its files, and the description of the interface for people."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from linegroup.serving.describing import describe

WEB_FOLDER = Path(__file__).with_name("web")
"""The page's files."""


def page_routes(app: FastAPI, folder: Path = WEB_FOLDER) -> APIRouter:
    """`/`, `/web/*` and `/docs`."""
    router = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=folder, check_dir=False)

    @router.get("/")
    async def index() -> Response:
        page = folder / "index.html"
        return FileResponse(page) if page.is_file() else RedirectResponse("docs")

    @router.get("/web/{path:path}")
    async def file(path: str, request: Request) -> Response:
        # Whole files only: they are small, and ranges are where servers of files have had their holes.
        headers = [(name, value) for name, value in request.scope["headers"] if name not in (b"range", b"if-range")]
        if not folder.is_dir():
            raise HTTPException(404)
        return await files.get_response(path, {**request.scope, "headers": headers})

    @router.get("/docs")
    async def docs() -> Response:
        return Response(describe(app.openapi()), media_type="text/html")

    return router
