"""`POST /v1/cluster` and `POST /v1/lines`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from linegroup.serving.batch import BatchResponse
from linegroup.serving.desk import Desk, response_of, while_connected
from linegroup.serving.formats import FORMATS, NDJSON, format_accepted
from linegroup.serving.forms import (
    ClusterForm,
    LinesForm,
    Received,
    checked,
    form_schema,
    one_upload,
    read_form,
)
from linegroup.serving.parameters import overrides_of
from linegroup.serving.problems import Problem
from linegroup.serving.schema import ClusterAnswer, ErrorAnswer
from linegroup.serving.tracing import request_id_of
from linegroup.serving.work import Order
from linegroup.wire import LinesDocument

_FILE = {"type": "string", "format": "binary", "description": "A picture: PNG, JPEG, WebP, BMP, GIF or TIFF."}
_FILES = {"type": "array", "items": _FILE, "description": "Several pictures: the answer is NDJSON, a line for each."}

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is no multipart form."},
    401: {"model": ErrorAnswer, "description": "Sign in."},
    408: {"model": ErrorAnswer, "description": "The upload took too long."},
    413: {"model": ErrorAnswer, "description": "Too many bytes, pixels or parts."},
    415: {"model": ErrorAnswer, "description": "No form, or no picture in a known format."},
    422: {"model": ErrorAnswer, "description": "A field or the picture cannot be used; `field` names it."},
    503: {"model": ErrorAnswer, "description": "Busy: come again after `Retry-After` seconds."},
    504: {"model": ErrorAnswer, "description": "The picture was not done in time."},
}
_JSON = "application/json"
_NOT_ACCEPTABLE = {"model": ErrorAnswer, "description": "None of the formats that `Accept` names."}


def picture_routes(desk: Desk) -> APIRouter:
    """The two ways to ask for the lines of a picture."""
    router = APIRouter(prefix="/v1", tags=["pictures"])

    @router.post(
        "/cluster",
        response_model=ClusterAnswer,
        responses=_ERRORS,
        openapi_extra={"requestBody": form_schema(ClusterForm, {"file": _FILE})},
        summary="The pixels of each line.",
    )
    async def cluster(request: Request) -> Response:
        received = await read_form(request, desk.settings, ("file",))
        form = checked(ClusterForm, received.fields)
        upload = one_upload(received)
        order = desk.order(upload, "cluster", overrides_of(form), {}, request_id_of(request.scope))
        with desk.gate.entered():
            return response_of(await while_connected(request.receive, desk.done(order)), upload.name)

    @router.post(
        "/lines",
        response_model=LinesDocument,
        responses={**_ERRORS, 200: _formats(), 406: _NOT_ACCEPTABLE},
        openapi_extra={"requestBody": form_schema(LinesForm, {"file": _FILE, "files": _FILES})},
        summary="Each line traced: document, export format, or NDJSON for several pictures.",
    )
    async def lines(request: Request) -> Response:
        received = await read_form(request, desk.settings, ("file", "files"))
        if received.uploads.get("files"):
            orders = _batch(desk, received, request_id_of(request.scope))
            return BatchResponse(desk, orders)
        form = checked(LinesForm, received.fields)
        options = form.model_dump(include={"format", "mask", "embed"})
        options["format"] = options["format"] or _accepted(request)
        upload = one_upload(received)
        order = desk.order(upload, "lines", overrides_of(form), options, request_id_of(request.scope))
        with desk.gate.entered():
            return response_of(await while_connected(request.receive, desk.done(order)), upload.name)

    return router


def _batch(desk: Desk, received: Received, request_id: str) -> list[Order]:
    form = checked(LinesForm, received.fields)
    options = form.model_dump(include={"format", "mask", "embed"})
    if "file" in received.uploads:
        raise Problem(422, "one_or_many", "Send one picture as file, or several as files, not both.", "file")
    if options["format"] not in (None, "json"):
        raise Problem(422, "invalid_parameter", "format: of several pictures there is json only.", "format")
    options["format"] = "json"
    overrides = overrides_of(form)
    return [desk.order(upload, "lines", overrides, options, request_id) for upload in received.uploads["files"]]


def _accepted(request: Request) -> str:
    accept = ",".join(request.headers.getlist("accept"))
    chosen = format_accepted(accept)
    if chosen is None:
        offered = ", ".join(dict.fromkeys(entry.media_type for entry in FORMATS.values()))
        raise Problem(406, "not_acceptable", f"Accept names none of {offered}.", "accept")
    return chosen


def _formats() -> dict[str, Any]:
    content: dict[str, Any] = {entry.media_type: {} for entry in FORMATS.values() if entry.media_type != _JSON}
    return {"description": "The lines.", "content": {**content, NDJSON: {}}}
