"""What goes wrong with a request, as the client is told: a status, a word for programs, a sentence for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from linegroup.errors import UserError, unknown_name
from linegroup.images import ImageError, TooManyPixels, UnknownFormat
from linegroup.serving.schema import ErrorAnswer, ErrorDetail
from linegroup.serving.stages import Overloaded

UNEXPECTED = "Something failed here; the log says what, under this request's id."


class Problem(Exception):
    """An answer that is not 2xx.

    Attributes:
        status: The HTTP status.
        detail: What the client is told.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.detail = ErrorDetail(code=code, message=message, field=field)
        self.headers = dict(headers or {})

    def response(self, request_id: str) -> Response:
        """The answer."""
        body = ErrorAnswer(error=self.detail, request_id=request_id).model_dump_json(exclude_none=True)
        return Response(body, self.status, self.headers, "application/json")


class ClientGone(Exception):
    """The client has closed the connection; nobody reads an answer."""


def problem_of(error: BaseException) -> Problem | None:
    """What an exception means for the client; None: it is not known, and a mistake of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return Problem(
            error.status_code, _CODES.get(error.status_code, "refused"), str(error.detail), headers=error.headers
        )
    return next((make(error) for kind, make in _PROBLEMS.items() if isinstance(error, kind)), None)


def overloaded(error: Any) -> Problem:
    """503, with the time to come back."""
    wait = max(1, round(float(getattr(error, "retry_after_s", 1))))
    return Problem(503, "overloaded", f"{error} Try again in {wait} s.", headers={"Retry-After": str(wait)})


def too_late(_error: Any) -> Problem:
    """504."""
    return Problem(504, "timeout", "The picture was not done in time; make it smaller, or choose faster parameters.")


def invalid_fields(error: ValidationError, known: Mapping[str, Any]) -> Problem:
    """422 for the first field that is wrong; an unknown one with the nearest of `known`."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"][:1])
    if first["type"] == "extra_forbidden":
        return Problem(422, "unknown_field", str(unknown_name("field", field, known)), field)
    return Problem(422, "invalid_parameter", f"{field}: {first['msg']}.", field)


_CODES = {404: "not_found", 405: "wrong_method"}

_PROBLEMS: dict[type[BaseException], Callable[[Any], Problem]] = {
    TooManyPixels: lambda error: Problem(413, "too_many_pixels", str(error), "file"),
    UnknownFormat: lambda error: Problem(415, "unknown_format", str(error), "file"),
    ImageError: lambda error: Problem(422, "damaged_picture", str(error), "file"),
    UserError: lambda error: Problem(422, "cannot_be_done", str(error)),
    Overloaded: overloaded,
    TimeoutError: too_late,
    ClientGone: lambda _error: Problem(499, "client_gone", "The client has left."),
}
"""By exception, the special before the general."""

KNOWN_ERRORS: tuple[type[Exception], ...] = (Problem, HTTPException, UserError, Overloaded, TimeoutError, ClientGone)
"""What is answered with a problem; everything else is a mistake of ours."""


def problem_for(error: BaseException) -> Problem:
    """What an exception means for the client; what is not known is a mistake of ours."""
    return problem_of(error) or Problem(500, "internal_error", UNEXPECTED)
