"""A random chart: `distribution, rng -> Chart`. Every choice comes from the distribution, all randomness from rng."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from linegroup.sources.synth.curves import FAMILIES, spread
from linegroup.sources.synth.distribution import ChartDistribution, Range
from linegroup.sources.synth.palettes import PALETTES, SAME
from linegroup.sources.synth.spec import DASHES, MARKERS, Axis, Box, Chart, Colour, Legend, Line, Panel, Shape

Rng = np.random.Generator
Curve = NDArray[np.float64]
_Name = TypeVar("_Name", str, int)

FONTS = ("DejaVu Sans", "DejaVu Serif", "STIXGeneral", "DejaVu Sans Mono")
_FONT_WEIGHTS = (0.65, 0.12, 0.18, 0.05)

_WORDS = re.findall(
    r"\w+",
    "time rate value index mean error loss accuracy score pressure temperature velocity flow depth height "
    "distance energy power force stress strain voltage current signal noise count price sales revenue "
    "cost share growth yield density frequency amplitude wavelength intensity counts absorbance survival "
    "probability age dose concentration model baseline control treatment group sample test train run case "
    "method north south east west alpha beta gamma total average median maximum minimum observed "
    "predicted reference series experiment theory data fit ",
)
_UNITS = (
    "",
    "",
    "",
    " [s]",
    " (m)",
    " (%)",
    " [kPa]",
    " / mV",
    " (°C)",
    " [a.u.]",
    " (Hz)",
    ", mm",
    " (USD)",
    " (log)",
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_BLACK: Colour = (0.0, 0.0, 0.0)
_WHITE: Colour = (1.0, 1.0, 1.0)


def draw_chart(distribution: ChartDistribution, rng: Rng) -> Chart:
    """One chart of the distribution."""
    return _Draw(distribution, rng).chart()


def pick(weights: Mapping[_Name, float], rng: Rng) -> _Name:
    """A name, by weight."""
    names = list(weights)
    shares = np.array([weights[name] for name in names], dtype=np.float64)
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def log_uniform(ends: Range, rng: Rng) -> float:
    """A number, all orders of magnitude equally likely."""
    return float(np.exp(rng.uniform(np.log(ends[0]), np.log(ends[1]))))


@dataclass(frozen=True)
class _Room:
    """Where lines may run: from `low` to `high` of a panel `height` pixels high; and how thick they are, in pixels."""

    low: float
    high: float
    height: float
    thickness: list[float]


class _Draw:
    """One chart in the making."""

    def __init__(self, distribution: ChartDistribution, rng: Rng) -> None:
        self.d = distribution
        self.rng = rng
        self.renderer = pick(distribution.renderer, rng)
        self.size = self._draw_size()
        self.dpi = self._draw_dpi()
        self.font_size = float(np.clip(rng.uniform(6.5, 11) * self.dpi / 72, 6.5, max(6.5, min(self.size) / 14)))
        self.palette = pick(distribution.palette, rng)
        self.background = pick(distribution.background, rng)
        self.dark = self.background == "dark"
        self.ink: Colour = (0.85,) * 3 if self.dark else tuple([float(rng.choice([0, 0, 0.15, 0.3]))] * 3)  # type: ignore[assignment]
        self.page = self._draw_page()

    def chart(self) -> Chart:
        font = str(self.rng.choice(FONTS, p=_FONT_WEIGHTS))
        count = pick(self.d.panels, self.rng)
        if min(self.size) < 240:
            count = 1
        panels = tuple(self._panel(box, count) for box in self._cells(count))
        return Chart(
            self.size, self.dpi, self.renderer, self.page, self.ink, font, self.font_size, panels, self.palette
        )

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _draw_size(self) -> tuple[int, int]:
        low, high = self.d.width
        usual = self._chance(self.d.usual)
        width = log_uniform(self.d.width_usual if usual else self.d.width, self.rng)
        height = width / log_uniform(self.d.aspect, self.rng)
        return (round(float(np.clip(height, low, high))), round(float(np.clip(width, low, high))))

    def _draw_dpi(self) -> float:
        """Such that text fits: a figure is between 2.2 and 12 inches wide."""
        low, high = self.d.dpi
        width = self.size[1]
        return float(np.clip(log_uniform((width / 10, width / 4), self.rng), low, high))

    def _draw_page(self) -> Colour:
        if self.dark:
            value = self.rng.uniform(0.02, 0.18)
            return _tinted(value, self.rng.random(), 0.3)
        if self.background == "tinted":
            return _tinted(self.rng.uniform(0.9, 0.98), self.rng.random(), 0.5)
        return _WHITE

    def _cells(self, count: int) -> list[Box]:
        height, width = self.size
        columns = {1: 1, 2: int(self.rng.integers(1, 3))}.get(count, 2 if count < 7 else 3)
        rows = -(-count // columns)
        cells = [
            (width * c / columns, height * r / rows, width * (c + 1) / columns, height * (r + 1) / rows)
            for r in range(rows)
            for c in range(columns)
        ]
        return cells[:count]

    def _panel(self, cell: Box, panels: int) -> Panel:
        rng, d = self.rng, self.d
        labels = self._chance(d.tick_labels)
        place = pick(d.legend, rng)
        twin = self._chance(d.twin)
        title = self._words(1, 4) if self._chance(d.title) else ""
        x, y = self._x_axis(labels), self._y_axis(labels)
        right = self._y_axis(labels) if twin else None
        box = self._box(cell, x, y, right, title, place)
        count = pick(d.lines, rng)
        if panels > 1:
            count = max(1, min(count, 4))
        lines = self._lines(count, box)
        frame = pick(d.frame, rng)
        grid = str(rng.choice(["both", "y", "x"], p=[0.65, 0.28, 0.07])) if self._chance(d.grid) else ""
        fill = self._fill()
        grey = rng.uniform(0.65, 0.93) if not self.dark else rng.uniform(0.2, 0.4)
        if fill is not None and fill != self.page and self._chance(0.6):
            grey = 1.0  # white grid on a shaded panel
        return Panel(
            box=box,
            lines=lines,
            x=x,
            y=y,
            right=right,
            title=title,
            frame=frame,
            frame_colour=self.ink if self._chance(0.7) else (0.6,) * 3,
            frame_width=float(np.clip(rng.uniform(0.5, 1.1) * self.dpi / 72, 0.6, 4)),
            fill=fill,
            gradient=_tinted(rng.uniform(0.8, 0.92), rng.random(), 0.6) if self.background == "gradient" else None,
            bands=_tinted(rng.uniform(0.9, 0.96), rng.random(), 0.4) if self.background == "bands" else None,
            grid=grid,
            grid_minor=bool(grid) and self._chance(d.minor_grid),
            grid_colour=(float(grey),) * 3,
            grid_width=float(np.clip(rng.uniform(0.4, 0.9) * self.dpi / 72, 0.5, 2.5)),
            grid_dash=() if self._chance(0.6) else tuple(float(v) for v in rng.choice([[1, 2], [3, 3], [2, 4]])),
            shapes=self._shapes(lines, box),
            legend=self._legend(place, count),
        )

    def _fill(self) -> Colour | None:
        if self.background == "grey_panel":
            return _tinted(self.rng.uniform(0.85, 0.95), self.rng.uniform(0.5, 0.75), 0.25)
        if self.dark and self._chance(0.4):
            return _tinted(self.rng.uniform(0.05, 0.25), self.rng.random(), 0.3)
        if self.background == "tinted" and self._chance(0.4):
            return _WHITE
        return None

    def _box(self, cell: Box, x: Axis, y: Axis, right: Axis | None, title: str, place: str) -> Box:
        """The axes' box inside a cell: margins that hold what stands around it."""
        f, rng = self.font_size, self.rng
        left, top, far, bottom = cell
        width, height = far - left, bottom - top
        margin = f * rng.uniform(0.5, 1.5)
        inner = [
            margin + f * (2.8 if y.labels else 0.3) + (f * 1.5 if y.title else 0),
            margin + (f * 1.8 if title else 0) + (f * 1.9 if place == "above" else 0),
            margin + (f * 3.5 if right else 0) + (f * 7 if place == "right" else f * 5 if place == "labels" else 0),
            margin
            + f * (1.4 if x.labels else 0.3)
            + (f * 1.5 if x.title else 0)
            + (f * 2.4 if place == "below" else 0),
        ]
        across, along = inner[0] + inner[2], inner[1] + inner[3]
        shrink_x, shrink_y = min(1.0, 0.5 * width / across), min(1.0, 0.5 * height / along)
        box = (
            left + inner[0] * shrink_x,
            top + inner[1] * shrink_y,
            far - inner[2] * shrink_x,
            bottom - inner[3] * shrink_y,
        )
        # Some programs put their axes on whole pixels, some do not.
        return tuple(float(round(side)) for side in box) if self._chance(0.5) else tuple(map(float, box))  # type: ignore[return-value]

    # Axes and words

    def _words(self, low: int, high: int) -> str:
        words = [str(word) for word in self.rng.choice(_WORDS, int(self.rng.integers(low, high + 1)))]
        text = " ".join(words)
        return text.capitalize() if self._chance(0.7) else text

    def _x_axis(self, labels: bool) -> Axis:
        rng = self.rng
        scale = pick(self.d.x_scale, rng)
        names: tuple[str, ...] = ()
        limits = (0.0, float(rng.choice([1, 5, 10, 12, 24, 50, 60, 100, 200, 365, 1000, 10000])))
        if scale == "log":
            low = float(rng.integers(-3, 3))
            limits = (10**low, 10 ** (low + float(rng.uniform(1.3, 5))))
        elif scale == "date":
            first = float(rng.uniform(0, 20000))  # days since 1970
            limits = (first, first + float(np.exp(rng.uniform(np.log(3), np.log(9000)))))
        elif scale == "category":
            count = int(rng.integers(3, 13))
            start = int(rng.integers(12))
            names = tuple(_MONTHS[(start + i) % 12] if start % 2 else f"{self._words(1, 1)[:5]}" for i in range(count))
            limits = (0.0, float(count - 1))
        elif self._chance(0.3):
            first = float(rng.integers(-50, 2000))
            limits = (first, first + limits[1])
        return Axis(
            scale, limits, self._axis_title(), labels, str(rng.choice(["out", "in", "none"], p=[0.6, 0.3, 0.1])), names
        )

    def _y_axis(self, labels: bool) -> Axis:
        rng = self.rng
        if self._chance(self.d.y_log):
            low = float(rng.integers(-6, 4))
            limits = (10**low, 10 ** (low + float(rng.uniform(1.3, 7))))
            return Axis("log", limits, self._axis_title(), labels, "out")
        size = 10 ** rng.uniform(-2, 4)
        low = float(rng.choice([0, 0, -1, -0.5, 1, 5])) * size
        limits = (low, low + size * float(rng.uniform(0.8, 4)))
        return Axis("linear", limits, self._axis_title(), labels, self._tick_style())

    def _tick_style(self) -> str:
        return str(self.rng.choice(["out", "in", "none"], p=[0.6, 0.3, 0.1]))

    def _axis_title(self) -> str:
        return self._words(1, 2) + str(self.rng.choice(_UNITS)) if self._chance(self.d.axis_titles) else ""

    # Lines

    def _lines(self, count: int, box: Box) -> tuple[Line, ...]:
        thickness = self._thicknesses(count)
        families, curves = self._curves(count, box, thickness)
        colours = self._colours(count)
        same = self.palette in SAME
        told = pick(self.d.same_styles, self.rng) if same and count > 1 else ""
        dashes = self._dashes(count, told, same)
        markers = self._markers(count, told)
        opacity = float(self.rng.uniform(0.45, 0.9)) if self._chance(self.d.opacity) else 1.0
        cap = "round" if self._chance(0.3) else "butt"
        lines = []
        for k in range(count):
            dash = tuple(v * max(thickness[k], 1.0) for v in dashes[k])
            line = Line(
                curves[k],
                families[k],
                colours[k],
                thickness[k],
                closed=families[k] == "loop" and bool(np.allclose(curves[k][0], curves[k][-1], atol=1e-6)),
                dash=dash,
                cap=cap if not dash or self._chance(0.3) else "butt",
                opacity=opacity,
                name=self._words(1, 2),
            )
            lines.append(self._with_markers(self._with_gaps(line), markers, k, box))
        return tuple(lines)

    def _thicknesses(self, count: int) -> list[float]:
        def one() -> float:
            usual = self._chance(0.75)
            return log_uniform(self.d.thickness_usual if usual else self.d.thickness, self.rng)

        if self._chance(self.d.one_thickness):
            return [one()] * count
        return [one() for _ in range(count)]

    def _colours(self, count: int) -> list[Colour]:
        colours = PALETTES[self.palette](self.rng, count)
        if self.dark:
            # On a dark page programs take lighter inks.
            colours = 1 - (1 - colours) * 0.6 if self.palette not in ("black", "grey") else 1 - colours * 0.6
        return [(float(r), float(g), float(b)) for r, g, b in np.clip(colours, 0, 1)]

    def _dashes(self, count: int, told: str, same: bool) -> list[tuple[float, ...]]:
        if told in ("dashes", "both"):
            order = self.rng.permutation(len(DASHES))
            patterns: list[tuple[float, ...]] = [(), *(DASHES[k] for k in order)]
            return [patterns[k % len(patterns)] for k in range(count)]
        if told == "same" and self._chance(0.25):
            return [DASHES[int(self.rng.integers(len(DASHES)))]] * count
        if not same and self._chance(self.d.dashed_charts):
            return [
                DASHES[int(self.rng.integers(len(DASHES)))] if self._chance(max(self.d.dashed, 1 / (count + 1))) else ()
                for _ in range(count)
            ]
        return [()] * count

    def _markers(self, count: int, told: str) -> list[str]:
        only = self._chance(self.d.markers_only)
        self.markers_only = only and told != "dashes"
        if told in ("markers", "both") or self.markers_only or self._chance(self.d.markers):
            start = int(self.rng.integers(len(MARKERS)))
            vary = told in ("markers", "both") or self._chance(0.5)
            return [MARKERS[(start + k * vary) % len(MARKERS)] for k in range(count)]
        return [""] * count

    def _with_markers(self, line: Line, markers: list[str], k: int, box: Box) -> Line:
        if not markers[k]:
            return line
        rng = self.rng
        size = log_uniform(self.d.marker_size, rng) * self.dpi / 100
        size = float(np.clip(size, max(2.5, 1.5 * line.thickness), max(3.0, (box[2] - box[0]) / 20)))
        known = line.xy[np.isfinite(line.xy).all(axis=1)]
        room = max(2, int((box[2] - box[0]) / (size * rng.uniform(1.3, 5))))
        if len(known) <= room:
            places = known
        else:
            places = known[np.unique(np.linspace(0, len(known) - 1, room).round().astype(int))]
        fill = str(rng.choice(["full", "page", "none"], p=[0.7, 0.2, 0.1]))
        return replace(
            line,
            marker=markers[k],
            marker_size=size,
            marker_fill=fill,
            marker_xy=places,
            drawn=not self.markers_only,
            dash=line.dash if not self.markers_only else (),
        )

    def _with_gaps(self, line: Line) -> Line:
        rng, xy = self.rng, line.xy.copy()
        if line.closed:
            return line
        if self._chance(self.d.partial) and len(xy) > 6:
            first = int(rng.integers(0, len(xy) // 2))
            last = int(rng.integers(first + max(3, len(xy) // 4), len(xy) + 1))
            xy = xy[first:last] if self._chance(0.5) or first == 0 else xy[first:]
        if self._chance(self.d.gap) and len(xy) > 12:
            for _ in range(int(rng.integers(1, 4))):
                first = int(rng.integers(2, len(xy) - 4))
                xy[first : first + max(1, int(rng.uniform(0.02, 0.12) * len(xy)))] = np.nan
        fresh = replace(line, xy=xy)
        return fresh if fresh.parts() else line

    def _curves(self, count: int, box: Box, thickness: list[float]) -> tuple[list[str], list[Curve]]:
        rng, d = self.rng, self.d
        points = int(np.clip(np.exp(rng.uniform(np.log(40), np.log(900))), 30, max(40, 1.5 * (box[2] - box[0]))))
        family = pick(d.family, rng)
        mixed = self._chance(d.mixed_families)
        families = [pick(d.family, rng) if mixed else family for _ in range(count)]
        relation = pick(d.relation, rng)
        if family == "survival" and not mixed and self._chance(0.7):
            relation = "common_start"
        if "loop" in families:
            relation = "independent"
        low, high = (-0.15, 1.15) if self._chance(d.overflow) else (rng.uniform(0.01, 0.15), rng.uniform(0.85, 0.99))
        shapes = [FAMILIES[name](rng, points) for name in families]
        arrange = {
            "independent": self._independent,
            "bundle": self._bundle,
            "tangent": self._tangent,
            "fan": self._fan,
            "common_start": self._common_start,
            "repeated": self._repeated,
        }
        return families, arrange[relation](shapes, _Room(float(low), float(high), box[3] - box[1], thickness))

    def _independent(self, shapes: list[Curve], room: _Room) -> list[Curve]:
        rng, count = self.rng, len(shapes)
        stacked = self._chance(0.35)
        placed = []
        for k, shape in enumerate(shapes):
            if stacked:
                each = (room.high - room.low) / count
                below, above = rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.6)
                ends = room.low + each * (k + below), room.low + each * (k + 1 + above)
            else:
                ends = tuple(np.sort(rng.uniform(room.low, room.high, 2)))
            top = max(ends[1], ends[0] + 0.04)
            placed.append(
                spread(shape, max(room.low, ends[0]), min(room.high, max(top, max(room.low, ends[0]) + 0.02)))
            )
        return placed

    def _bundle(self, shapes: list[Curve], room: _Room) -> list[Curve]:
        """Neighbours keep a few pixels between their borders; one in three bundles is joined by strangers."""
        rng, count = self.rng, len(shapes)
        members = count if self._chance(0.65) else max(2, count // 2)
        gap = log_uniform(self.d.bundle_gap, rng)
        steps = [(gap * rng.uniform(0.8, 1.3) + room.thickness[k]) / room.height for k in range(min(members, count))]
        total = float(np.sum(steps))
        base = spread(shapes[0], room.low, max(room.low + 0.1, room.high - total))
        placed, at = [], 0.0
        for step in steps:
            wobble = 0.15 * gap / room.height * np.sin(2 * np.pi * (rng.uniform(0.3, 2) * base[:, 0] + rng.random()))
            placed.append(np.stack([base[:, 0], base[:, 1] + at + wobble], axis=1))
            at += step
        placed = [placed[k] for k in rng.permutation(len(placed))]
        return placed + [spread(shape, *sorted(rng.uniform(room.low, room.high, 2))) for shape in shapes[len(placed) :]]

    def _tangent(self, shapes: list[Curve], room: _Room) -> list[Curve]:
        """Lines that touch the first one somewhere and part again on the same side."""
        rng = self.rng
        base = spread(shapes[0], room.low + 0.25 * (room.high - room.low), room.high - 0.25 * (room.high - room.low))
        placed = [base]
        for _ in shapes[1:]:
            at, side = rng.uniform(0.15, 0.85), rng.choice([-1, 1])
            away = rng.uniform(0.15, 0.5) * side * ((base[:, 0] - at) / max(at, 1 - at)) ** 2
            placed.append(np.stack([base[:, 0], np.clip(base[:, 1] + away, room.low, room.high)], axis=1))
        return placed

    def _fan(self, shapes: list[Curve], room: _Room) -> list[Curve]:
        at, level = float(self.rng.uniform(0.1, 0.9)), float(self.rng.uniform(room.low + 0.2, room.high - 0.2))
        return [self._through(shape, at, level, room) for shape in shapes]

    def _common_start(self, shapes: list[Curve], room: _Room) -> list[Curve]:
        falls = np.mean([shape[-1, 1] - shape[0, 1] for shape in shapes]) < 0
        level = room.high - 0.02 if falls else room.low + 0.02
        if self._chance(0.3):
            level = float(self.rng.uniform(room.low + 0.1, room.high - 0.1))
        return [self._through(shape, 0.0, level, room) for shape in shapes]

    def _through(self, shape: Curve, at: float, level: float, room: _Room) -> Curve:
        """Scaled by as much as fits, to go through `(at, level)`."""
        y = shape[:, 1] - np.interp(at, shape[:, 0], shape[:, 1])
        up, down = max(float(y.max()), 1e-9), max(float(-y.min()), 1e-9)
        fits = min(
            (room.high - level) / up if up > 1e-6 else np.inf, (level - room.low) / down if down > 1e-6 else np.inf
        )
        scale = self.rng.uniform(0.35, 1) * (fits if np.isfinite(fits) else 0.0)
        return np.stack([shape[:, 0], level + scale * y], axis=1)

    def _repeated(self, shapes: list[Curve], room: _Room) -> list[Curve]:
        rng, count = self.rng, len(shapes)
        base = shapes[0]
        reach = rng.uniform(0.3, 1) * (room.high - room.low)
        shift = rng.uniform(0, 0.08)
        placed = []
        for k in range(count):
            bottom = rng.uniform(room.low, room.high - reach) if reach < room.high - room.low else room.low
            own = reach * (1 - 0.5 * k / count) if self._chance(0.5) else reach * rng.uniform(0.6, 1)
            curve = spread(base, bottom, bottom + own)
            if shift > 0.01 and k:
                curve = np.stack(
                    [curve[:, 0], np.interp(curve[:, 0] - k * shift / count, curve[:, 0], curve[:, 1])], axis=1
                )
            placed.append(curve)
        return placed

    # What is no line

    def _legend(self, place: str, count: int) -> Legend | None:
        if place == "none":
            return None
        rng = self.rng
        corner = (
            float(rng.choice([0, 1, 0.5], p=[0.35, 0.5, 0.15])),
            float(rng.choice([0, 1, 0.5], p=[0.6, 0.3, 0.1])),
        )
        columns = min(count, 4) if place in ("above", "below") else (2 if count > 6 else 1)
        return Legend(
            place, corner, place != "inside" or self._chance(self.d.legend_opaque), self._chance(0.7), columns
        )

    def _shapes(self, lines: tuple[Line, ...], box: Box) -> tuple[Shape, ...]:
        d = self.d
        shapes: list[Shape] = []
        if self._chance(d.bars):
            shapes += self._bars()
        if self._chance(d.confidence_bands):
            shapes += [self._band(line) for line in lines if line.family != "loop" and len(lines) < 6]
        if self._chance(d.error_bars):
            shapes += [self._error_bars(line, box) for line in lines]
        if self._chance(d.reference_lines):
            shapes += self._reference_lines()
        if self._chance(d.scatter):
            shapes.append(self._scatter())
        if self._chance(d.annotations):
            shapes += [self._annotation(lines) for _ in range(int(self.rng.integers(1, 4)))]
        return tuple(shape for shape in shapes if len(shape.xy))

    def _bars(self) -> list[Shape]:
        rng = self.rng
        count = int(rng.integers(4, 20))
        colour = _tinted(rng.uniform(0.6, 0.9), rng.random(), 0.5)
        edges = np.linspace(0.02, 0.98, count + 1)
        heights = rng.uniform(0.05, 0.8, count)
        bars = zip(edges[:-1], edges[1:], heights, strict=True)
        return [
            Shape("area", np.array([[a, 0], [b - 0.2 * (b - a), 0], [b - 0.2 * (b - a), h], [a, h]]), colour)
            for a, b, h in bars
        ]

    def _band(self, line: Line) -> Shape:
        rng = self.rng
        part = max(line.parts(), key=len)
        wide = rng.uniform(0.015, 0.07) * (0.4 + 0.6 * np.abs(np.sin(rng.uniform(1, 4) * part[:, 0] + rng.random())))
        outline = np.concatenate(
            [part + np.stack([0 * wide, wide], axis=1), (part - np.stack([0 * wide, wide], axis=1))[::-1]]
        )
        return Shape("area", outline, line.colour, opacity=float(rng.uniform(0.12, 0.35)))

    def _error_bars(self, line: Line, box: Box) -> Shape:
        rng = self.rng
        known = line.xy[np.isfinite(line.xy).all(axis=1)]
        places = line.marker_xy if len(line.marker_xy) else known[:: max(1, len(known) // 12)]
        reach = rng.uniform(0.01, 0.06, len(places))
        cap = rng.choice([0, 3.0]) / (box[2] - box[0])
        x, y = places[:, 0], places[:, 1]
        bars = [np.stack([np.stack([x, y - reach], 1), np.stack([x, y + reach], 1)], axis=1)]
        if cap:
            ends = (y - reach, y + reach)
            bars += [np.stack([np.stack([x - cap, end], 1), np.stack([x + cap, end], 1)], axis=1) for end in ends]
        return Shape("segments", np.concatenate(bars), line.colour, thickness=max(0.8, 0.6 * line.thickness))

    def _reference_lines(self) -> list[Shape]:
        rng = self.rng
        shapes = []
        for _ in range(int(rng.integers(1, 3))):
            at = rng.uniform(0.1, 0.9)
            ends = [[0, at], [1, at]] if self._chance(0.6) else [[at, 0], [at, 1]]
            grey = float(rng.uniform(0.3, 0.7))
            colour = self.ink if self._chance(0.4) else (grey,) * 3
            dash = () if self._chance(0.3) else (4.0, 3.0)
            shapes.append(Shape("segments", np.array([ends]), colour, float(rng.uniform(0.6, 1.5)), dash))
        return shapes

    def _scatter(self) -> Shape:
        rng = self.rng
        places = rng.uniform(0.03, 0.97, (int(rng.integers(8, 80)), 2))
        colour = _tinted(rng.uniform(0.3, 0.7), rng.random(), 0.8)
        return Shape("points", places, colour, thickness=float(rng.uniform(2, 5)) * self.dpi / 100)

    def _annotation(self, lines: tuple[Line, ...]) -> Shape:
        rng = self.rng
        place = rng.uniform(0.08, 0.85, 2)
        text = self._words(1, 2)
        colour = self.ink if self._chance(0.7) else lines[int(rng.integers(len(lines)))].colour
        if self._chance(0.5):
            return Shape("text", place[None], colour, text=text, above=True, boxed=self._chance(0.25))
        part = max(lines[int(rng.integers(len(lines)))].parts(), key=len)
        target = part[int(rng.integers(len(part)))]
        return Shape("arrow", np.stack([place, target]), colour, 1.0, text=text, above=True)


def _shifted(curve: Curve, by: float) -> Curve:
    """The curve moved to the right, its first value held before."""
    x, y = curve.T
    return np.stack([x, np.interp(x - by, x, y)], axis=1)


def _tinted(lightness: float, hue: float, saturation: float) -> Colour:
    r, g, b = colorsys.hls_to_rgb(float(hue), float(lightness), float(saturation))
    return (r, g, b)
