"""The HTTP interface as a FastAPI application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from linegroup import __version__
from linegroup.serving.access import OPEN_PATHS, Access
from linegroup.serving.body import Bodies
from linegroup.serving.desk import Desk
from linegroup.serving.gate import Gate
from linegroup.serving.pages import WEB_FOLDER, page_routes
from linegroup.serving.picture_routes import picture_routes
from linegroup.serving.problems import KNOWN_ERRORS, problem_for
from linegroup.serving.schema import ErrorAnswer, Health, ModelInfo
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.stages import Overloaded, Stages
from linegroup.serving.telemetry import CONTENT_TYPE, Telemetry
from linegroup.serving.tracing import request_id_of
from linegroup.serving.watching import Watching


def build_api(settings: ServiceSettings, stages: Stages, web: Path = WEB_FOLDER, replica: str = "") -> FastAPI:
    """The application: routes, sign-in, limits, figures.

    Args:
        settings: Of the service.
        stages: Who does the work.
        web: Folder of the page's files.
        replica: Name of this process among several, for its figures.
    """
    gate = Gate(settings.max_queued_requests, settings.retry_after_s)
    telemetry = Telemetry(lambda: gate.inside, replica)
    desk = Desk(settings, stages, gate, telemetry)
    app = FastAPI(
        title="linegroup",
        version=__version__,
        description="Pictures of lines go in; every line comes out as its own object.",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(picture_routes(desk))
    app.include_router(state_routes(desk))
    app.include_router(page_routes(app, web))
    for kind in KNOWN_ERRORS:
        app.add_exception_handler(kind, _answer_error)
    # The last one added is the first that a request meets.
    app.add_middleware(Bodies, settings=settings, gate=gate)
    app.add_middleware(Access, settings=settings)
    app.add_middleware(Watching, telemetry=telemetry)
    _describe_access(app)
    return app


def state_routes(desk: Desk) -> APIRouter:
    """Whether it lives, whether it is ready, what is loaded, its figures."""
    router = APIRouter(tags=["state"])

    @router.get("/health", summary="Whether the service lives.")
    async def health() -> Health:
        return Health(status="ok")

    @router.get("/ready", summary="Whether pictures can be done.", responses={503: {"model": ErrorAnswer}})
    async def ready() -> Health:
        if not await desk.stages.ready():
            raise Overloaded("No model is loaded yet, or nobody groups pictures yet.", desk.settings.retry_after_s)
        return Health(status="ready")

    @router.get("/model/info", summary="Which model is loaded.")
    async def model_info() -> ModelInfo:
        return await desk.stages.info()

    @router.get("/metrics", response_class=Response, summary="Figures for Prometheus.")
    async def metrics() -> Response:
        return Response(desk.telemetry.text(), headers={"Content-Type": CONTENT_TYPE})

    return router


async def _answer_error(request: Request, error: Exception) -> Response:
    return problem_for(error).response(request_id_of(request.scope))


def _describe_access(app: FastAPI) -> None:
    """Say in the OpenAPI document how to sign in."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        tree = plain()
        schemes = {"basic": {"type": "http", "scheme": "basic"}, "bearer": {"type": "http", "scheme": "bearer"}}
        tree.setdefault("components", {})["securitySchemes"] = schemes
        tree["security"] = [{"basic": []}, {"bearer": []}]
        for path in OPEN_PATHS:
            tree["paths"][path]["get"]["security"] = []
        return tree

    app.openapi = openapi  # type: ignore[method-assign]
