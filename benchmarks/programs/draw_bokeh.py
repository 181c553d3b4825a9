"""Bokeh: the figure is built anew for each line, with everything else clear but in its place."""

from __future__ import annotations

import datetime
from typing import Any

from browser import Browser, screenshot
from recipes import Recipe
from truth import Drawing, coverage, decode

DASHES = {"solid": "solid", "dash": "dashed", "dot": "dotted", "dashdot": "dotdash", "longdash": [12, 5]}
MARKERS = ("circle", "square", "triangle", "diamond", "x", "cross", "star", "inverted_triangle")
DARK_PAGE = "#20262b"
# Bokeh leaves out what is wholly clear, and lays out what is there anew.
CLEAR = 1e-3
WAIT = 250  # Milliseconds for its layout to settle.


def draw(recipe: Recipe, browser: Browser) -> Drawing:
    """The chart and its truth."""
    page, shots = browser.page("bokeh", recipe.scale), []
    for alone in [None, *range(recipe.count)]:
        background = DARK_PAGE if recipe.dark and alone is None else "#fff"
        content = {"item": _item(recipe, alone), "background": background}
        page.evaluate("content => show(content)", content | {"width": recipe.width, "height": recipe.height})
        shots.append(screenshot(page, recipe, WAIT))
    coverages = [coverage(shot) for shot in shots[1:]]
    return Drawing(decode(shots[0]), coverages, _line_width(recipe) * recipe.scale)


def _line_width(recipe: Recipe) -> float:
    return float(recipe.line_width or recipe.choose(1, 2, 2, 2.5))


def _item(recipe: Recipe, alone: int | None) -> dict[str, Any]:
    """The figure, or one line of it alone, as the browser takes it."""
    from bokeh.embed import json_item
    from bokeh.plotting import figure
    from bokeh.themes import built_in_themes

    options = {"width": recipe.width, "height": recipe.height, "title": recipe.title, "toolbar_location": None}
    options |= {"x_axis_label": recipe.x_label, "y_axis_label": recipe.y_label}
    plot = figure(**options, x_axis_type="datetime" if recipe.x_type == "date" else "linear")
    plot.toolbar.logo = None
    xs = _x_values(recipe)
    _add_backdrop(plot, recipe, xs, visible=alone is None)
    lines = [_add_line(plot, recipe, xs, number, alone) for number in range(recipe.count)]
    if recipe.legend:
        _add_legend(plot, recipe, lines, visible=alone is None)
    if recipe.grid is False:
        plot.xgrid.grid_line_color = plot.ygrid.grid_line_color = None
    if alone is not None:
        _clear_surroundings(plot)
    light = recipe.choose(None, "light_minimal", "caliber")
    name = "dark_minimal" if recipe.dark else light
    item = json_item(plot, theme=built_in_themes[name] if name else None)
    return {key: value for key, value in item.items() if key != "target_id"}


def _x_values(recipe: Recipe) -> list[Any]:
    if recipe.x_type == "date":
        return [datetime.datetime.fromisoformat(date) for date in recipe.dates]
    return recipe.x if recipe.x_type == "num" else list(range(recipe.points))


def _known(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _add_backdrop(plot: Any, recipe: Recipe, xs: list[Any], visible: bool) -> None:
    from bokeh.models import BoxAnnotation, Span

    alpha = float(visible)
    if recipe.extra == "area":
        floor = [min(0, recipe.low)] * recipe.points
        plot.varea(xs, floor, _known(recipe.values[0]), fill_alpha=0.25 * alpha, fill_color="#6699cc")
    elif recipe.extra == "bars":
        look = {"fill_color": "#d0d0d0", "line_color": None, "fill_alpha": alpha}
        plot.vbar(x=xs, top=recipe.extra_values, width=(xs[1] - xs[0]) * 0.7, **look)
    elif recipe.extra == "points":
        plot.scatter(xs, recipe.extra_values, size=5, color="#aaaaaa", alpha=0.7 * alpha)
    elif recipe.extra == "ref":
        look = {"line_color": "#888888", "line_dash": "dashed", "line_width": 1, "line_alpha": alpha}
        plot.add_layout(Span(location=recipe.level, dimension="width", **look))
    elif recipe.extra == "band":
        top = recipe.level + (recipe.high - recipe.low) * 0.2
        look = {"fill_alpha": 0.1 * alpha, "fill_color": "green", "line_alpha": 0}
        plot.add_layout(BoxAnnotation(bottom=recipe.level, top=top, **look))


def _color(recipe: Recipe, number: int) -> str:
    from bokeh import palettes

    named = ("navy", "firebrick", "olive", "orange", "green", "purple", "gray", "teal")
    plain = ("blue", "red", "green", "orange", "purple", "black", "brown", "magenta")
    if recipe.color:
        return recipe.color
    if recipe.palette:
        return recipe.palette[number % 8]
    if recipe.dark:
        return str(palettes.Set2[8][number % 8])
    ours = palettes.Category10[10], palettes.Set2[8], palettes.Dark2[8], palettes.Colorblind[8], named, plain
    return str(recipe.choose(*ours)[number % 8])


def _add_line(plot: Any, recipe: Recipe, xs: list[Any], number: int, alone: int | None) -> list[Any]:
    """The line and its markers; of the lines that are not to be seen too, for the axes' sake."""
    ys, color = _known(recipe.values[number]), _color(recipe, number) if alone is None else "black"
    alpha = recipe.choose(0.8, 1, 1, 1, 1) if alone is None else float(number == alone)
    look = {"line_width": _line_width(recipe), "line_dash": DASHES[recipe.dashes[number]]}
    look |= {"color": color, "alpha": alpha}
    if recipe.curve == "step":
        parts = [plot.step(xs, ys, mode=recipe.choose("before", "after", "center"), **look)]
    else:
        parts = [plot.line(xs, ys, **look)]
    if recipe.marker != "none":
        hole = DARK_PAGE if recipe.dark and alone is None else "white"
        look = {"line_color": color, "fill_color": hole if recipe.marker == "open" else color}
        look |= {"marker": MARKERS[number % 8] if recipe.marker == "varied" else "circle"}
        size = recipe.choose(5, 6, 8)
        parts.append(plot.scatter(xs, ys, size=size, line_alpha=alpha, fill_alpha=alpha, **look))
    return parts


def _add_legend(plot: Any, recipe: Recipe, lines: list[list[Any]], visible: bool) -> None:
    from bokeh.models import Legend, LegendItem

    nothing = plot.line([], [], line_alpha=0)
    renderers = lines if visible else [[nothing] for _ in lines]
    items = [LegendItem(label=name, renderers=of) for name, of in zip(recipe.names, renderers, strict=True)]
    legend = Legend(items=items)
    legend.background_fill_alpha = 0.95 if recipe.legend in ("right", "bottom") else 0.4
    if recipe.legend == "right":
        plot.add_layout(legend, "right")
    elif recipe.legend == "bottom":
        legend.orientation = "horizontal"
        plot.add_layout(legend, "below")
    else:
        legend.location = recipe.choose("top_left", "top_right", "bottom_right")
        plot.add_layout(legend)
    if not visible:
        legend.label_text_alpha, legend.background_fill_alpha, legend.border_line_alpha = CLEAR, 0, 0


def _clear_surroundings(plot: Any) -> None:
    parts = ("axis_line", "major_tick_line", "minor_tick_line", "axis_label_text", "major_label_text")
    for axis in plot.xaxis + plot.yaxis:
        for part in parts:
            setattr(axis, f"{part}_alpha", CLEAR)
    for grid in plot.xgrid + plot.ygrid:
        grid.grid_line_alpha = CLEAR
    if plot.title:
        plot.title.text_alpha = CLEAR
    plot.outline_line_alpha = CLEAR
    plot.background_fill_color = plot.border_fill_color = "white"
