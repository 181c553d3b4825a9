"""The twelve programs: how each draws a recipe, and what it needs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import browser
import draw_bokeh
import draw_gnuplot
import draw_letsplot
import draw_plotly
import draw_pygal
import draw_r
import draw_vegalite
from browser import Browser
from recipes import Recipe
from truth import Drawing


@dataclass(frozen=True)
class Tools:
    """What the programs draw with."""

    browser: Browser
    scratch: Path  # A folder that each chart may fill anew.


@dataclass(frozen=True)
class Program:
    """A plotting program and its needs."""

    draw: Callable[[Recipe, Tools], Drawing]
    modules: tuple[str, ...] = ()  # Of Python.
    commands: tuple[str, ...] = ()
    page: str | None = None  # Its page in the browser.
    r_package: str | None = None

    def missing(self, node_modules: Path) -> list[str]:
        """What is not installed, in words."""
        modules = [*self.modules, "playwright"] if self.page else list(self.modules)
        lacks = [f"Python module {name}" for name in modules if importlib.util.find_spec(name) is None]
        lacks += [f"command {name}" for name in self.commands if shutil.which(name) is None]
        if self.page:
            needed = [name for name in browser.LIBRARIES[self.page] if ":" not in name]
            lacks += [f"node module {name}" for name in needed if not (node_modules / name).exists()]
            lacks += [] if browser.find_chromium() else ["chromium"]
        if self.r_package and not lacks and not _r_has(self.r_package):
            lacks.append(f"R package {self.r_package}")
        return lacks


def _r_has(package: str) -> bool:
    check = f'quit(status = !requireNamespace("{package}", quietly = TRUE))'
    done = subprocess.run(["Rscript", "--vanilla", "-e", check], capture_output=True, timeout=60, check=False)
    return done.returncode == 0


def _by_page(name: str) -> Program:
    """A program of the browser whose page needs nothing but the recipe."""
    return Program(lambda recipe, tools: browser.draw(recipe, tools.browser, name), page=name)


PROGRAMS: dict[str, Program] = {
    "vegalite": Program(lambda recipe, _: draw_vegalite.draw(recipe), modules=("vl_convert", "lxml")),
    "pygal": Program(lambda recipe, tools: draw_pygal.draw(recipe, tools.browser), modules=("pygal",), page="svg"),
    "letsplot": Program(
        lambda recipe, tools: draw_letsplot.draw(recipe, tools.browser), modules=("lets_plot", "lxml"), page="svg"
    ),
    "plotly": Program(
        lambda recipe, tools: draw_plotly.draw(recipe, tools.browser), modules=("plotly",), page="plotly"
    ),
    "echarts": _by_page("echarts"),
    "chartjs": _by_page("chartjs"),
    "uplot": _by_page("uplot"),
    "bokeh": Program(lambda recipe, tools: draw_bokeh.draw(recipe, tools.browser), modules=("bokeh",), page="bokeh"),
    "d3": _by_page("d3"),
    "gnuplot": Program(
        lambda recipe, tools: draw_gnuplot.draw(recipe, tools.scratch), modules=("resvg_py",), commands=("gnuplot",)
    ),
    "ggplot2": Program(
        lambda recipe, tools: draw_r.draw_ggplot2(recipe, tools.scratch), commands=("Rscript",), r_package="ggplot2"
    ),
    "rbase": Program(lambda recipe, tools: draw_r.draw_base(recipe, tools.scratch), commands=("Rscript",)),
}
