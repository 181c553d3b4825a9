"""Charts as SVG, drawn by resvg: another rasterizer, other text, other joins and dashes than Matplotlib's.

The look is that of charts on the web: ticks at round numbers, labels laid out by simple rules.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from html import escape
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import resvg_py
from numpy.typing import NDArray

from linegroup.sources.synth.spec import (
    Axis,
    Box,
    Chart,
    Colour,
    Legend,
    Line,
    Panel,
    Rendering,
    Shape,
    to_pixels,
)

_FILES = {
    "DejaVu Sans": "DejaVuSans.ttf",
    "DejaVu Serif": "DejaVuSerif.ttf",
    "STIXGeneral": "STIXGeneral.ttf",
    "DejaVu Sans Mono": "DejaVuSansMono.ttf",
}
_MARKS = {
    "circle": "M-.5 0A.5 .5 0 1 1 .5 0A.5 .5 0 1 1 -.5 0Z",
    "square": "M-.45 -.45H.45V.45H-.45Z",
    "triangle": "M0 -.55L.5 .4H-.5Z",
    "down": "M0 .55L.5 -.4H-.5Z",
    "diamond": "M0 -.6L.5 0L0 .6L-.5 0Z",
    "plus": "M-.5 0H.5M0 -.5V.5",
    "cross": "M-.4 -.4L.4 .4M-.4 .4L.4 -.4",
}
_OPEN = frozenset({"plus", "cross"})
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def render(chart: Chart, *, lines: bool = True) -> Rendering:
    """Draw a chart; with `lines=False` everything but its lines."""
    picture = _Picture(chart)
    page = _draw(picture.document(with_lines=lines), chart, text=True)
    coverage: list[NDArray[np.uint8]] = []
    numbered = [(number, line) for number, panel in enumerate(chart.panels) for line in panel.lines] if lines else []
    for first in range(0, len(numbered), 3):
        three = numbered[first : first + 3]
        inks = _draw(picture.inks(three), chart, text=False)
        coverage += [np.ascontiguousarray(inks[..., channel]) for channel in range(len(three))]
    return Rendering(np.ascontiguousarray(page[..., :3]), tuple(coverage), tuple(picture.covers))


def _draw(svg: str, chart: Chart, *, text: bool) -> NDArray[np.uint8]:
    """`(h, w, 4)` RGBA."""
    fonts = [_font_file(chart.font)] if text else None
    content = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, font_files=fonts)
    decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA), dtype=np.uint8)


@functools.cache
def _font_file(family: str) -> str:
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / _FILES[family])


class _Picture:
    """A chart on its way to SVG text."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.covers: list[Box] = []
        self.clips: list[str] = []

    def document(self, *, with_lines: bool) -> str:
        height, width = self.chart.size
        body = [f'<rect width="{width}" height="{height}" fill="{_rgb(self.chart.page)}"/>']
        for number, panel in enumerate(self.chart.panels):
            body += self._panel(panel, number, with_lines)
        return self._svg(body)

    def inks(self, numbered: list[tuple[int, Line]]) -> str:
        """Up to three lines with the numbers of their panels, each alone in a colour channel, on black.

        Blended by `screen`, channels do not touch each other; the page's colour in a marker becomes black.
        """
        height, width = self.chart.size
        body = [f'<rect width="{width}" height="{height}" fill="#000"/>']
        body += [self._clip(self.chart.panels[number], number) for number in {number for number, _ in numbered}]
        for channel, (number, line) in enumerate(numbered):
            ink: Colour = tuple(float(k == channel) for k in range(3))  # type: ignore[assignment]
            drawn = self._line(replace(line, colour=ink, opacity=1.0), self.chart.panels[number], hidden="#000")
            body.append(f'<g style="mix-blend-mode:screen" clip-path="url(#p{number})">{drawn}</g>')
        return self._svg(body)

    def _svg(self, body: Iterable[str]) -> str:
        height, width = self.chart.size
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(body)}</svg>'

    def _clip(self, panel: Panel, number: int) -> str:
        return f'<clipPath id="p{number}">{_rect(panel.box, "")}</clipPath>'

    def _panel(self, panel: Panel, number: int, with_lines: bool) -> list[str]:
        body = [self._clip(panel, number), *self._background(panel, number)]
        x_ticks, y_ticks = _ticks(panel.x), _ticks(panel.y)
        body += self._grid(panel, x_ticks, y_ticks)
        body += [self._shape(shape, panel, number) for shape in panel.shapes if not shape.above]
        if with_lines:
            drawn = "".join(self._line(line, panel) for line in panel.lines)
            body.append(f'<g clip-path="url(#p{number})">{drawn}</g>')
        body += self._frame(panel)
        body += self._axis_x(panel, x_ticks)
        body += self._axis_y(panel, y_ticks, panel.y, panel.box[0], -1)
        if panel.right is not None:
            body += self._axis_y(panel, _ticks(panel.right), panel.right, panel.box[2], 1)
        if panel.title:
            middle = (panel.box[0] + panel.box[2]) / 2
            body.append(self._text(middle, panel.box[1] - 0.7 * self.size, panel.title, "middle", scale=1.15))
        body += [self._shape(shape, panel, number) for shape in panel.shapes if shape.above]
        if panel.legend is not None:
            body += self._legend(panel, panel.legend)
        return body

    @property
    def size(self) -> float:
        return self.chart.font_size

    def _background(self, panel: Panel, number: int) -> list[str]:
        left, top, right, bottom = panel.box
        body = [_rect(panel.box, f'fill="{_rgb(panel.fill)}"')] if panel.fill is not None else []
        if panel.gradient is not None:
            stops = (
                f'<stop stop-color="{_rgb(self.chart.page)}"/><stop offset="1" stop-color="{_rgb(panel.gradient)}"/>'
            )
            body.append(f'<linearGradient id="g{number}" x1="0" y1="1" x2="0" y2="0">{stops}</linearGradient>')
            body.append(_rect(panel.box, f'fill="url(#g{number})"'))
        if panel.bands is not None:
            each = (bottom - top) / 10
            rows = [(left, top + k * each, right, top + (k + 1) * each) for k in range(0, 10, 2)]
            body += [_rect(row, f'fill="{_rgb(panel.bands)}"') for row in rows]
        return body

    def _grid(self, panel: Panel, x_ticks: list[tuple[float, str]], y_ticks: list[tuple[float, str]]) -> list[str]:
        left, top, right, bottom = panel.box
        if not panel.grid:
            return []
        path = []
        if panel.grid in ("both", "x"):
            path += [
                f"M{_n(left + u * (right - left))} {_n(top)}V{_n(bottom)}" for u in _finer(x_ticks, panel.grid_minor)
            ]
        if panel.grid in ("both", "y"):
            path += [
                f"M{_n(left)} {_n(bottom - v * (bottom - top))}H{_n(right)}" for v in _finer(y_ticks, panel.grid_minor)
            ]
        return [f'<path d="{"".join(path)}" {_stroke(panel.grid_colour, panel.grid_width, panel.grid_dash)}/>']

    def _frame(self, panel: Panel) -> list[str]:
        left, top, right, bottom = (_n(side) for side in panel.box)
        middle_x, middle_y = _n((panel.box[0] + panel.box[2]) / 2), _n((panel.box[1] + panel.box[3]) / 2)
        axis = _n(_axis_height(panel))
        path = {
            "box": f"M{left} {top}H{right}V{bottom}H{left}Z",
            "left_bottom": f"M{left} {top}V{bottom}M{left} {axis}H{right}",
            "bottom": f"M{left} {axis}H{right}",
            "centred": f"M{left} {middle_y}H{right}M{middle_x} {top}V{bottom}",
        }.get(panel.frame)
        return [f'<path d="{path}" {_stroke(panel.frame_colour, panel.frame_width)}/>'] if path else []

    def _axis_x(self, panel: Panel, ticks: list[tuple[float, str]]) -> list[str]:
        left, _, right, _ = panel.box
        bottom = _axis_height(panel)
        body = self._tick_marks([(left + u * (right - left), bottom, 0, 1) for u, _ in ticks], panel.x)
        if panel.x.labels:
            at, last = bottom + 1.35 * self.size, -math.inf
            for u, text in ticks if panel.x.turn else ():
                x = left + u * (right - left)
                more = f'transform="rotate({_n(-panel.x.turn)} {_n(x)} {_n(bottom + 0.9 * self.size)})"'
                place = (x + 0.3 * self.size, bottom + 0.9 * self.size)
                body.append(self._text(*place, text, "end", scale=0.92, more=more))
            for u, text in () if panel.x.turn else ticks:
                x, half = left + u * (right - left), 0.3 * self.size * len(text)
                if x - half > last:
                    body.append(self._text(x, at, text, "middle", scale=0.92))
                    last = x + half + 0.4 * self.size
        if panel.x.title:
            at = panel.box[3] + (1.4 if panel.x.labels else 0.2) * self.size + 1.4 * self.size
            if panel.x.turn:
                longest = max((len(text) for _, text in ticks), default=0)
                at += 0.5 * self.size * longest * math.sin(math.radians(panel.x.turn))
            body.append(self._text((left + right) / 2, at, panel.x.title, "middle"))
        return body

    def _axis_y(self, panel: Panel, ticks: list[tuple[float, str]], axis: Axis, x: float, side: int) -> list[str]:
        _, top, _, bottom = panel.box
        body = self._tick_marks([(x, bottom - v * (bottom - top), side, 0) for v, _ in ticks], axis)
        anchor = "end" if side < 0 else "start"
        widest = 0
        if axis.labels:
            for v, text in ticks:
                y = bottom - v * (bottom - top) + 0.35 * self.size
                body.append(self._text(x + side * 0.6 * self.size, y, text, anchor, scale=0.92))
                widest = max(widest, len(text))
        if axis.title:
            at = x + side * (1.2 + 0.55 * widest) * self.size
            turn = f'transform="rotate(-90 {_n(at)} {_n((top + bottom) / 2)})"'
            body.append(self._text(at, (top + bottom) / 2, axis.title, "middle", more=turn))
        return body

    def _tick_marks(self, places: list[tuple[float, float, int, int]], axis: Axis) -> list[str]:
        if axis.ticks == "none":
            return []
        reach = 0.4 * self.size * (1 if axis.ticks == "out" else -1)
        path = "".join(f"M{_n(x)} {_n(y)}l{_n(dx * reach)} {_n(dy * reach)}" for x, y, dx, dy in places)
        return [f'<path d="{path}" {_stroke(self.chart.ink, max(0.7, 0.09 * self.size))}/>'] if path else []

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: str = "start",
        *,
        scale: float = 1.0,
        more: str = "",
        colour: Colour | None = None,
    ) -> str:
        fill = _rgb(colour or self.chart.ink)
        if self.chart.tracking:
            more += f' letter-spacing="{_n(self.chart.tracking * scale * self.size)}"'
        return (
            f'<text x="{_n(x)}" y="{_n(y)}" font-family="{self.chart.font}" font-size="{_n(scale * self.size)}"'
            f' text-anchor="{anchor}" fill="{fill}" {more}>{escape(text)}</text>'
        )

    def _line(self, line: Line, panel: Panel, hidden: str = "") -> str:
        body, opacity = "", line.opacity
        if line.drawn:
            parts = [to_pixels(part, panel.box) + 0.5 for part in line.parts()]
            path = "".join(_path(part) + ("Z" if line.closed else "") for part in parts)
            caps = f'stroke-linecap="{line.cap}" stroke-linejoin="round"'
            body = f'<path d="{path}" {_stroke(line.colour, line.thickness, line.dash, opacity)} {caps}/>'
        if line.marker:
            places = to_pixels(line.marker_xy, panel.box) + 0.5
            body += "".join(
                self._mark(line, x, y, opacity, hidden or _rgb(panel.fill or self.chart.page)) for x, y in places
            )
        return body

    def _mark(self, line: Line, x: float, y: float, opacity: float, hidden: str) -> str:
        fill = {"full": _rgb(line.colour), "page": hidden, "none": "none"}[line.marker_fill]
        fill = "none" if line.marker in _OPEN else fill
        edge = max(0.8, min(line.thickness, 0.25 * line.marker_size)) / line.marker_size
        place = f'transform="translate({_n(x)} {_n(y)}) scale({_n(line.marker_size)})"'
        look = f'fill="{fill}" fill-opacity="{opacity:.3g}" stroke="{_rgb(line.colour)}" stroke-opacity="{opacity:.3g}"'
        return f'<path d="{_MARKS[line.marker]}" {place} {look} stroke-width="{edge:.4g}"/>'

    def _shape(self, shape: Shape, panel: Panel, number: int) -> str:
        places = to_pixels(shape.xy.reshape(-1, 2), panel.box) + 0.5
        clip = f'clip-path="url(#p{number})"'
        colour, opacity = _rgb(shape.colour), f"{shape.opacity:.3g}"
        if shape.kind == "segments":
            path = "".join(_path(pair) for pair in places.reshape(-1, 2, 2))
            dash = tuple(v * shape.thickness for v in shape.dash)
            return f'<g {clip}><path d="{path}" {_stroke(shape.colour, shape.thickness, dash, shape.opacity)}/></g>'
        if shape.kind == "area":
            return f'<g {clip}><path d="{_path(places)}Z" fill="{colour}" fill-opacity="{opacity}"/></g>'
        if shape.kind == "points":
            radius = _n(shape.thickness / 2)
            dots = "".join(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{radius}"/>' for x, y in places)
            return f'<g {clip} fill="{colour}" fill-opacity="{opacity}">{dots}</g>'
        if shape.kind == "leader":
            return self._leader(places[0], places[1], shape)
        x, y = places[0]
        body = self._text(x, y, shape.text, colour=shape.colour)
        if shape.kind == "arrow":
            start = places[0] + (0.3 * self.size * len(shape.text), 0.2 * self.size)
            return body + _arrow(start, places[1], shape)
        if shape.boxed:
            box = (x - 2, y - 1.1 * self.size, x + 0.62 * self.size * len(shape.text) + 2, y + 0.4 * self.size)
            self.covers.append(box)
            body = _rect(box, f'fill="{_rgb(self.chart.page)}" {_edge(self.chart.ink)}') + body
        return body

    def _leader(self, start: NDArray[np.float64], end: NDArray[np.float64], shape: Shape) -> str:
        anchor, step = ("start", 0.3) if start[0] >= end[0] else ("end", -0.3)
        x, y = start[0] + step * self.size, start[1] + 0.35 * self.size
        stroke = f'<path d="{_path(np.stack([start, end]))}" {_stroke(shape.colour, shape.thickness)}/>'
        return stroke + self._text(x, y, shape.text, anchor, colour=shape.colour)

    def _legend(self, panel: Panel, legend: Legend) -> list[str]:
        if legend.place == "labels":
            ends = [(line, to_pixels(line.parts()[-1][-1:], panel.box)[0] + 0.5) for line in panel.lines]
            return [
                self._text(x + 0.4 * self.size, y + 0.35 * self.size, line.name, colour=line.colour)
                for line, (x, y) in ends
            ]
        row, key = 1.45 * self.size, legend.key * self.size
        wide = key + (0.58 * max(len(line.name) for line in panel.lines) + 1.2) * self.size
        columns = legend.columns
        rows = -(-len(panel.lines) // columns)
        width, height = columns * wide + 0.4 * self.size, rows * row + 0.5 * self.size
        left, top = self._legend_place(panel, legend, width, height)
        box = (left, top, left + width, top + height)
        body = []
        if legend.framed:
            alpha = 1.0 if legend.opaque else 0.7
            fill = f'fill="{_rgb(panel.fill or self.chart.page)}" fill-opacity="{alpha}"'
            body.append(_rect(box, f"{fill} {_edge(panel.frame_colour)}"))
            if legend.place == "inside" and legend.opaque:
                self.covers.append(box)
        for k, line in enumerate(panel.lines):
            x, y = left + 0.4 * self.size + (k % columns) * wide, top + (k // columns + 0.75) * row
            if legend.swatch:
                swatch = (x, y - 0.4 * self.size, x + 0.85 * key, y + 0.4 * self.size)
                body.append(_rect(swatch, f'fill="{_rgb(line.colour)}"'))
            else:
                path = (
                    f'<path d="M{_n(x)} {_n(y)}h{_n(0.85 * key)}" {_stroke(line.colour, line.thickness, line.dash)}/>'
                )
                body.append(path if line.drawn else "")
                body.append(self._mark(line, x + 0.42 * key, y, 1.0, _rgb(self.chart.page)) if line.marker else "")
            body.append(self._text(x + key, y + 0.35 * self.size, line.name, scale=0.9))
        return body

    def _legend_place(self, panel: Panel, legend: Legend, width: float, height: float) -> tuple[float, float]:
        left, top, right, bottom = panel.box
        pad = 0.5 * self.size
        if legend.place == "right":
            return right + (4 if panel.right else 0.8) * self.size, top
        if legend.place == "below":
            return (left + right - width) / 2, bottom + (3.0 if panel.x.title else 1.8) * self.size
        if legend.place == "above":
            return (left + right - width) / 2, top - height - 0.2 * self.size
        x, y = legend.corner
        return left + pad + x * (right - left - width - 2 * pad), top + pad + y * (bottom - top - height - 2 * pad)


def _axis_height(panel: Panel) -> float:
    """Where the x axis lies, in pixels from the picture's upper edge."""
    _, top, _, bottom = panel.box
    return bottom - panel.level * (bottom - top)


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    """Places in 0..1 and labels of an axis' ticks."""
    low, high = axis.limits
    if axis.scale == "category":
        return [(k / max(1, len(axis.names) - 1), name) for k, name in enumerate(axis.names)]
    if axis.scale == "log":
        first, last = math.log10(low), math.log10(high)
        steps = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
        return [((k - first) / (last - first), f"{10.0**k:g}") for k in steps]
    step = _round_step((high - low) / 6)
    values = [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    label = _date if axis.scale == "date" else lambda value: f"{round(value / step) * step:,.6g}"
    return [((value - low) / (high - low), label(value)) for value in values]


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def _date(days: float) -> str:
    year = 1970 + days / 365.2425
    return f"{_MONTHS[int(12 * (year % 1)) % 12]} {int(year)}"


def _finer(ticks: list[tuple[float, str]], minor: bool) -> list[float]:
    places = [place for place, _ in ticks]
    if not minor:
        return places
    return sorted({*places, *((a + b) / 2 for a, b in itertools.pairwise(places))})


def _arrow(start: NDArray[np.float64], end: NDArray[np.float64], shape: Shape) -> str:
    along = end - start
    length = float(np.hypot(*along)) or 1.0
    u, v = along / length * 6
    head = f"M{_n(end[0] - u - 0.5 * v)} {_n(end[1] - v + 0.5 * u)}L{_n(end[0])} {_n(end[1])}"
    head += f"L{_n(end[0] - u + 0.5 * v)} {_n(end[1] - v - 0.5 * u)}"
    path = f"M{_n(start[0])} {_n(start[1])}L{_n(end[0])} {_n(end[1])}{head}"
    return f'<path d="{path}" {_stroke(shape.colour, shape.thickness)}/>'


def _path(points: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:.3f} {y:.3f}" for x, y in points.tolist())


def _rect(box: Box, look: str) -> str:
    left, top, right, bottom = box
    return f'<rect x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" height="{_n(bottom - top)}" {look}/>'


def _stroke(colour: Colour, width: float, dash: tuple[float, ...] = (), opacity: float = 1.0) -> str:
    pattern = f' stroke-dasharray="{" ".join(_n(v) for v in dash)}"' if dash else ""
    return f'fill="none" stroke="{_rgb(colour)}" stroke-width="{_n(width)}" stroke-opacity="{opacity:.3g}"{pattern}'


def _edge(colour: Colour) -> str:
    return f'stroke="{_rgb(colour)}" stroke-width="0.8"'


def _rgb(colour: Colour | None) -> str:
    assert colour is not None
    return "#" + "".join(f"{round(255 * float(np.clip(c, 0, 1))):02x}" for c in colour)


def _n(value: float) -> str:
    return f"{value:.2f}"
