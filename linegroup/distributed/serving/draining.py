"""The end of a service: what is in is finished, what comes is told to come again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from linegroup.serving.problems import overloaded
from linegroup.serving.stages import Overloaded

_LOOK_S = 0.05


class Draining:
    """Counts the requests of an application, and closes it.

    Attributes:
        inside: Requests that are being answered.
        closed: Whether new ones are refused.
    """

    def __init__(self) -> None:
        self.inside = 0
        self.closed = False

    async def drain(self, seconds: float) -> int:
        """Refuse what comes from now on, and wait until nobody is inside.

        Returns:
            How many still are when the time is over.
        """
        self.closed = True
        end = time.monotonic() + seconds
        while self.inside and time.monotonic() < end:
            await asyncio.sleep(_LOOK_S)
        return self.inside

    @property
    def middleware(self) -> Callable[[ASGIApp], ASGIApp]:
        """ASGI middleware that counts here."""

        def around(app: ASGIApp) -> ASGIApp:
            async def counted(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] != "http":
                    await app(scope, receive, send)
                    return
                if self.closed:
                    problem = overloaded(Overloaded("The service is stopping.", 5))
                    problem.headers["Connection"] = "close"
                    await problem.response("")(scope, receive, send)
                    return
                self.inside += 1
                try:
                    await app(scope, receive, send)
                finally:
                    self.inside -= 1

            return counted

        return around
