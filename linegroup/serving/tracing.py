"""The id of a request: in its answer, in every line of the log, in what replicas are sent."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.types import Scope

HEADER = "X-Request-ID"
_NAME = HEADER.lower().encode()
CURRENT: ContextVar[str] = ContextVar("linegroup_request_id", default="")
"""Of the request that is being worked on, for logs."""

_PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def given_id(scope: Scope) -> str | None:
    """The client's own id of a request, where it sent a plain one and no other."""
    sent = [value for name, value in scope["headers"] if name == _NAME]
    return sent[0].decode() if len(sent) == 1 and _PLAIN.fullmatch(sent[0]) else None


def with_plain_id(scope: Scope) -> Scope:
    """The request with a plain id among its headers: the client's own, or a new one in place of what it sent."""
    if given_id(scope) is not None:
        return scope
    others = [(name, value) for name, value in scope["headers"] if name != _NAME]
    return {**scope, "headers": [*others, (_NAME, uuid.uuid4().hex.encode())]}


def begin(scope: Scope) -> str:
    """Give a request its id: the client's own, where it sent a plain one."""
    given = given_id(scope) or uuid.uuid4().hex
    scope.setdefault("state", {})["request_id"] = given
    CURRENT.set(given)
    return given


@contextmanager
def working_on(request_id: str) -> Iterator[None]:
    """What is logged in the block, and in threads that take its context along, is of this request."""
    token = CURRENT.set(request_id)
    try:
        yield
    finally:
        CURRENT.reset(token)


def request_id_of(scope: Scope) -> str:
    """The id that `begin` gave."""
    return str(scope.get("state", {}).get("request_id", ""))
