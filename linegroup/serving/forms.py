"""Multipart forms: pictures and fields out of a body that is in memory already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import Field as Setting
from pydantic import ValidationError, create_model
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from linegroup.serving.answers import MASKS
from linegroup.serving.formats import FORMATS
from linegroup.serving.parameters import Form, GroupingForm
from linegroup.serving.problems import Problem, invalid_fields
from linegroup.serving.settings import ServiceSettings

MOST_FIELDS = 64
"""Fields of a form that are no pictures."""


ClusterForm: type[Form] = GroupingForm
"""Fields of `/v1/cluster`."""

_LINES_FIELDS: dict[str, Any] = {
    "format": (
        Literal[tuple(FORMATS)] | None,
        Setting(None, description="Format of the answer; default: what `Accept` asks for, else json."),
    ),
    "mask": (
        Literal[tuple(MASKS)],
        Setting("rle", description="In json: run lengths for each line, one 16-bit label image for all, or none."),
    ),
    "embed": (bool, Setting(False, description="Put the picture into svg and labelme files.")),
}

LinesForm: type[Form] = create_model("LinesForm", __base__=GroupingForm, **_LINES_FIELDS)
"""Fields of `/v1/lines`."""

F = TypeVar("F", bound=Form)


@dataclass(frozen=True)
class Upload:
    """One picture as it came."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Received:
    """What a form held.

    Attributes:
        uploads: Pictures by the name of their field, in order.
        fields: The other fields.
    """

    uploads: Mapping[str, list[Upload]]
    fields: Mapping[str, str]


async def read_form(request: Request, settings: ServiceSettings, pictures: tuple[str, ...]) -> Received:
    """A request's form.

    Args:
        request: Its body is in memory.
        settings: Limits.
        pictures: Names of fields that hold pictures.

    Raises:
        Problem: no multipart form, a broken one, too many parts, a picture that is too large, a field that stands
            there twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Problem(415, "not_multipart", f"Send multipart/form-data; got {kind or 'no content type'}.")
    try:
        form = await request.form(
            max_files=settings.max_batch_files, max_fields=MOST_FIELDS, max_part_size=settings.max_upload_bytes
        )
    except HTTPException as error:
        message = str(error.detail)
        status, code = (413, "too_many_parts") if message.startswith("Too many") else (400, "broken_form")
        raise Problem(status, code, f"The form cannot be read: {message}") from None
    try:
        return await _sorted(form, settings, pictures)
    finally:
        await form.close()


async def _sorted(form: FormData, settings: ServiceSettings, pictures: tuple[str, ...]) -> Received:
    uploads: dict[str, list[Upload]] = {}
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in pictures:
                raise Problem(422, "unknown_field", f"Pictures go into {' or '.join(pictures)}; got {name!r}.", name)
            uploads.setdefault(name, []).append(await _upload(name, value, settings.max_upload_bytes))
        elif name in pictures:
            raise Problem(422, "no_file", f"{name} must be a file: send it with a file name.", name)
        elif name in fields:
            raise Problem(422, "repeated_field", f"{name} stands there twice.", name)
        # An empty field of a web form means that nothing was entered.
        elif value != "":
            fields[name] = value
    return Received(uploads, fields)


async def _upload(field: str, file: UploadFile, limit: int) -> Upload:
    content = await file.read()
    if len(content) > limit:
        raise Problem(413, "too_large", f"A picture may have {limit:,} bytes.", field)
    return Upload(file.filename or "", content)


def checked(form: type[F], fields: Mapping[str, Any]) -> F:
    """The fields as a form's model.

    Raises:
        Problem: 422, naming the field.
    """
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise invalid_fields(error, form.model_fields) from None


def one_upload(received: Received, field: str = "file") -> Upload:
    """The only picture.

    Raises:
        Problem: 422: there is none, or there are several.
    """
    found = received.uploads.get(field, [])
    if len(found) != 1:
        raise Problem(422, "one_file", f"Send one picture as {field!r}; got {len(found)}.", field)
    return found[0]


def form_schema(form: type[Form], pictures: Mapping[str, Any]) -> dict[str, Any]:
    """A form with its pictures, as OpenAPI's request body."""
    schema = form.model_json_schema()
    properties = {name: _plain(value) for name, value in schema["properties"].items()}
    required = ["file"] if list(pictures) == ["file"] else []
    tree = {"type": "object", "properties": {**pictures, **properties}, "additionalProperties": False}
    return {"required": True, "content": {"multipart/form-data": {"schema": {**tree, "required": required}}}}


def _plain(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field that may be left out, without the null that no form can hold."""
    choices = [choice for choice in field.get("anyOf", []) if choice.get("type") != "null"]
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "title")}
    if rest.get("default", 0) is None:
        del rest["default"]
    return {**(choices[0] if len(choices) == 1 else {}), **rest}
