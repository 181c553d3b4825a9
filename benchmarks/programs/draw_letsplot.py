"""lets-plot: its SVG names no lines, so a second one with a colour of its own for each tells whose a shape is."""

from __future__ import annotations

import re
from typing import Any

from browser import Browser
from browser import draw as draw_page
from recipes import Recipe
from truth import Drawing

LINETYPES = {"solid": "solid", "dash": "dashed", "dot": "dotted", "dashdot": "dotdash", "longdash": "longdash"}
# Of lines in the second document; no theme has these.
TELLTALES = [f"#{number + 1:02x}{number + 2:02x}{number + 3:02x}" for number in range(8)]
SHAPES = ("path", "circle", "rect", "line", "polyline", "polygon")


def draw(recipe: Recipe, browser: Browser) -> Drawing:
    """The chart and its truth."""
    colors = [recipe.color] * recipe.count if recipe.color else recipe.palette
    svg = re.sub(r"^<\?xml[^>]*\?>", "", _svg(recipe, colors))
    page = re.search(r'<path fill-rule="evenodd" fill="(rgb\([^)]*\))"', svg)
    page_colors = [page[1] if page else "#fff"] + ([] if recipe.dark else ["#ffffff"])
    marks = _marks(_svg(recipe, TELLTALES[: recipe.count]))
    return draw_page(recipe, browser, "svg", svg=svg, pageColors=page_colors, marks=marks)


def _marks(svg: str) -> list[tuple[int, int, bool]]:
    """Shapes of lines: which shape of the document, whose, and whether it is the stroke (else a marker)."""
    from lxml import etree

    owner = {color: number for number, color in enumerate(TELLTALES)}
    owner |= {f"rgb({int(c[1:3], 16)},{int(c[3:5], 16)},{int(c[5:7], 16)})": n for n, c in enumerate(TELLTALES)}
    tree = etree.fromstring(svg.encode())
    elements = (element for element in tree.iter() if isinstance(element.tag, str))
    shapes = [element for element in elements if etree.QName(element).localname in SHAPES]
    marks = []
    for order, shape in enumerate(shapes):
        # What is not clipped to the axes is the legend's.
        if not any(parent.get("clip-path") or parent.get("clip-bounds-jfx") for parent in shape.iterancestors()):
            continue
        paints = [(shape.get(name) or "").replace(" ", "") for name in ("stroke", "fill")]
        number = next((owner[paint] for paint in paints if paint in owner), None)
        if number is not None:
            strokes = etree.QName(shape).localname in ("path", "polyline", "line")
            marks.append((order, number, strokes and shape.get("fill") in (None, "none")))
    return marks


def _svg(recipe: Recipe, colors: list[str] | None) -> str:
    import lets_plot as lp

    names = recipe.names
    themes = (lp.theme_minimal2, lp.theme_minimal2, lp.theme_minimal, lp.theme_bw, lp.theme_classic)
    plot = lp.ggplot(_rows(recipe)) + recipe.choose(*themes, lp.theme_grey, lp.theme_light)()
    if recipe.extra:
        plot += _backdrop(recipe)
    for layer in _layers(recipe):
        plot += layer
    if recipe.dashed:
        linetypes = [LINETYPES[dash] for dash in recipe.dashes]
        plot += lp.scale_linetype_manual(values=linetypes, breaks=names)
    if colors:
        plot += lp.scale_color_manual(values=colors, breaks=names)
    for setting in _surroundings(recipe):
        plot += setting
    return str((plot + lp.ggsize(recipe.width, recipe.height)).to_svg())


def _known(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _x_values(recipe: Recipe) -> list[Any]:
    return recipe.x if recipe.x_type == "num" else list(range(recipe.points))


def _rows(recipe: Recipe) -> dict[str, list[Any]]:
    return {
        "x": _x_values(recipe) * recipe.count,
        "y": [value for values in recipe.values for value in _known(values)],
        "s": [name for name in recipe.names for _ in range(recipe.points)],
    }


def _backdrop(recipe: Recipe) -> Any:
    import lets_plot as lp

    data = {"x": _x_values(recipe), "y": _known(recipe.values[0]), "q": recipe.extra_values}
    if recipe.extra == "area":
        look = {"alpha": 0.2, "fill": "#8888aa", "size": 0, "stat": "identity"}
        return lp.geom_area(lp.aes("x", "y"), data=data, **look)
    if recipe.extra == "bars":
        look = {"stat": "identity", "fill": "#cccccc", "color": "#cccccc", "alpha": 0.6}
        return lp.geom_bar(lp.aes("x", "q"), data=data, **look)
    if recipe.extra == "points":
        return lp.geom_point(lp.aes("x", "q"), data=data, color="#aaaaaa", size=1.5)
    if recipe.extra == "ref":
        return lp.geom_hline(yintercept=recipe.level, color="#888888", linetype="dashed")
    band = {"a": [recipe.level], "b": [recipe.level + (recipe.high - recipe.low) * 0.15]}
    return lp.geom_band(lp.aes(ymin="a", ymax="b"), data=band, alpha=0.2)


def _layers(recipe: Recipe) -> list[Any]:
    """Lines, and markers on them."""
    import lets_plot as lp

    size = recipe.line_width / 2.2 if recipe.line_width else recipe.choose(None, None, 1, 1.3)
    looks = {"color": "s"} | ({"linetype": "s"} if recipe.dashed else {})
    geometry = lp.geom_step if recipe.curve == "step" else lp.geom_line
    layers = [geometry(lp.aes("x", "y", **looks), **({"size": size} if size else {}))]
    if recipe.marker != "none":
        looks = {"color": "s"} | ({"shape": "s"} if recipe.marker == "varied" else {})
        fixed = {"shape": 21, "fill": "white"} if recipe.marker == "open" else {}
        layers.append(lp.geom_point(lp.aes("x", "y", **looks), size=recipe.choose(2.5, 3, 4), **fixed))
    return layers


def _surroundings(recipe: Recipe) -> list[Any]:
    import lets_plot as lp

    theme: dict[str, Any] = {}
    if not recipe.legend:
        theme["legend_position"] = "none"
    elif recipe.legend != "inside":
        theme["legend_position"] = recipe.legend
    if recipe.grid is False:
        theme["panel_grid"] = lp.element_blank()
    settings = [lp.theme(**theme)] if theme else []
    title = {"title": recipe.title} if recipe.title else {}
    settings.append(lp.labs(**title, x=recipe.x_label or "", y=recipe.y_label or ""))
    if recipe.dark:
        settings.append(recipe.choose(lp.flavor_darcula, lp.flavor_high_contrast_dark)())
    elif recipe.theme % 11 == 0:
        settings.append(lp.flavor_solarized_light())
    return settings
