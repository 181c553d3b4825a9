"""Charts drawn by one of the renderers, each loaded when first asked for.

Matplotlib alone takes a second to load: processes that only read charts, such as the workers of a training, do without.
"""

from __future__ import annotations

from importlib import import_module

from linegroup.sources.synth.distribution import RENDERERS
from linegroup.sources.synth.spec import Chart, Rendering


def render(chart: Chart, *, lines: bool = True) -> Rendering:
    """Draw a chart by its own renderer, one of `RENDERERS`; with `lines=False` everything but its lines."""
    assert chart.renderer in RENDERERS, chart.renderer
    drawn: Rendering = import_module(f"linegroup.sources.synth.{chart.renderer}_renderer").render(chart, lines=lines)
    return drawn
