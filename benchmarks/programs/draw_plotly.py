"""Plotly: its page draws; the templates come from its Python package."""

from __future__ import annotations

import functools
import json
from typing import Any

from browser import Browser
from browser import draw as draw_page
from recipes import Recipe
from truth import Drawing

TEMPLATES = (
    *("plotly", "plotly_dark", "plotly_white", "simple_white"),
    *("ggplot2", "seaborn", "presentation", "none"),
)


def draw(recipe: Recipe, browser: Browser) -> Drawing:
    """The chart and its truth."""
    return draw_page(recipe, browser, "plotly", templates=_templates())


@functools.cache
def _templates() -> dict[str, Any]:
    from plotly import io

    documents = {name: io.templates[name].to_plotly_json() for name in TEMPLATES}
    return dict(json.loads(json.dumps(documents, default=list)))
