"""Bodies that are too large, too slow, too many; by sockets, as attackers send them."""

import asyncio
import base64
import contextlib
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
from starlette.requests import Request

from linegroup.serving.body import Bodies
from linegroup.serving.gate import Gate
from linegroup.serving.settings import ServiceSettings

PASSWORD = "correct horse battery"
AUTH = "Authorization: Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
LIMIT = 200_000


@pytest.fixture(scope="module")
def client(serve, local_stages):
    with serve(local_stages, max_upload_bytes=LIMIT, upload_timeout_s=1.5, max_batch_files=5) as client:
        yield client


def head(client, *headers, path="/v1/cluster"):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", AUTH, *headers, "", ""]
    return "\r\n".join(lines).encode()


def connect(client):
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def answer(sock):
    """Everything until the server closes the connection."""
    found = b""
    while True:
        try:
            part = sock.recv(65536)
        except ConnectionResetError:
            return found
        if not part:
            return found
        found += part


def test_a_length_beyond_the_limit_is_refused_unread(client):
    with connect(client) as sock:
        sock.sendall(head(client, "Content-Length: 11000000", "Content-Type: multipart/form-data; boundary=x"))
        reply = answer(sock)
    assert reply.startswith(b"HTTP/1.1 413")
    assert b"too_large" in reply


@pytest.mark.parametrize("length", ["Content-Length: " + "9" * 400, "Content-Length: 10, 11000000"])
def test_lengths_that_are_no_lengths(client, length):
    with connect(client) as sock:
        sock.sendall(head(client, length))
        reply = answer(sock)
    assert reply[9:12] in (b"400", b"413")


def test_chunks_without_a_length_are_counted(client):
    with connect(client) as sock:
        sock.sendall(head(client, "Transfer-Encoding: chunked", "Content-Type: multipart/form-data; boundary=x"))
        sent = 0
        chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        try:
            while sent < 100 * LIMIT:
                sock.sendall(chunk)
                sent += 0x4000
        except OSError:
            pass
        reply = answer(sock)
    assert sent < 100 * LIMIT
    assert not reply or reply.startswith(b"HTTP/1.1 413")


def test_many_tiny_chunks_cost_little(client):
    body = b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
    with connect(client) as sock:
        started = time.process_time()
        sock.sendall(head(client, "Transfer-Encoding: chunked", "Content-Type: multipart/form-data; boundary=x"))
        sock.sendall(body)
        reply = sock.recv(65536)
    assert reply[9:12] in (b"400", b"408", b"422")
    assert time.process_time() - started < 3


def test_who_trickles_is_cut_off_and_others_do_not_notice(client, chart_png):
    socks = [connect(client) for _ in range(30)]
    stop = threading.Event()

    def trickle():
        while not stop.is_set():
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.sendall(b"a")
            stop.wait(0.1)

    for sock in socks:
        sock.sendall(head(client, "Content-Length: 100000", "Content-Type: multipart/form-data; boundary=x"))
    started = time.monotonic()
    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert client.get("/health").status_code == 200
        assert client.post("/v1/lines", files={"file": ("a.png", chart_png)}).status_code == 200
        replies = [answer(sock) for sock in socks]
    finally:
        stop.set()
        thread.join()
        for sock in socks:
            sock.close()
    assert time.monotonic() - started < 20
    assert all(not reply or reply.startswith(b"HTTP/1.1 408") for reply in replies)
    assert sum(reply.startswith(b"HTTP/1.1 408") for reply in replies) > 15


def test_a_picture_of_just_the_limit_passes_the_door(client):
    reply = client.post("/v1/lines", files={"file": ("a.png", b"x" * LIMIT)})
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unknown_format")
    reply = client.post("/v1/lines", files={"file": ("a.png", b"x" * (LIMIT + 1))})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_too_many_parts(client):
    fields = {f"f{k}": "1" for k in range(200)}
    reply = client.post("/v1/cluster", data=fields, files={"file": b"x"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_parts")
    reply = client.post("/v1/lines", files=[("files", (f"{k}.png", b"x")) for k in range(6)])
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_parts")


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"abc", 400),
        ("multipart/form-data; boundary=x", b"abc", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: nothing\r\n\r\nabc\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b"", 422),
        ("multipart/form-data; boundary=" + "x" * 5000, b"abc", 400),
        ("application/json", b"{}", 415),
        ("", b"{}", 415),
        ("application/x-www-form-urlencoded", b"eps=1", 415),
    ],
)
def test_bodies_that_are_no_form(client, kind, body, status):
    reply = client.post("/v1/cluster", content=body, headers={"Content-Type": kind})
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


def test_files_in_the_wrong_places(client, chart_png):
    for files, data, field in (
        ([("file", ("a.png", chart_png)), ("file", ("b.png", chart_png))], {}, "file"),
        ([("eps", ("a.png", chart_png))], {}, "eps"),
        ([("files", ("a.png", chart_png))], {}, "files"),
        ([("file", ("a.png", chart_png))], {"eps": ["1", "2"]}, "eps"),
        ([("x", ("", b""))], {"file": "text"}, "file"),
    ):
        reply = client.post("/v1/cluster", files=files, data=data)
        assert (reply.status_code, reply.json()["error"]["field"]) == (422, field), reply.text


def test_all_uploads_together_are_bounded(serve, local_stages):
    with serve(local_stages, max_upload_bytes=LIMIT, max_buffered_bytes=LIMIT, upload_timeout_s=20) as client:
        with connect(client) as first:
            first.sendall(head(client, "Content-Length: 150000") + b"a" * 120_000)
            time.sleep(0.5)
            reply = client.post("/v1/cluster", content=b"b" * 120_000, headers={"Content-Type": "x/y"})
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        for _ in range(50):
            reply = client.post("/v1/cluster", content=b"b" * 120_000, headers={"Content-Type": "x/y"})
            if reply.status_code == 415:
                break
            time.sleep(0.1)
        assert reply.status_code == 415


def test_a_form_that_is_hard_to_read_keeps_nobody_waiting():
    """Boundaries that are not quite one: in one piece the parser needs a second for them, and nothing else is done."""
    head = b'--xz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    content = head + b"\r\n--xza" * 700_000 + b"\r\n--xz--\r\n"
    settings = ServiceSettings.read(_env_file=None, api_auth_password=PASSWORD)
    sizes, pauses = [], []

    async def app(scope, receive, send):
        form = await Request(scope, receive).form(max_part_size=10**8)
        sizes.append(form["file"].size)
        await form.close()

    async def tick():
        while True:
            started = time.thread_time()
            await asyncio.sleep(0)
            pauses.append(time.thread_time() - started)

    async def scene():
        messages = iter([{"type": "http.request", "body": content, "more_body": False}])
        headers = [(b"content-type", b"multipart/form-data; boundary=xz")]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}

        async def receive():
            return next(messages)

        ticking = asyncio.ensure_future(tick())
        bodies = Bodies(app, settings, Gate(1, 1))
        await bodies(scope, receive, None)
        ticking.cancel()
        assert bodies._held == 0

    asyncio.run(scene())
    assert sizes == [7 * 700_000]
    assert max(pauses) < 0.2


def test_many_fields_and_many_files(client):
    """More than any form of ours has: refused while they are read."""
    part = '--x\r\nContent-Disposition: form-data; name="f{}"{}\r\n\r\n\r\n'
    kinds = {10_000: "", 1001: '; filename="a.png"'}
    for count, name in kinds.items():
        body = "".join(part.format(k, name) for k in range(count)).encode() + b"--x--\r\n"
        # No more than fits: the count is refused, not the size.
        body = body if len(body) <= LIMIT else body[:LIMIT]
        reply = client.post("/v1/lines", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_parts"), count
    assert client.get("/health").status_code == 200


def test_clients_that_leave_in_the_middle_leave_nothing(client):
    def things():
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), client.get("/metrics").text

    client.get("/health")
    files, threads, _ = things()
    spooled = set(Path(tempfile.gettempdir()).iterdir())
    start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    for length in (0, 1, 1000, 150_000) * 10:
        with connect(client) as sock:
            sock.sendall(head(client, "Content-Length: 180000", "Content-Type: multipart/form-data; boundary=x"))
            sock.sendall(start + b"a" * length)
    for _ in range(100):
        now_files, now_threads, figures = things()
        if now_files <= files and 'status="499"} 40.0' in figures:
            break
        time.sleep(0.1)
    assert now_files <= files
    assert now_threads <= threads
    assert 'method="POST",route="other",status="499"} 40.0' in figures, "every one has ended"
    assert "linegroup_requests_in_flight 0.0" in figures
    assert not set(Path(tempfile.gettempdir()).iterdir()) - spooled
