"""What a chart is before anybody draws it: plain data, the same for every renderer.

Places inside a panel are in its unit square, x to the right, y up; boxes and sizes are pixels of the
drawn chart, y down, with 0 at the picture's edge (a pixel's centre is at half a pixel: `to_pixels`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
"""RGB in 0..1."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

MARKERS = ("circle", "square", "triangle", "diamond", "plus", "cross", "down")
DASHES: tuple[tuple[float, ...], ...] = (
    (3.7, 1.6),
    (6.4, 1.6, 1, 1.6),
    (1, 1.65),
    (5, 5),
    (8, 3),
    (2, 2),
    (10, 3, 2, 3),
    (8, 2, 1, 2, 1, 2),
    (12, 4),
    (1, 3),
)
"""On and off lengths of dash patterns, in line widths (at least those of a line one pixel wide)."""


@dataclass(frozen=True, eq=False)
class Line:
    """A data line.

    Attributes:
        xy: `(n, 2)` in the unit square; rows of NaN are open gaps.
        closed: The last point joins the first.
        family: Kind of its course.
        colour: Of line and markers.
        thickness: Pixels.
        dash: On and off lengths in pixels; empty: solid.
        cap: `butt` or `round` ends of strokes and dashes.
        opacity: 0..1.
        drawn: False: markers only.
        marker: One of `MARKERS`, or "".
        marker_size: Pixels across.
        marker_fill: `full`, `page` (its colour, hides the line below) or `none`.
        marker_xy: `(m, 2)`, their places.
        name: As the legend has it.
    """

    xy: NDArray[np.float64]
    family: str
    colour: Colour
    thickness: float
    closed: bool = False
    dash: tuple[float, ...] = ()
    cap: str = "butt"
    opacity: float = 1.0
    drawn: bool = True
    marker: str = ""
    marker_size: float = 6.0
    marker_fill: str = "full"
    marker_xy: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    name: str = ""

    def parts(self) -> list[NDArray[np.float64]]:
        """The pieces between open gaps, each `(n_i, 2)`, n_i ≥ 2."""
        known = np.isfinite(self.xy).all(axis=1)
        cuts = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
        return [part for part in np.split(self.xy, cuts) if len(part) > 1 and np.isfinite(part).all()]


@dataclass(frozen=True)
class Axis:
    """One axis of a panel: its scale, limits in data units, and what stands at it; labels turned by so many degrees."""

    scale: str = "linear"
    limits: tuple[float, float] = (0.0, 1.0)
    title: str = ""
    labels: bool = True
    ticks: str = "out"
    names: tuple[str, ...] = ()
    turn: float = 0.0


@dataclass(frozen=True, eq=False)
class Shape:
    """Something in a panel that is no line of data: drawn, but background for the truth.

    Attributes:
        kind: `segments` (m, 2, 2), `area` (n, 2), `points` (m, 2), `text` (1, 2), `arrow` or `leader`
            (2, 2: from, to; a leader has no head, and its text stands before its beginning).
        xy: As the kind says, in the unit square.
        colour: RGB.
        thickness: Pixels, also the size of points.
        dash: As of lines.
        opacity: 0..1.
        text: For `text`, `arrow` and `leader`.
        above: Drawn over the lines.
        boxed: Text on an opaque box.
    """

    kind: str
    xy: NDArray[np.float64]
    colour: Colour
    thickness: float = 1.0
    dash: tuple[float, ...] = ()
    opacity: float = 1.0
    text: str = ""
    above: bool = False
    boxed: bool = False


@dataclass(frozen=True)
class Legend:
    """Where the lines' names stand: `inside` (corner: 0..1 from left and top), `right`, `below`, `above`, `labels`.

    `key` is the room of a sample of the line, in font sizes; a `swatch` is a filled box in its place.
    """

    place: str
    corner: tuple[float, float] = (1.0, 0.0)
    opaque: bool = False
    framed: bool = True
    columns: int = 1
    key: float = 2.2
    swatch: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes with its lines. The x axis lies `level` of the panel's height above its bottom."""

    box: Box
    lines: tuple[Line, ...]
    x: Axis
    y: Axis
    right: Axis | None = None
    title: str = ""
    frame: str = "box"
    frame_colour: Colour = (0.0, 0.0, 0.0)
    frame_width: float = 1.0
    level: float = 0.0
    fill: Colour | None = None
    gradient: Colour | None = None
    bands: Colour | None = None
    grid: str = ""
    grid_minor: bool = False
    grid_colour: Colour = (0.8, 0.8, 0.8)
    grid_width: float = 0.8
    grid_dash: tuple[float, ...] = ()
    shapes: tuple[Shape, ...] = ()
    legend: Legend | None = None


@dataclass(frozen=True, eq=False)
class Chart:
    """A whole picture.

    Attributes:
        size: `(height, width)` in pixels.
        dpi: Dots per inch.
        renderer: Name of the program that draws it.
        page: Colour of the page.
        ink: Colour of text.
        font: Name of the font family.
        font_size: Pixels.
        panels: Its panels.
        palette: Name of the palette, for the tags.
        tracking: Room between letters, in font sizes.
    """

    size: tuple[int, int]
    dpi: float
    renderer: str
    page: Colour
    ink: Colour
    font: str
    font_size: float
    panels: tuple[Panel, ...]
    palette: str
    tracking: float = 0.0

    @property
    def lines(self) -> list[tuple[Panel, Line]]:
        """All lines with their panels, in drawing order."""
        return [(panel, line) for panel in self.panels for line in panel.lines]


@dataclass(frozen=True, eq=False)
class Rendering:
    """What a renderer answers.

    Attributes:
        pixels: `(h, w, 3) uint8` RGB, the whole chart.
        coverage: For each line of `Chart.lines` `(h, w) uint8`: 255 × the share of the pixel under its ink, drawn
            alone; what markers filled with the page's colour hide is no ink.
        covers: Boxes in pixels that hide the lines below them (opaque legends, boxed text).
    """

    pixels: NDArray[np.uint8]
    coverage: tuple[NDArray[np.uint8], ...]
    covers: tuple[Box, ...] = ()


def to_pixels(xy: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Unit-square places `(n, 2)` of a panel as pixel coordinates, pixel centres at integers."""
    left, top, right, bottom = box
    return np.asarray((left, bottom) + xy * (right - left, top - bottom) - 0.5)


def clip_parts(parts: list[NDArray[np.float64]], margin: float = 0.0) -> list[NDArray[np.float64]]:
    """The pieces of polylines in the unit square, cut where they leave it by more than `margin`."""
    low, high = -margin, 1 + margin
    kept: list[NDArray[np.float64]] = []
    for part in parts:
        if ((part >= low) & (part <= high)).all():
            kept.append(part)
            continue
        run: list[NDArray[np.float64]] = []
        for a, b in itertools.pairwise(part):
            ends = _clip_segment(a, b, low, high)
            if ends is None or (run and not np.array_equal(run[-1], ends[0])):
                kept, run = _flush(kept, run), []
            if ends is not None:
                run = [*(run or [ends[0]]), ends[1]]
        kept = _flush(kept, run)
    return kept


def _flush(kept: list[NDArray[np.float64]], run: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    return [*kept, np.array(run)] if len(run) > 1 else kept


def _clip_segment(
    a: NDArray[np.float64], b: NDArray[np.float64], low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Liang and Barsky (1984)."""
    start, end = 0.0, 1.0
    d = b - a
    for k in (0, 1):
        for step, room in ((-d[k], a[k] - low), (d[k], high - a[k])):
            if step == 0:
                if room < 0:
                    return None
            elif step < 0:
                start = max(start, room / step)
            else:
                end = min(end, room / step)
    if start >= end:
        return None
    return (a if start == 0 else a + start * d), (b if end == 1 else a + end * d)
