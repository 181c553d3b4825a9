"""Charts as other programs like them: `Chart -> Chart`, the same curves with what neither renderer does by itself.

Turned tick labels, filled samples in legends, strong dashed grids, pale or thin lines with strong marks, lines that
stop short of their marks (R's `type = "b"`), steps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linegroup.sources.synth.spec import Chart, Colour, Legend, Line, Panel

Rng = np.random.Generator

LETTER = 0.55
"""Width of a letter, in font sizes."""


def restyle(chart: Chart, rng: Rng) -> Chart:
    """The chart with some of these habits, the same ones in all of its panels."""
    turn = float(rng.choice([30, 45, 45, 60, 90])) if rng.random() < 0.4 else 0.0
    swatch = rng.random() < 0.35
    gridded = rng.random() < 0.35
    pale = float(rng.uniform(0.3, 0.65)) if rng.random() < 0.3 else 0.0
    marks = str(rng.choice(["none", "thin", "short"], p=[0.5, 0.28, 0.22]))
    panels = []
    for panel in chart.panels:
        lines = panel.lines
        if pale:
            page = panel.fill or chart.page
            lines = tuple(replace(line, colour=_mixed(line.colour, page, pale)) for line in lines)
        if marks != "none":
            lines = tuple(_marked(line, panel, marks, chart.font_size, rng) for line in lines)
        panels.append(_panel(replace(panel, lines=lines), chart, turn, swatch=swatch, gridded=gridded, rng=rng))
    return replace(chart, panels=tuple(panels))


def _panel(panel: Panel, chart: Chart, turn: float, *, swatch: bool, gridded: bool, rng: Rng) -> Panel:
    if swatch:
        legend = panel.legend or Legend("above")
        if legend.place == "labels":
            legend = replace(legend, place="above")
        panel = replace(panel, legend=replace(legend, swatch=True, key=float(rng.uniform(1.5, 4.5))))
    if gridded:
        dash = float(rng.uniform(2, 7))
        strong = rng.random() < 0.6
        ink = chart.ink if strong else _mixed(chart.ink, panel.fill or chart.page, 0.5)
        width = float(rng.uniform(0.8, 1.6))
        look = {"grid": str(rng.choice(["both", "both", "y"])), "grid_colour": ink, "grid_width": width}
        panel = replace(panel, **look, grid_dash=(dash, float(rng.uniform(0.5, 1.2) * dash)))  # type: ignore[arg-type]
    if turn:
        left, top, right, bottom = panel.box
        # As much room as usual labels take, as far as the panel has it.
        room = 9 * LETTER * chart.font_size * float(np.sin(np.deg2rad(turn)))
        lower = max(top + 0.6 * (bottom - top), bottom - room)
        panel = replace(panel, box=(left, top, right, lower), x=replace(panel.x, turn=turn, labels=True))
    return panel


def _marked(line: Line, panel: Panel, marks: str, em: float, rng: Rng) -> Line:
    """A thin line with strong marks, or one that stops short of them."""
    if not line.drawn or line.closed:
        return line
    line = line if line.marker else _with_marks(line, em, rng)
    if marks == "thin":
        return replace(line, thickness=float(rng.uniform(0.6, 1.1)), marker_size=max(line.marker_size, 0.45 * em))
    return replace(line, xy=_short_of(line, panel, 0.5 * line.marker_size + float(rng.uniform(1, 4))))


def _with_marks(line: Line, em: float, rng: Rng) -> Line:
    points = np.concatenate(line.parts() or [np.zeros((0, 2))])
    count = min(len(points), int(rng.integers(8, 30)))
    places = points[np.unique(np.linspace(0, max(0, len(points) - 1), count).round().astype(int))] if count else points
    marker = str(rng.choice(["circle", "square", "triangle", "diamond"]))
    fill = str(rng.choice(["full", "page"], p=[0.7, 0.3]))
    return replace(
        line, marker=marker, marker_fill=fill, marker_size=float(rng.uniform(0.4, 0.8) * em), marker_xy=places
    )


def _short_of(line: Line, panel: Panel, reach: float) -> NDArray[np.float64]:
    """The line's points, one for each pixel of its way, without those within `reach` pixels of a mark."""
    unit = np.array([panel.box[2] - panel.box[0], panel.box[3] - panel.box[1]])
    rows = []
    for part in line.parts():
        way = np.append(0, np.cumsum(np.hypot(*(np.diff(part, axis=0) * unit).T)))
        along = np.unique(np.append(way, np.arange(0, way[-1], 1.0)))
        dense = np.stack([np.interp(along, way, part[:, k]) for k in (0, 1)], axis=1)
        away = np.hypot(*((dense[:, None] - line.marker_xy) * unit).transpose(2, 0, 1)).min(axis=1, initial=np.inf)
        dense[away < reach] = np.nan
        rows += [dense, np.full((1, 2), np.nan)]
    xy = np.concatenate(rows) if rows else line.xy
    # Where nothing would be left the line stays whole.
    return xy if np.isfinite(xy[:, 0]).sum() > 2 else line.xy


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    a, b, c = ((1 - share) * p + share * q for p, q in zip(one, other, strict=True))
    return (a, b, c)
