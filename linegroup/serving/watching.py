"""Around every request: its id, its line in the log, its figures, the headers of its answer, and errors of ours."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linegroup.serving.problems import UNEXPECTED, Problem
from linegroup.serving.telemetry import Telemetry
from linegroup.serving.tracing import HEADER, begin

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
"""For pages: everything from here, nothing inline."""

DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""For answers that are no pages, should somebody open one as a page."""

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

CLIENT_GONE = 499
_PAGES = ("/web/", "/docs")
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})

_log = logging.getLogger("linegroup.serving.access")


class Watching:
    """ASGI middleware, the outermost of ours."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = begin(scope)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), scope["path"], request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            _log.exception("failed")
            if status:
                raise
            problem = Problem(500, "internal_error", UNEXPECTED)
            await problem.response(request_id)(scope, receive, send_with_headers)
        finally:
            self._note(scope, status or CLIENT_GONE, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Paths that are no routes of ours are not told apart: anybody can invent them, without end."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._telemetry.answered(route, method, status, seconds)
        client = scope.get("client")
        _log.info(
            "answered",
            extra={
                "method": method,
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "client": client[0] if client else "",
            },
        )


def _add_headers(headers: MutableHeaders, path: str, request_id: str) -> None:
    page = path == "/" or path.startswith(_PAGES)
    headers[HEADER] = request_id
    headers["Content-Security-Policy"] = PAGE_POLICY if page else DATA_POLICY
    headers["Cache-Control"] = "no-cache" if page else "no-store"
    for name, value in ALWAYS.items():
        headers[name] = value
