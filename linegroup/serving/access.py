"""Who may ask: HTTP Basic or a bearer token, compared in constant time, before anything else of a request is read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from linegroup.serving.problems import Problem
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.tracing import request_id_of

OPEN_PATHS = frozenset({"/health", "/ready"})
"""Asked by machines that have no password."""

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names under which a service without sign-in answers: a page of the web may have its own name point here."""

MOST_CREDENTIALS = 4096
"""Longer credentials are not looked at."""

_CROSS_SITE = frozenset({b"cross-site", b"same-site"})


@dataclass(frozen=True)
class Credentials:
    """The secrets that open the service, as keyed digests: all comparisons are of equally long strings.

    Attributes:
        basic: Digests of user and password; None: no HTTP Basic.
        bearer: Digest of the token; None: no token.
    """

    basic: tuple[bytes, bytes] | None
    bearer: bytes | None
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, settings: ServiceSettings) -> Credentials:
        """From the settings; the key is drawn anew."""
        key = secrets.token_bytes(32)
        password, token = settings.api_auth_password, settings.api_auth_token
        basic = None
        if password is not None:
            basic = (
                _digest(key, settings.api_auth_username.encode()),
                _digest(key, password.get_secret_value().encode()),
            )
        return cls(basic, None if token is None else _digest(key, token.get_secret_value().encode()), key)

    def accept(self, header: bytes) -> bool:
        """Whether an `Authorization` header opens the service. How long it takes does not depend on the secrets."""
        scheme, _, rest = header.partition(b" ")
        check = _SCHEMES.get(scheme.lower())
        return check is not None and len(rest) <= MOST_CREDENTIALS and check(self, rest.strip())

    @property
    def challenge(self) -> str:
        """`WWW-Authenticate`."""
        asked = ['Basic realm="linegroup", charset="UTF-8"'] if self.basic else []
        return ", ".join([*asked, *(['Bearer realm="linegroup"'] if self.bearer else [])])


def _basic(credentials: Credentials, given: bytes) -> bool:
    try:
        user, colon, password = base64.b64decode(given, validate=True).partition(b":")
    except binascii.Error:
        return False
    if not colon or credentials.basic is None:
        return False
    # Both are always compared: a wrong user must not answer sooner.
    right_user = hmac.compare_digest(_digest(credentials.key, user), credentials.basic[0])
    right_password = hmac.compare_digest(_digest(credentials.key, password), credentials.basic[1])
    return right_user & right_password


def _bearer(credentials: Credentials, given: bytes) -> bool:
    return credentials.bearer is not None and hmac.compare_digest(_digest(credentials.key, given), credentials.bearer)


_SCHEMES: dict[bytes, Callable[[Credentials, bytes], bool]] = {b"basic": _basic, b"bearer": _bearer}


def _digest(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, key=key, digest_size=32).digest()


class Access:
    """ASGI middleware: requests without the right credentials end here, with their bodies unread."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._credentials = Credentials.of(settings) if settings.api_auth_enabled else None
        self._open = OPEN_PATHS if settings.metrics_auth else OPEN_PATHS | {"/metrics"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = None if scope["path"] in self._open else self._refusal(scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response(request_id_of(scope))(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        # A browser that has signed in sends its password along with what other sites make it post.
        if scope["method"] == "POST" and _CROSS_SITE & set(_headers(scope, b"sec-fetch-site")):
            return Problem(403, "cross_site", "Pages of other sites may not use this service.", headers=_CLOSE)
        if self._credentials is None:
            return _not_from_here(scope)
        given = _headers(scope, b"authorization")
        if len(given) == 1 and self._credentials.accept(given[0]):
            return None
        challenge = {"WWW-Authenticate": self._credentials.challenge, **_CLOSE}
        return Problem(401, "unauthorized", "Sign in with HTTP Basic or a bearer token.", headers=challenge)


_CLOSE = {"Connection": "close"}
"""The body is not read, so the connection cannot be used again."""

_OTHER_MACHINE = "Without sign-in the service answers this machine only. Set API_AUTH_PASSWORD or API_AUTH_TOKEN."
_WRONG_HOST = "Without sign-in the service answers as localhost only."


def _headers(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _not_from_here(scope: Scope) -> Problem | None:
    """Who may not ask where nobody signs in: other machines, whatever they say, and pages of other names."""
    if not _comes_from_here(scope):
        return Problem(403, "other_machine", _OTHER_MACHINE, headers=_CLOSE)
    return None if _asks_for_here(scope) else Problem(421, "wrong_host", _WRONG_HOST, headers=_CLOSE)


def _comes_from_here(scope: Scope) -> bool:
    """Whether the connection is one of this machine: where it comes from cannot be made up as a header can."""
    try:
        address = ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _asks_for_here(scope: Scope) -> bool:
    hosts = _headers(scope, b"host")
    name = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
    host = name[: name.index("]") + 1] if name.startswith("[") and "]" in name else name.partition(":")[0]
    return host in LOOPBACK_HOSTS
