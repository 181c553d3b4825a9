"""The id of a request: in its answer, in every line of the log, in what replicas are sent."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

from starlette.types import Scope

HEADER = "X-Request-ID"
CURRENT: ContextVar[str] = ContextVar("linegroup_request_id", default="")
"""Of the request that is being worked on, for logs."""

_GOOD = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def begin(scope: Scope) -> str:
    """Give a request its id: the client's own, where it sent a plain one."""
    sent = [value for name, value in scope["headers"] if name == b"x-request-id"]
    given = sent[0].decode() if len(sent) == 1 and _GOOD.fullmatch(sent[0]) else uuid.uuid4().hex
    scope.setdefault("state", {})["request_id"] = given
    CURRENT.set(given)
    return given


def request_id_of(scope: Scope) -> str:
    """The id that `begin` gave."""
    return str(scope.get("state", {}).get("request_id", ""))
