"""pygal: its SVG has a group per line."""

from __future__ import annotations

import re
from typing import Any

from browser import Browser
from browser import draw as draw_page
from recipes import Recipe
from truth import Drawing

DASHES = {"dash": "6, 4", "dot": "2, 3", "dashdot": "8, 3, 2, 3", "longdash": "12, 5"}


def draw(recipe: Recipe, browser: Browser) -> Drawing:
    """The chart and its truth."""
    style = _style(recipe)
    chart = _chart(recipe, style)
    for number, name in enumerate(recipe.names):
        stroke = _stroke(recipe, number)
        chart.add(name, _points(recipe, number), **({"stroke_style": stroke} if stroke else {}))
    svg = re.sub(r"^<\?xml[^>]*\?>", "", chart.render(is_unicode=True))
    page = "#fff" if style.background == "transparent" else style.background
    plot = page if style.plot_background == "transparent" else style.plot_background
    return draw_page(recipe, browser, "svg", svg=svg, pageColors=[page, plot])


def _has_numbers(recipe: Recipe) -> bool:
    """Whether x is a number; labels of many points would hide the chart."""
    return recipe.x_type == "num" or recipe.points > 60


def _style(recipe: Recipe) -> Any:
    from pygal import style

    light = (
        *(style.DefaultStyle, style.DefaultStyle, style.CleanStyle, style.LightSolarizedStyle, style.LightStyle),
        *(style.RedBlueStyle, style.LightColorizedStyle, style.TurquoiseStyle, style.LightGreenStyle),
        style.SolidColorStyle,
    )
    if recipe.dark:
        chosen = recipe.choose(style.DarkStyle, style.NeonStyle, style.DarkSolarizedStyle)
    else:
        chosen = style.DefaultStyle if recipe.color else recipe.choose(*light)
    colors = (recipe.color,) * 8 if recipe.color else recipe.palette
    return chosen(colors=tuple(colors)) if colors else chosen()


def _chart(recipe: Recipe, style: Any) -> Any:
    import pygal

    dots = recipe.marker != "none" or (recipe.points <= 12 and recipe.theme % 2 == 0)
    options = {"width": recipe.width, "height": recipe.height, "style": style, "js": [], "show_dots": dots}
    options |= {"show_legend": bool(recipe.legend), "legend_at_bottom": recipe.legend == "bottom"}
    options |= {"title": recipe.title, "x_title": recipe.x_label, "y_title": recipe.y_label}
    if recipe.grid is False:
        options["show_y_guides"] = False
    if recipe.grid is True:
        options["show_x_guides"] = True
    if recipe.curve == "smooth":
        options["interpolate"] = recipe.choose("cubic", "hermite", "cubic")
    if recipe.marker != "none":
        options["dots_size"] = recipe.choose(2.5, 3, 4)
    if _has_numbers(recipe):
        return pygal.XY(**options)
    chart = pygal.Line(**options)
    chart.x_labels = recipe.dates if recipe.x_type == "date" else recipe.months
    if recipe.points > 15:
        chart.x_label_rotation = 30
        chart.show_minor_x_labels = False
        chart.x_labels_major = chart.x_labels[:: max(1, recipe.points // 8)]
    return chart


def _points(recipe: Recipe, number: int) -> list[Any]:
    values: list[Any] = recipe.values[number]
    if not _has_numbers(recipe):
        return values
    points = list(zip(recipe.x, values, strict=True))
    if recipe.curve != "step":
        return points
    following = [*points[1:], points[-1]]
    return [corner for here, then in zip(points, following, strict=True) for corner in (here, (then[0], here[1]))][:-1]


def _stroke(recipe: Recipe, number: int) -> dict[str, Any]:
    stroke: dict[str, Any] = {"width": recipe.line_width} if recipe.line_width else {}
    if dash := DASHES.get(recipe.dashes[number]):
        stroke["dasharray"] = dash
        stroke.setdefault("width", recipe.choose(1, 1.5, 2))
    return stroke
