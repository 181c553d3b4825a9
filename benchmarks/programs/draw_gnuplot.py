"""gnuplot: the script is run once for the chart and once for each line, with the axes where they were."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

from recipes import Recipe
from truth import Drawing, coverage, decode

TERMINALS = ("pngcairo", "pngcairo", "svg", "png", "pngcairo")
DASHES = {"solid": "1", "dash": "2", "dot": "3", "dashdot": "4", "longdash": "(20,8)"}
COLORS = ("#9400d3", "#009e73", "#56b4e9", "#e69f00", "#f0e442", "#0072b2", "#e51e10", "#000000")
COLORS_BEFORE_5 = ("#ff0000", "#00c000", "#0080ff", "#c000ff", "#00eeee", "#c04000", "#c8c800", "#4169e1")
POINT_TYPES = {"filled": [7], "open": [6], "varied": [1, 2, 4, 5, 6, 7, 8, 9]}


def draw(recipe: Recipe, scratch: Path) -> Drawing:
    """The chart and its truth; `scratch` is a folder for its files."""
    (scratch / "data").write_text(_table(recipe))
    images = [_run(recipe, scratch, alone) for alone in [None, *range(recipe.count)]]
    coverages = [coverage(image) for image in images[1:]]
    return Drawing(decode(images[0]), coverages, _line_width(recipe) * recipe.scale, _terminal(recipe))


def _terminal(recipe: Recipe) -> str:
    return TERMINALS[recipe.index % len(TERMINALS)]


def _line_width(recipe: Recipe) -> float:
    return float(recipe.line_width or recipe.choose(1, 1, 2, 1.5))


def _foreground(recipe: Recipe) -> str:
    return "white" if recipe.dark else "black"


def _x_values(recipe: Recipe) -> list[str]:
    if recipe.x_type == "date":
        return recipe.dates
    return [str(x) for x in (recipe.x if recipe.x_type == "num" else range(recipe.points))]


def _table(recipe: Recipe) -> str:
    """A row per point: x, each line, the values behind."""
    columns = [["NaN" if value is None else repr(value) for value in values] for values in recipe.values]
    columns = [_x_values(recipe), *columns, [repr(value) for value in recipe.extra_values]]
    return "".join(" ".join(row) + "\n" for row in zip(*columns, strict=True))


def _run(recipe: Recipe, scratch: Path, alone: int | None) -> bytes:
    """The picture as PNG."""
    terminal = _terminal(recipe)
    image = scratch / ("image.svg" if terminal == "svg" else "image.png")
    commands = [_terminal_command(recipe, alone), f"set output '{image.name}'", *_axes(recipe)]
    if alone is None:
        commands += _surroundings(recipe)
    else:
        commands += [f"unset {part}" for part in ("border", "xtics", "ytics", "key", "grid", "title")]
    plots = _backdrop(recipe) if alone is None else []
    plots += [_plot(recipe, number, alone) for number in range(recipe.count) if alone in (None, number)]
    script = "\n".join([*commands, "plot " + ", \\\n ".join(plots), "unset output", ""])
    subprocess.run(["gnuplot"], input=script, cwd=scratch, text=True, check=True, capture_output=True, timeout=60)
    if terminal != "svg":
        return image.read_bytes()
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=image.read_text(), width=recipe.width * recipe.scale))


def _terminal_command(recipe: Recipe, alone: int | None) -> str:
    terminal, scale = _terminal(recipe), recipe.scale
    background = "#202020" if recipe.dark and alone is None else "#ffffff"
    colors = f"{'truecolor ' if terminal == 'png' else ''}background rgb '{background}'"
    font = f"font 'DejaVu Sans,{recipe.choose(9, 10, 12)}'" + ("" if terminal == "png" else f" fontscale {scale}")
    size = f"{recipe.width * scale},{recipe.height * scale}"
    return f"set terminal {terminal} size {size} {colors} enhanced {font} linewidth {scale}"


def _axes(recipe: Recipe) -> list[str]:
    """Margins and ranges are given: gnuplot would fit them to what it draws."""
    margins = {
        "l": 0.13 if recipe.y_label else 0.1,
        "r": 0.78 if recipe.legend == "right" else 0.95,
        "t": 0.9 if recipe.title else 0.95,
        "b": 0.14 if recipe.x_label else 0.1,
    }
    commands = [f"set {side}margin at screen {at}" for side, at in margins.items()]
    xs = _x_values(recipe)
    if recipe.x_type == "date":
        commands += ["set xdata time", "set timefmt '%Y-%m-%d'", "set format x '%b %y'"]
        commands += [f"set xrange ['{xs[0]}':'{xs[-1]}']"]
    else:
        commands += [f"set xrange [{xs[0]}:{xs[-1]}]"]
    low, high = _round_range(recipe.low, recipe.high)
    return [*commands, f"set yrange [{low}:{high}]", "set datafile missing 'NaN'", "set style fill solid 0.4 noborder"]


def _round_range(low: float, high: float) -> tuple[float, float]:
    """The range, widened to whole steps of 1, 2, 5 or 10 times a power of ten."""
    extent = (high - low) or 1
    unit = 10 ** math.floor(math.log10(extent / 5))
    step = next(times * unit for times in (1, 2, 5, 10) if extent / (times * unit) <= 7)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _surroundings(recipe: Recipe) -> list[str]:
    ink = _foreground(recipe)
    commands = [f"set border {recipe.choose(31, 3, 31)} lc rgb '{ink}'"]
    commands += [f"set tics tc rgb '{ink}'" + recipe.choose("", " nomirror", "")]
    if recipe.grid:
        grids = ("set grid", "set grid lc rgb '#cccccc' lt 1", "set grid ytics lc rgb 'gray' dt 2")
        commands.append(recipe.choose(*grids))
    words = {"title": recipe.title, "xlabel": recipe.x_label, "ylabel": recipe.y_label}
    commands += [f"set {name} '{text}' tc rgb '{ink}'" for name, text in words.items() if text]
    if recipe.legend:
        place = "outside right" if recipe.legend == "right" else recipe.choose("top left", "top right", "bottom right")
        commands.append(f"set key {place} tc rgb '{ink}' {recipe.choose('box', '', '', '')}")
    else:
        commands.append("unset key")
    if recipe.extra == "ref":
        ends = f"from graph 0,first {recipe.level} to graph 1,first {recipe.level}"
        commands.append(f"set arrow {ends} nohead lc rgb '#888888' dt 2 back")
    if recipe.extra == "band":
        look = "fc rgb '#ffe0b0' fs solid noborder behind"
        commands.append(f"set object rectangle from graph 0.3,0 to graph 0.5,1 {look}")
    return commands


def _backdrop(recipe: Recipe) -> list[str]:
    values = recipe.count + 2
    plots = {
        "bars": f"'data' u 1:{values} w boxes lc rgb '#d0d0d0' notitle",
        "points": f"'data' u 1:{values} w points pt 7 ps 0.5 lc rgb '#aaaaaa' notitle",
        "area": "'data' u 1:2 w filledcurves x1 lc rgb '#c0d0e8' notitle",
    }
    return [plots[recipe.extra]] if recipe.extra in plots else []


def _color(recipe: Recipe, number: int, alone: int | None) -> str:
    if alone is not None:
        return "#000000"
    colors = recipe.palette or recipe.choose(COLORS, COLORS, COLORS_BEFORE_5)
    color: str = recipe.color or colors[number % 8]
    return "#ffffff" if recipe.dark and color == "#000000" else color


def _plot(recipe: Recipe, number: int, alone: int | None) -> str:
    smooth = " smooth csplines" if recipe.curve == "smooth" and recipe.marker == "none" else ""
    style = recipe.choose("steps", "fsteps", "histeps") if recipe.curve == "step" else "lines"
    if recipe.marker != "none" and style == "lines":
        types = POINT_TYPES[recipe.marker]
        size = recipe.choose(0.7, 1, 1.3) * (recipe.scale if _terminal(recipe) == "png" else 1)
        style = f"linespoints pt {types[number % len(types)]} ps {size}"
    look = f"lw {_line_width(recipe)} dt {DASHES[recipe.dashes[number]]} lc rgb '{_color(recipe, number, alone)}'"
    return f"'data' u 1:{number + 2}{smooth} w {style} {look} title '{recipe.names[number]}'"
