"""A real service on loopback and a real browser in front of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "linegroup" / "serving" / "web"
CHARTS = ROOT / "examples" / "real_charts" / "images"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
USER, PASSWORD = "somebody", "correct horse 7"

# As root there is no sandbox; the rest keeps Chromium from asking for things of the network.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(600))


class Moody:
    """Stages that do the work of `inner`, but are busy or slow when told so."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.calm()

    def calm(self) -> None:
        self.busy = 0  # so many orders are refused
        self.delay = 0.0  # seconds before each order
        self.given_up = 0  # orders that were cancelled while they waited
        self.instead: bytes | None = None  # body in place of what would be found

    async def run(self, order: Any) -> Any:
        from dataclasses import replace

        from linegroup.serving.stages import Overloaded

        if self.busy:
            self.busy -= 1
            raise Overloaded("Too many pictures are waiting.", 1)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        reply = await self.inner.run(order)
        return reply if self.instead is None else replace(reply, body=self.instead)

    async def info(self) -> Any:
        return await self.inner.info()

    async def ready(self) -> bool:
        return True


@dataclass
class Service:
    """The running service."""

    url: str
    stages: Moody
    predictor: Any


@pytest.fixture(scope="session")
def running(chromium: str) -> Iterator[Service]:
    """The service with the packaged model, signed in by HTTP Basic, on a free port."""
    pytest.importorskip("uvicorn")
    import uvicorn

    from linegroup.serving.api import build_api
    from linegroup.serving.loading import load_model
    from linegroup.serving.settings import ServiceSettings
    from linegroup.serving.stages import LocalStages

    loaded = load_model(device="cpu")
    local = LocalStages(loaded.predictor, loaded.info)
    stages = Moody(local)
    settings = ServiceSettings.read(
        _env_file=None, api_auth_username=USER, api_auth_password=PASSWORD, request_timeout_s=300, upload_timeout_s=120
    )
    app = build_api(settings, stages, WEB)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, name="service")
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Service(f"http://127.0.0.1:{port}", stages, loaded.predictor)
    server.should_exit = True
    thread.join(30)
    local.close()


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    """The service in its normal mood."""
    running.stages.calm()
    yield running
    running.stages.calm()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser to use: the one named in $CHROMIUM, an installed one, or Playwright's own; else tests are skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        with sync_api.sync_playwright() as library:
            found = library.chromium.executable_path
    if not Path(found).is_file():
        pytest.skip(f"No Chromium is installed (make chromium); looked for $CHROMIUM, {', '.join(NAMES)}")
    return found


# Of a module, not of the session: while Playwright runs, no other test could start an event loop.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as library:
        started = library.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass
class Watch:
    """What a page must not do, and did.

    Attributes:
        problems: Messages of the console, errors, violations of the policy, requests to other hosts.
        allowed: Parts of messages that the test expects.
    """

    problems: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    @property
    def unexpected(self) -> list[str]:
        return [problem for problem in self.problems if not any(part in problem for part in self.allowed)]


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def open_page(browser: Any, service: Service, watch: Watch) -> Iterator[Any]:
    """Opens the page, signed in: `open_page(width=360)`. Whatever goes wrong on it fails the test."""
    contexts = []

    def start(width: int = 1280, height: int = 800, **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            http_credentials={"username": USER, "password": PASSWORD},
            accept_downloads=True,
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(90_000)
        page.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (e) => console.error('policy', e.violatedDirective, e.blockedURI))"
        )
        page.on("console", lambda message: _note(watch, message))
        page.on("pageerror", lambda error: watch.problems.append(f"error: {error}"))
        page.on("request", lambda request: _check_host(watch, request.url, service.url))
        page.goto(service.url)
        page.wait_for_selector("html.ready")
        return page

    yield start
    for context in contexts:
        context.close()
    assert not watch.unexpected


@pytest.fixture
def page(open_page: Any) -> Any:
    """The page in a window of usual size."""
    return open_page()


def _note(watch: Watch, message: Any) -> None:
    if message.type in ("error", "warning"):
        watch.problems.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")


def _check_host(watch: Watch, url: str, own: str) -> None:
    if not url.startswith((own + "/", f"blob:{own}/", "data:")):
        watch.problems.append(f"request to {url}")


@pytest.fixture(scope="session")
def chart() -> Path:
    """A real chart with several lines."""
    return CHARTS / "0013.png"


@pytest.fixture(scope="session")
def expected(running: Service, chart: Path) -> Any:
    """What `predict` finds in it."""
    return running.predictor.predict_file(chart).document


@pytest.fixture(scope="session")
def layer() -> Any:
    """Reads what is on a canvas of the stage, drawn to the end: `layer(page, "lines")` is `(h, w, 4) uint8` RGBA."""
    import base64

    import cv2
    import numpy as np

    def read(page: Any, name: str) -> Any:
        settle(page)
        text = page.evaluate(f"document.querySelector('canvas[data-layer={name}]').toDataURL()")
        coded = np.frombuffer(base64.b64decode(text.partition(",")[2]), np.uint8)
        return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)

    def settle(page: Any) -> None:
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        page.evaluate(frames)
        page.wait_for_function(
            """() => { const {scale, left, top} = document.querySelector('#stage').dataset;
            return document.querySelector('canvas[data-layer=lines]').dataset.drawn === `${scale} ${left} ${top}`; }"""
        )
        page.evaluate(frames)

    return read


@pytest.fixture(scope="session")
def view_of() -> Any:
    """Where the picture lies on the page: `(scale, left, top)`."""

    def read(page: Any) -> tuple[float, float, float]:
        data = page.evaluate("({...document.querySelector('#stage').dataset})")
        return float(data["scale"]), float(data["left"]), float(data["top"])

    return read


@pytest.fixture(scope="session")
def upload() -> Any:
    """Opens a file on the page and waits for its lines."""

    def act(page: Any, path: Path, lines: int | None = None) -> None:
        page.set_input_files("#file", str(path))
        page.wait_for_selector("#progress", state="visible")
        page.wait_for_selector("#progress", state="hidden")
        if lines is not None:
            page.wait_for_function(f"() => document.querySelectorAll('#lines .row').length === {lines}")

    return act
