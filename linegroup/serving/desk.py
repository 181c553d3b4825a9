"""From a request's form to orders, and from replies to responses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive

from linegroup.serving.answers import Reply
from linegroup.serving.forms import Upload
from linegroup.serving.gate import Gate
from linegroup.serving.problems import ClientGone, problem_for
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.stages import Stages
from linegroup.serving.telemetry import Telemetry
from linegroup.serving.work import Order, plain_name

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Desk:
    """What the routes share.

    Attributes:
        settings: Of the service.
        stages: Who does the work.
        gate: Requests at work.
        telemetry: Its figures.
    """

    settings: ServiceSettings
    stages: Stages
    gate: Gate
    telemetry: Telemetry

    def order(
        self, upload: Upload, kind: str, overrides: dict[str, Any], options: dict[str, Any], request_id: str
    ) -> Order:
        """One picture to be done from now on."""
        return Order(
            upload.content,
            upload.name,
            overrides,
            kind,
            options,
            self.settings.max_image_pixels,
            request_id,
            self.settings.limits,
        )

    async def done(self, order: Order) -> Reply:
        """The reply to an order, within the time from now on or not at all; its figures are kept.

        Raises:
            Exception: as `Stages.run`.
        """
        seconds = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(seconds):
                reply = await self.stages.run(replace(order, deadline=time.time() + seconds))
        except Exception as error:
            self.telemetry.failed(order.kind, problem_for(error).detail.code)
            raise
        except asyncio.CancelledError:
            self.telemetry.failed(order.kind, "client_gone")
            raise
        self.telemetry.done(order.kind, len(order.content), reply)
        return reply


def response_of(reply: Reply, name: str) -> Response:
    """A reply as the answer to a request for one picture."""
    headers = {
        "X-Model-Name": _ascii(reply.model.name),
        "X-Model-Version": _ascii(reply.model.version),
        "Server-Timing": ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in reply.timings_ms.items()),
    }
    if reply.suffix:
        stem = plain_name(name).rpartition(".")[0] or "lines"
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in stem)
        headers["Content-Disposition"] = f'inline; filename="{safe}{reply.suffix}"'
    return Response(reply.body, 200, headers, reply.media_type)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves.

    Args:
        receive: Of a request whose body was read.
        work: What the client waits for.

    Raises:
        ClientGone: it has left.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise ClientGone
    finally:
        for task in (doing, leaving):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await doing


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _ascii(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
