"""Charts that a browser draws: a page per program, which draws a recipe and then each of its lines alone."""

from __future__ import annotations

import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from recipes import Recipe
from truth import Drawing, coverage, decode

PAGES = Path(__file__).parent / "pages"
EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Charts must not depend on the graphics card, and nothing is fetched.
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--allow-file-access-from-files"),
)
# Page: files of the library that it uses, below node_modules or, with "package:", in an installed Python package.
LIBRARIES = {
    "svg": (),
    "plotly": ("plotly:package_data/plotly.min.js",),
    "bokeh": ("bokeh:server/static/js/bokeh.min.js",),
    "echarts": ("echarts/dist/echarts.min.js",),
    "chartjs": ("chart.js/dist/chart.umd.js",),
    "uplot": ("uplot/dist/uPlot.min.css", "uplot/dist/uPlot.iife.min.js"),
    "d3": ("d3/dist/d3.min.js",),
}


def find_chromium() -> str | None:
    """The path of the system's Chromium."""
    return next((path for name in EXECUTABLES if (path := shutil.which(name))), None)


class Browser:
    """Chromium, started when the first page is asked for."""

    def __init__(self, node_modules: Path) -> None:
        self.node_modules = node_modules
        self._playwright: Any = None
        self._chromium: Any = None
        self._pages: dict[tuple[str, int], Any] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        if self._playwright:
            self._chromium.close()
            self._playwright.stop()

    def page(self, name: str, scale: int) -> Any:
        """The page of a program, with its library, at this many pixels per CSS pixel."""
        if (name, scale) not in self._pages:
            self._pages[name, scale] = self._open(name, scale)
        return self._pages[name, scale]

    def _open(self, name: str, scale: int) -> Any:
        if self._playwright is None:
            from playwright.sync_api import sync_playwright

            self._playwright = sync_playwright().start()
            self._chromium = self._playwright.chromium.launch(executable_path=find_chromium(), args=list(SWITCHES))
        viewport = {"width": 1300, "height": 900}
        context = self._chromium.new_context(viewport=viewport, device_scale_factor=scale, offline=True)
        page = context.new_page()
        page.on("pageerror", lambda error: print(f"{name}: {error}", file=sys.stderr))
        page.goto((PAGES / f"{name}.html").as_uri())
        for library in LIBRARIES[name]:
            path = self._library(library)
            (page.add_style_tag if path.suffix == ".css" else page.add_script_tag)(path=path)
        return page

    def _library(self, name: str) -> Path:
        package, _, inside = name.rpartition(":")
        return Path(str(files(package).joinpath(inside))) if package else self.node_modules / inside


def screenshot(page: Any, recipe: Recipe, wait: int) -> bytes:
    """What the page shows of the chart after `wait` milliseconds."""
    page.wait_for_timeout(wait)
    clip = {"x": 0, "y": 0, "width": recipe.width, "height": recipe.height}
    return page.screenshot(clip=clip, animations="disabled")  # type: ignore[no-any-return]


def draw(recipe: Recipe, browser: Browser, name: str, **more: Any) -> Drawing:
    """Have the page `name` draw the recipe, to which `more` is added for it alone."""
    page = browser.page(name, recipe.scale)
    drawn = page.evaluate("recipe => draw(recipe)", recipe.as_json() | more)
    picture = decode(screenshot(page, recipe, drawn.get("wait", 30)))
    coverages = []
    for number in range(recipe.count):
        wait = page.evaluate("number => isolate(number)", number) or 0
        coverages.append(coverage(screenshot(page, recipe, wait)))
    return Drawing(picture, coverages, drawn["lineWidth"] * recipe.scale)
