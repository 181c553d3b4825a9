"""Several pictures in one request: one line of NDJSON for each, sent as soon as it is done."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from linegroup.serving.desk import Desk, while_connected
from linegroup.serving.formats import NDJSON
from linegroup.serving.problems import ClientGone, problem_for, problem_of
from linegroup.serving.work import Order, plain_name

_log = logging.getLogger(__name__)


class BatchResponse(StreamingResponse):
    """A line `{"index", "name", "status", "document" | "error"}` for each picture, in the order in which they end.

    A picture that fails fails alone. At most `batch_parallel` are done at the same time, and no further one is begun
    before a line is taken; when the reader leaves, what is being done is cancelled.
    """

    def __init__(self, desk: Desk, orders: Sequence[Order]) -> None:
        self._desk = desk
        self._lines = _lines(desk, orders)
        super().__init__(self._lines, media_type=NDJSON)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream it.

        Raises:
            Overloaded: before anything was sent.
        """
        assert scope["type"] == "http"
        with self._desk.gate.entered(), contextlib.suppress(ClientGone):
            try:
                await while_connected(receive, self.stream_response(send))
            finally:
                await self._lines.aclose()


async def _lines(desk: Desk, orders: Sequence[Order]) -> AsyncGenerator[bytes, None]:
    waiting = list(enumerate(orders))[::-1]
    doing: set[asyncio.Task[bytes]] = set()
    try:
        while waiting or doing:
            while waiting and len(doing) < desk.settings.batch_parallel:
                doing.add(asyncio.ensure_future(_line(desk, *waiting.pop())))
            done, doing = await asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)


async def _line(desk: Desk, index: int, order: Order) -> bytes:
    head: dict[str, Any] = {"index": index, "name": plain_name(order.name)}
    try:
        reply = await desk.done(order)
    except Exception as error:
        if problem_of(error) is None:
            _log.exception("failed")
        problem = problem_for(error)
        detail = problem.detail.model_dump(mode="json", exclude_none=True)
        return json.dumps({**head, "status": problem.status, "error": detail}, ensure_ascii=False).encode() + b"\n"
    start = json.dumps({**head, "status": 200}, ensure_ascii=False).encode()
    # Within JSON text line breaks stand between values only.
    return start[:-1] + b', "document": ' + reply.body.replace(b"\n", b"") + b"}\n"
