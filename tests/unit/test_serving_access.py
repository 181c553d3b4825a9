"""Who may ask."""

import asyncio
import base64
import hmac
import json
import statistics
import time

import pytest

from linegroup.serving import access
from linegroup.serving.access import Access, Credentials
from linegroup.serving.settings import ServiceSettings

PASSWORD, TOKEN = "pässwörd: with colon", "0123456789abcdef-xyz"
SETTINGS = ServiceSettings.read(_env_file=None, api_auth_password=PASSWORD, api_auth_token=TOKEN)


def basic(text):
    return b"Basic " + base64.b64encode(text if isinstance(text, bytes) else text.encode())


def ask(settings, headers=(), path="/v1/lines", method="POST", client=("127.0.0.1", 5000)):
    """Status, headers and body of the middleware's answer; 200 from the application behind it."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive():
        raise AssertionError("the body was read")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(headers), "client": client}
    asyncio.run(Access(application, settings)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    "header",
    [basic(f"admin:{PASSWORD}"), basic(f"admin:{PASSWORD}").replace(b"Basic", b"bAsIc"), b"Bearer " + TOKEN.encode()],
)
def test_right_credentials(header):
    assert ask(SETTINGS, [(b"authorization", header)])[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Basic !!!!",
        b"Basic YWRtaW4",
        b"Digest abc",
        b"\xff\xfe",
        basic("admin"),
        basic(b"\xff\xfe:\xff"),
        basic("admin:"),
        basic(f":{PASSWORD}"),
        basic(f"Admin:{PASSWORD}"),
        basic(f"admin:{PASSWORD} "),
        basic(f"admin:{TOKEN}"),
        basic("x" * 65536 + ":y"),
        b"Bearer",
        b"Bearer " + TOKEN.encode()[:-1],
        b"Bearer " + PASSWORD.encode(),
    ],
)
def test_wrong_credentials_are_asked_again_and_nothing_is_read(header):
    status, headers, body = ask(SETTINGS, [(b"authorization", header)])
    assert status == 401
    assert headers[b"www-authenticate"].startswith(b'Basic realm="linegroup"')
    assert headers[b"connection"] == b"close"
    assert body["error"]["code"] == "unauthorized"


def test_none_and_several_headers():
    good = (b"authorization", basic(f"admin:{PASSWORD}"))
    assert ask(SETTINGS)[0] == 401
    assert ask(SETTINGS, [good, good])[0] == 401


def test_a_token_alone_offers_no_basic():
    settings = ServiceSettings.read(_env_file=None, api_auth_token=TOKEN)
    status, headers, _ = ask(settings, [(b"authorization", basic("admin:"))])
    assert (status, headers[b"www-authenticate"]) == (401, b'Bearer realm="linegroup"')


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health", 200), ("/ready", 200), ("/metrics", 200), ("/", 401), ("/docs", 401), ("/openapi.json", 401),
     ("/model/info", 401), ("/web/app.js", 401), ("/health/", 401), ("/nothing", 401)],
)  # fmt: skip
def test_what_is_open(path, status):
    assert ask(SETTINGS, path=path, method="GET")[0] == status


def test_metrics_behind_the_door():
    settings = ServiceSettings.read(_env_file=None, api_auth_token=TOKEN, metrics_auth=True)
    assert ask(settings, path="/metrics", method="GET")[0] == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [(b"localhost:8000", 200), (b"127.0.0.1", 200), (b"[::1]:80", 200), (b"evil.example", 421), (b"", 421)],
)
def test_without_sign_in_only_names_of_this_machine(host, status):
    settings = ServiceSettings.read(_env_file=None, api_auth_enabled=False)
    assert ask(settings, [(b"host", host)])[0] == status


@pytest.mark.parametrize(
    ("client", "status"),
    [(("127.0.0.1", 1), 200), (("::1", 1), 200), (("::ffff:127.0.0.1", 1), 200), (("192.0.2.7", 1), 403),
     (("2001:db8::1", 1), 403), (("::ffff:192.0.2.7", 1), 403), (("somewhere", 1), 403), (None, 403)],
)  # fmt: skip
def test_without_sign_in_only_connections_of_this_machine(client, status):
    """On a cluster the proxy listens on all networks, and anybody can say `Host: localhost`."""
    settings = ServiceSettings.read(_env_file=None, api_auth_enabled=False)
    given, _, body = ask(settings, [(b"host", b"localhost")], client=client)
    assert given == status
    assert status == 200 or body["error"]["code"] == "other_machine"
    assert ask(SETTINGS, [(b"authorization", basic(f"admin:{PASSWORD}"))], client=client)[0] == 200


def test_pages_of_other_sites_cannot_post_with_a_browsers_password():
    good = (b"authorization", basic(f"admin:{PASSWORD}"))
    assert ask(SETTINGS, [good, (b"sec-fetch-site", b"cross-site")])[0] == 403
    assert ask(SETTINGS, [good, (b"sec-fetch-site", b"same-origin")])[0] == 200


def test_both_fields_are_compared_whatever_the_first_says(monkeypatch):
    compared = []
    genuine = hmac.compare_digest

    def compare(left, right):
        compared.append((len(left), len(right)))
        return genuine(left, right)

    credentials = Credentials.of(SETTINGS)
    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    for text in ("admin:wrong", "wrong:wrong", f"wrong:{PASSWORD}", "a" * 500 + ":b"):
        compared.clear()
        assert not credentials.accept(basic(text))
        assert compared == [(32, 32), (32, 32)]


@pytest.mark.slow
def test_time_does_not_tell_how_much_of_a_password_is_right():
    credentials = Credentials.of(ServiceSettings.read(_env_file=None, api_auth_password="k" + "z7" * 40))
    early, late = basic("admin:x" + "z7" * 40), basic("admin:k" + "z7" * 39 + "z8")
    times = {early: [], late: []}
    for turn in range(12_000):
        for header in (early, late) if turn % 2 else (late, early):
            started = time.perf_counter_ns()
            credentials.accept(header)
            times[header].append(time.perf_counter_ns() - started)
    kept = [sorted(values)[: len(values) // 2] for values in times.values()]
    means, variances = [statistics.fmean(k) for k in kept], [statistics.variance(k) for k in kept]
    welch = abs(means[0] - means[1]) / ((variances[0] + variances[1]) / len(kept[0])) ** 0.5
    assert welch < 4.5 or abs(means[0] - means[1]) < 0.01 * means[0]
