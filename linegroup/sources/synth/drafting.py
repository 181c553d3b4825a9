"""Charts as draughtsmen drew them for reports: `Chart -> Chart`, the same curves in one black ink.

Capitals with room between them, leaders from a label to its line, keys without a frame, the x axis at zero among
the curves, a caption below; and then photocopied. Such pages fill the archives, and no plotting program draws them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from linegroup.sources.synth.damage import DamageConfig
from linegroup.sources.synth.spec import Axis, Box, Chart, Colour, Legend, Line, Panel, Shape

Rng = np.random.Generator

BLACK: Colour = (0.0, 0.0, 0.0)
WHITE: Colour = (1.0, 1.0, 1.0)

DASHES = ((6.0, 3.0), (4.0, 3.0), (10.0, 4.0), (10.0, 3.0, 2.0, 3.0), (2.0, 2.5), (14.0, 5.0))
"""On and off lengths, in line widths."""

MOST = 5
"""Lines on such a page."""


def draft(chart: Chart, rng: Rng) -> Chart:
    """The first panel of a chart as a draughtsman's page, in another size."""
    width = float(np.exp(rng.uniform(np.log(480), np.log(1600))))
    height = float(np.clip(width / np.exp(rng.uniform(np.log(1.3), np.log(4.2))), 240, 1100))
    size = (round(height), round(width))
    em = float(np.clip(rng.uniform(0.02, 0.045) * height, 8, 24))
    caption = int(rng.choice(4, p=[0.55, 0.2, 0.15, 0.1]))
    box = _box(size, em, caption, rng)
    panel = _panel(chart.panels[0], box, em, rng)
    shapes = [*panel.shapes, *_caption(box, size, em, caption, rng)]
    return replace(
        chart,
        size=size,
        renderer="svg",
        page=WHITE,
        ink=BLACK,
        font="DejaVu Sans",
        font_size=em,
        tracking=float(rng.uniform(0, 0.22)),
        panels=(replace(panel, shapes=tuple(shapes)),),
        palette="black",
    )


def photocopied(config: DamageConfig) -> DamageConfig:
    """Damage as to such pages, whatever profile is asked for: most are scans, half as askew, in black and white."""
    profile = {"scan": 0.85, "copy": 0.08, "none": 0.07}
    skew = (config.skew[0] / 2, config.skew[1] / 2)
    return config.model_copy(
        update={"profile": profile, "scan_grey": 1.0, "scan_binary": 0.65, "scan_copier": 0.3, "skew": skew}
    )


def _box(size: tuple[int, int], em: float, caption: int, rng: Rng) -> Box:
    height, width = size
    left, right = em * rng.uniform(4.5, 8), em * rng.uniform(1, 5)
    top, bottom = em * rng.uniform(1, 3), em * (rng.uniform(2.5, 5) + 1.9 * caption)
    return (left, top, max(left + 0.4 * width, width - right), max(top + 0.35 * height, height - bottom))


def _panel(panel: Panel, box: Box, em: float, rng: Rng) -> Panel:
    lines = _lines(panel.lines, em, rng)
    level = float(rng.uniform(0.08, 0.6)) if rng.random() < 0.6 else 0.0
    frame = "left_bottom" if level or rng.random() < 0.6 else "box"
    gridded = rng.random() < 0.15
    named = rng.random() < 0.65
    width = float(np.clip(lines[0].thickness * rng.uniform(0.5, 1.1), 0.8, 3))
    return replace(
        panel,
        box=box,
        lines=lines,
        x=_axis(panel.x, rng),
        y=_axis(panel.y, rng),
        right=None,
        title="",
        frame=frame,
        frame_colour=BLACK,
        frame_width=width,
        level=level,
        fill=None,
        gradient=None,
        bands=None,
        grid=str(rng.choice(["both", "y", "x"])) if gridded else "",
        grid_minor=False,
        grid_colour=BLACK if rng.random() < 0.6 else (0.5, 0.5, 0.5),
        grid_width=float(rng.uniform(0.6, 1.0)),
        grid_dash=(),
        shapes=tuple(_leader(lines, box, em, rng) for _ in range(int(rng.integers(0, 6)))),
        legend=_legend(rng) if named else None,
    )


def _axis(axis: Axis, rng: Rng) -> Axis:
    ticks = str(rng.choice(["in", "out"], p=[0.6, 0.4]))
    return replace(axis, title=axis.title.upper(), names=tuple(name.upper() for name in axis.names), ticks=ticks)


def _lines(lines: tuple[Line, ...], em: float, rng: Rng) -> tuple[Line, ...]:
    kept = lines[:MOST]
    thickness = float(rng.uniform(0.09, 0.2) * em)
    told = rng.random() < 0.75
    patterns = [(), *(DASHES[k] for k in rng.permutation(len(DASHES)))]
    marked = rng.random() < 0.12
    return tuple(
        replace(
            line,
            colour=BLACK,
            opacity=1.0,
            drawn=True,
            thickness=thickness,
            dash=tuple(v * thickness for v in patterns[k % len(patterns)]) if told else (),
            marker=line.marker if marked else "",
            marker_size=float(np.clip(line.marker_size, 3 * thickness, 6 * thickness)),
            name=line.name.upper(),
        )
        for k, line in enumerate(kept)
    )


def _legend(rng: Rng) -> Legend:
    corner = (float(rng.choice([0.0, 0.5, 1.0], p=[0.2, 0.3, 0.5])), float(rng.choice([0.0, 1.0], p=[0.8, 0.2])))
    return Legend("inside", corner, opaque=False, framed=False, key=float(rng.uniform(2.2, 9)))


def _leader(lines: tuple[Line, ...], box: Box, em: float, rng: Rng) -> Shape:
    """A straight stroke from a line, or from near it, to a label."""
    part = max(lines[int(rng.integers(len(lines)))].parts(), key=len)
    target = part[int(rng.integers(len(part)))]
    turn, length = rng.uniform(-1.2, 1.2), em * rng.uniform(1.5, 6)
    side = 1.0 if rng.random() < 0.7 else -1.0
    step = np.array([side * np.cos(turn), np.sin(turn)])
    unit = np.array([box[2] - box[0], box[3] - box[1]])
    near = target + step * em * (rng.uniform(0, 0.8) if rng.random() < 0.5 else 0.0) / unit
    text = _letters(rng, 2, 5) if rng.random() < 0.7 else _letters(rng, 3, 7) + " " + str(rng.integers(1, 99))
    return Shape("leader", np.stack([near + step * length / unit, near]), BLACK, 0.09 * em + 0.3, text=text, above=True)


def _caption(box: Box, size: tuple[int, int], em: float, rows: int, rng: Rng) -> list[Shape]:
    """Rows of capitals at the foot of the page."""
    left, top, right, bottom = box
    start = rng.uniform(0.02, 0.2) * size[1]
    letters = max(4, int((size[1] - 1.3 * start) / (0.8 * em)))
    shapes = []
    for row in range(rows):
        text = f"FIG. {rng.integers(1, 40)}. " if row == 0 else ""
        while len(text) < letters * rng.uniform(0.5, 0.9):
            text += _letters(rng, 2, 10) + str(rng.choice([" ", " ", " ", ", ", " - "]))
        y = size[0] - em * (0.8 + 1.7 * (rows - 1 - row))
        place = np.array([[(start - left) / (right - left), (bottom - y) / (bottom - top)]])
        shapes.append(Shape("text", place, BLACK, text=text[:letters], above=True))
    return shapes


def _letters(rng: Rng, low: int, high: int) -> str:
    alphabet = list("AAABCDEEEEFGHIIIJKLMNNNOOPQRRSSTTTUVWXYZ")
    return "".join(str(c) for c in rng.choice(alphabet, int(rng.integers(low, high + 1))))
