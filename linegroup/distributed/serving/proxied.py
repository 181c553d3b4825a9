"""What is otherwise behind Ray's HTTP proxy than before a server of its own."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linegroup.serving.tracing import HEADER, with_plain_id


class OneRequestId:
    """ASGI middleware: the proxy writes the id of a request into the answer itself, and twice is once too often."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer without the header."""

        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)[HEADER]
            await send(message)

        await self._app(scope, receive, send_without)


class PlainRequestId:
    """ASGI middleware of the proxy itself, before it writes down a request's id: an odd one gives way to one of ours.

    The proxy answers with whatever the client has sent, replicas take only plain ids: without this an answer would say
    one id in its header and another in its body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a plain id."""
        await self._app(with_plain_id(scope) if scope["type"] == "http" else scope, receive, send)


def proxy_middlewares() -> list[Middleware]:
    """What Ray's proxies put around themselves where `PROXY_SETTING` says so."""
    return [Middleware(PlainRequestId)]


PROXY_SETTING = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Environment variable by which a proxy finds its middlewares when it starts."""

PROXY_MIDDLEWARES = f"{__name__}.{proxy_middlewares.__name__}"
"""Its value."""
