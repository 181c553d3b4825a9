"""Bodies of requests: bounded in size, in time, and in what all of them together hold in memory."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linegroup.serving.gate import Gate
from linegroup.serving.problems import ClientGone, Problem, overloaded
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.stages import Overloaded
from linegroup.serving.tracing import request_id_of

FRAMING = 64 * 1024
"""Bytes of a multipart body that are no picture: boundaries, names, parameters."""

SLICE = 64 * 1024
"""Bytes of a body that are parsed at a time."""

CLOSE = {"Connection": "close"}


class Bodies:
    """ASGI middleware: reads a body whole, within the limits, before the routes see the request.

    One deadline counts for the whole body: who sends a byte now and then is cut off all the same.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, gate: Gate) -> None:
        self._app = app
        self._limit = settings.max_upload_bytes + FRAMING
        self._all = settings.max_buffered_bytes
        self._timeout = settings.upload_timeout_s
        self._retry = settings.retry_after_s
        self._gate = gate
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on once its body is here, or refuse it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            self._check_start(scope)
            async with asyncio.timeout(self._timeout):
                await self._read(body, receive)
        except ClientGone:
            self._release(body)
            return
        except (Problem, TimeoutError) as error:
            self._release(body)
            late = Problem(408, "slow_upload", f"The upload took longer than {self._timeout:g} s.", headers=CLOSE)
            problem = error if isinstance(error, Problem) else late
            await problem.response(request_id_of(scope))(scope, receive, send)
            return
        except BaseException:
            self._release(body)
            raise
        size = len(body)
        try:
            await self._app(scope, _replay(body, receive), send)
        finally:
            # Counted to the end: the pictures out of it are held until they are done.
            self._held -= size

    def _check_start(self, scope: Scope) -> None:
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if lengths and not lengths[0].isdigit():
            raise Problem(400, "bad_length", "Content-Length is no number.", headers=CLOSE)
        if lengths and int(lengths[0][:20]) > self._limit:
            raise self._too_large()
        if self._gate.full:
            # Said before the upload, which would be in vain.
            raise _closing(overloaded(Overloaded(retry_after_s=self._retry)))

    async def _read(self, body: bytearray, receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk: bytes = message.get("body", b"")
            if len(body) + len(chunk) > self._limit:
                raise self._too_large()
            if self._held + len(chunk) > self._all:
                raise _closing(overloaded(Overloaded(retry_after_s=self._retry)))
            body += chunk
            self._held += len(chunk)
            more = message.get("more_body", False)

    def _release(self, body: bytearray) -> None:
        self._held -= len(body)
        body.clear()

    def _too_large(self) -> Problem:
        allowed = self._limit - FRAMING
        return Problem(413, "too_large", f"At most {allowed:,} bytes may be uploaded at once.", headers=CLOSE)


def _closing(problem: Problem) -> Problem:
    problem.headers.update(CLOSE)
    return problem


def _replay(body: bytearray, receive: Receive) -> Receive:
    """The body in slices, then whatever comes (the client's leaving).

    A parser of forms takes a slice in one go, in this very thread: of a body made to be hard to parse it needs
    milliseconds for each, and between them others have their turn.
    """
    slices = iter(range(0, max(1, len(body)), SLICE))

    async def replay() -> Message:
        start = next(slices, None)
        if start is None:
            return await receive()
        await asyncio.sleep(0)
        part, more = bytes(body[start : start + SLICE]), start + SLICE < len(body)
        if not more:
            # The form that was read has a copy of its own.
            body.clear()
        return {"type": "http.request", "body": part, "more_body": more}

    return replay
