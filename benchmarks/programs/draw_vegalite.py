"""Vega-Lite, through vl-convert: its SVG names the line that each element belongs to."""

from __future__ import annotations

import copy
from typing import Any

from recipes import Recipe
from truth import Drawing, coverage, decode

SVG = "{http://www.w3.org/2000/svg}"
DASHES = {"solid": [1, 0], "dash": [6, 4], "dot": [2, 2], "dashdot": [8, 3, 2, 3], "longdash": [12, 5]}
THEMES = (
    *(None, None, None, "ggplot2", "fivethirtyeight", "quartz", "vox", "latimes"),
    *("googlecharts", "excel", "urbaninstitute"),
)
DARK = "#333"
SHAPES = ("path", "rect", "line", "text", "circle")


def draw(recipe: Recipe) -> Drawing:
    """The chart and its truth."""
    import vl_convert
    from lxml import etree

    theme = "dark" if recipe.dark else recipe.choose(*THEMES)
    specification = specify(recipe)
    svg = vl_convert.vegalite_to_svg(specification, **({"theme": theme} if theme else {}))
    tree = etree.fromstring(svg.encode())
    line_width = _mark_lines(tree, recipe.names)
    coverages = []
    for number in range(recipe.count):
        alone = etree.tostring(_isolate(tree, number, recipe)).decode()
        coverages.append(coverage(vl_convert.svg_to_png(alone, scale=recipe.scale)))
    picture = decode(vl_convert.svg_to_png(svg, scale=recipe.scale))
    return Drawing(picture, coverages, line_width * recipe.scale)


def specify(recipe: Recipe) -> dict[str, Any]:
    """The Vega-Lite specification."""
    xs = _x_values(recipe)
    rows = [
        {"x": x, "y": y, "s": name}
        for name, values in zip(recipe.names, recipe.values, strict=True)
        for x, y in zip(xs, values, strict=True)
    ]
    mark, axes = _mark(recipe), _axes(recipe)
    encoding = axes | {"description": {"field": "s"}} | _tell_apart(recipe, mark)
    lines = {"data": {"values": rows}, "mark": mark, "encoding": encoding}
    page: dict[str, Any] = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json"}
    page |= {"width": recipe.width - 110, "height": recipe.height - 80}
    if recipe.title:
        page["title"] = recipe.title
    return page | ({"layer": [_backdrop(recipe, axes), lines]} if recipe.extra else lines)


def _x_values(recipe: Recipe) -> list[Any]:
    if recipe.x_type == "num":
        return recipe.x
    return recipe.dates if recipe.x_type == "date" else [chr(ord("A") + number) for number in range(recipe.points)]


def _mark(recipe: Recipe) -> dict[str, Any]:
    mark: dict[str, Any] = {"type": "line"}
    if recipe.line_width:
        mark["strokeWidth"] = recipe.line_width
    if recipe.curve == "step":
        mark["interpolate"] = recipe.choose("step", "step-after", "step-before")
    if recipe.curve == "smooth":  # A basis spline does not go through its points.
        smooth = ("monotone", "cardinal", "basis") if recipe.marker == "none" else ("monotone", "cardinal")
        mark["interpolate"] = recipe.choose(*smooth)
    if recipe.marker == "open":
        mark["point"] = {"filled": False, "fill": DARK if recipe.dark else "white"}
    elif recipe.marker != "none":
        mark["point"] = recipe.choose(True, {"size": 50})
    return mark


def _axes(recipe: Recipe) -> dict[str, Any]:
    x_axis: dict[str, Any] = {"title": recipe.x_label}
    y_axis: dict[str, Any] = {"title": recipe.y_label}
    if recipe.grid is False:
        x_axis["grid"] = y_axis["grid"] = False
    if recipe.x_type == "cat":
        x_axis["labelAngle"] = 0
    x_type = {"num": "quantitative", "date": "temporal", "cat": "nominal"}[recipe.x_type]
    x: dict[str, Any] = {"field": "x", "type": x_type, "axis": x_axis}
    y: dict[str, Any] = {"field": "y", "type": "quantitative", "axis": y_axis}
    if recipe.theme % 2 or recipe.low < 0:
        y["scale"] = {"zero": False}
    if recipe.x_type == "num" and recipe.theme % 3:
        x["scale"] = {"nice": False, "zero": False}
    return {"x": x, "y": y}


def _tell_apart(recipe: Recipe, mark: dict[str, Any]) -> dict[str, Any]:
    """What the lines differ in; `mark` gets what they share."""
    if recipe.color:
        mark["color"] = recipe.color
    if recipe.count == 1 and recipe.theme % 2 == 0:
        if recipe.dashed:
            mark["strokeDash"] = DASHES[recipe.dashes[0]]
        return {}
    series = {"field": "s", "type": "nominal", "sort": recipe.names, "legend": _legend(recipe)}
    encoding: dict[str, Any] = {"detail": {"field": "s"}} if recipe.color else {}
    if not recipe.color:
        encoding["color"] = series | {"scale": _color_scale(recipe)}
    if recipe.dashed:
        dashes = [DASHES[dash] for dash in recipe.dashes]
        encoding["strokeDash"] = series | {"scale": {"domain": recipe.names, "range": dashes}}
    if recipe.marker == "varied":
        encoding["shape"] = series
    return encoding


def _legend(recipe: Recipe) -> dict[str, Any] | None:
    if not recipe.legend:
        return None
    place = "top-left" if recipe.legend == "inside" else recipe.legend
    return {"title": recipe.choose("series", None), "orient": place}


def _color_scale(recipe: Recipe) -> dict[str, Any]:
    scale: dict[str, Any] = {"domain": recipe.names}
    if recipe.palette:
        scale["range"] = recipe.palette[: recipe.count]
    elif recipe.theme % 3 == 0:
        scale["scheme"] = recipe.choose("category10", "set1", "dark2", "tableau10", "accent")
    return scale


def _backdrop(recipe: Recipe, axes: dict[str, Any]) -> dict[str, Any]:
    if recipe.extra in ("ref", "band"):
        rule = {"type": "rule", "strokeDash": [4, 4], "color": "#888"}
        return {"mark": rule, "encoding": {"y": {"datum": recipe.level}}}
    marks: dict[str | None, dict[str, Any]] = {
        "area": {"type": "area", "opacity": 0.25, "color": "#8899aa", "line": False},
        "bars": {"type": "bar", "color": "#ccc", "size": max(1, 0.6 * recipe.width / recipe.points)},
        "points": {"type": "point", "color": "#999", "size": 15},
    }
    columns = zip(_x_values(recipe), recipe.values[0], recipe.extra_values, strict=True)
    rows = [{"x": x, "y": y, "q": value} for x, y, value in columns]
    y = axes["y"] | {"field": "y" if recipe.extra == "area" else "q"}
    return {"data": {"values": rows}, "mark": marks[recipe.extra], "encoding": {"x": axes["x"], "y": y}}


def _mark_lines(tree: Any, names: list[str]) -> float:
    """Give each element of a line its number in `data-line`; the stroke width."""
    line_width = 2.0
    for group in tree.iter(f"{SVG}g"):
        kinds = group.get("class") or ""
        if "role-mark" not in kinds or not ("mark-line" in kinds or "mark-symbol" in kinds):
            continue
        for path in group.iter(f"{SVG}path"):
            if (label := path.get("aria-label")) not in names:
                continue
            path.set("data-line", str(names.index(label)))
            if "mark-line" in kinds:
                path.set("data-role", "line")
                line_width = float(path.get("stroke-width") or 1)
    return line_width


def _isolate(tree: Any, number: int, recipe: Recipe) -> Any:
    """The document with nothing but this line, in black on white."""
    page = tree.find(f"{SVG}rect")
    holes = {"white" if page is None else page.get("fill")}
    if recipe.marker == "open":
        holes |= {"white", DARK if recipe.dark else "white"}
    alone = copy.deepcopy(tree)
    for element in alone.iter():
        if not isinstance(element.tag, str):
            continue
        if any(parent.tag in (f"{SVG}defs", f"{SVG}clipPath") for parent in element.iterancestors()):
            continue
        _make_opaque(element)
        if element.tag.removeprefix(SVG) not in SHAPES:
            continue
        if element.get("data-line") == str(number):
            _blacken(element, holes)
        else:
            element.set("visibility", "hidden")
            element.set("style", "visibility:hidden")
    ground = alone.makeelement(f"{SVG}rect", {"width": "100%", "height": "100%", "fill": "white"})
    alone.insert(0, ground)
    return alone


def _make_opaque(element: Any) -> None:
    for name in ("opacity", "stroke-opacity", "fill-opacity"):
        # What is clear by its own stays so: it is the inside of a mark that has none.
        if element.get(name) is not None and (name == "opacity" or element.get(name) != "0"):
            element.set(name, "1")


def _blacken(element: Any, holes: set[str]) -> None:
    if element.get("data-role") == "line":
        element.set("fill", "none")
    elif element.get("fill") not in (None, "none", "transparent"):
        element.set("fill", "white" if element.get("fill") in holes else "black")
    if element.get("stroke") not in (None, "none", "transparent"):
        element.set("stroke", "black")
