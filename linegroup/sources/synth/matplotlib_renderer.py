"""Charts drawn by Matplotlib's Agg, through its objects: no pyplot, no state shared between charts.

Lines are placed in axes coordinates, so that scales and limits move ticks and never the lines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from linegroup.sources.synth.spec import Axis, Box, Chart, Colour, Line, Panel, Rendering, Shape

_MARKS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "plus": "+", "cross": "x", "down": "v"}
_BELOW, _LINES, _ABOVE = 1.5, 2.0, 3.0
_CORNERS = {
    (0.0, 0.0): "upper left",
    (0.5, 0.0): "upper center",
    (1.0, 0.0): "upper right",
    (0.0, 0.5): "center left",
    (0.5, 0.5): "center",
    (1.0, 0.5): "center right",
    (0.0, 1.0): "lower left",
    (0.5, 1.0): "lower center",
    (1.0, 1.0): "lower right",
}


def render(chart: Chart, *, lines: bool = True) -> Rendering:
    """Draw a chart; with `lines=False` everything but its lines."""
    with _defaults():
        return _Picture(chart, lines).render()


@contextlib.contextmanager
def _defaults() -> Iterator[None]:
    """Matplotlib as it comes: a user's own style must not change what a seed stands for."""
    ours = matplotlib.rcParamsDefault
    if all(matplotlib.rcParams[key] == ours[key] for key in ours if key not in _ENVIRONMENT):
        yield
        return
    with matplotlib.rc_context({key: value for key, value in ours.items() if key not in _ENVIRONMENT}):
        yield


_ENVIRONMENT = frozenset(key for key in matplotlib.rcParamsDefault if key.startswith(("backend", "toolbar", "webagg")))


def _black_share(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How much of each pixel `(h, w)` is black, 0..255, in a picture `(h, w, 4)` of black and white on nothing."""
    grey = (255 - rgba[..., 0].astype(np.uint16)) * rgba[..., 3]
    return np.asarray((grey + 127) // 255, dtype=np.uint8)


def _blacken(artist: Line2D) -> None:
    """Black and opaque; the page's colour in a marker becomes white: it hides, it is no ink."""
    artist.set_alpha(None)
    artist.set_color("black")
    artist.set_markeredgecolor("black")
    artist.set_markerfacecolor({"page": "white", "none": "none"}.get(artist.get_gid() or "", "black"))


class _Picture:
    """A chart as a figure."""

    def __init__(self, chart: Chart, with_lines: bool) -> None:
        self.chart = chart
        self.points = 72 / chart.dpi  # per pixel
        height, width = chart.size
        # The canvas takes the integer part of inches × dpi.
        self.figure = Figure(((width + 1e-4) / chart.dpi, (height + 1e-4) / chart.dpi), chart.dpi, facecolor=chart.page)
        self.canvas = FigureCanvasAgg(self.figure)
        self.font: dict[str, Any] = {
            "fontfamily": chart.font,
            "fontsize": chart.font_size * self.points,
            "color": chart.ink,
        }
        self.page: Colour = chart.page
        self.lines: list[list[Line2D]] = []
        self.covering: list[Text | matplotlib.legend.Legend] = []
        for panel in chart.panels:
            self._add_panel(panel, with_lines)

    def render(self) -> Rendering:
        self.canvas.draw()
        height, width = self.chart.size
        buffer = np.asarray(self.canvas.buffer_rgba())
        assert buffer.shape[:2] == (height, width), (buffer.shape, self.chart.size)
        pixels = buffer[..., :3].copy()
        covers = tuple(self._extent(artist) for artist in self.covering)
        renderer = self.canvas.get_renderer()
        coverage = []
        for artists in self.lines:
            renderer.clear()
            for artist in artists:
                _blacken(artist)
                artist.draw(renderer)
            coverage.append(_black_share(np.asarray(renderer.buffer_rgba())))
        return Rendering(pixels, tuple(coverage), covers)

    def _extent(self, artist: Text | matplotlib.legend.Legend) -> Box:
        patch = artist.get_bbox_patch() if isinstance(artist, Text) else artist.get_frame()
        assert patch is not None
        extent = patch.get_window_extent(self.canvas.get_renderer())
        height = self.chart.size[0]
        return (extent.x0, height - extent.y1, extent.x1, height - extent.y0)

    def _add_panel(self, panel: Panel, with_lines: bool) -> None:
        height, width = self.chart.size
        left, top, right, bottom = panel.box
        self.page = panel.fill or self.chart.page
        place = (left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height)
        axes = self.figure.add_axes(place, facecolor=panel.fill or self.chart.page)
        axes.set_axisbelow(True)
        self._set_axis(axes, panel.x, "x")
        self._set_axis(axes, panel.y, "y")
        if panel.right is not None:
            self._add_right_axis(place, panel)
        self._set_frame(axes, panel)
        self._fill(axes, panel)
        if panel.title:
            axes.set_title(panel.title, **(self.font | {"fontsize": 1.15 * self.font["fontsize"]}))
        for shape in panel.shapes:
            self._add_shape(axes, shape)
        for line in panel.lines if with_lines else ():
            artists = self._line(line)
            for artist in artists:
                artist.set_transform(axes.transAxes)
                artist.set_zorder(_LINES + 0.001 * len(self.lines))
                axes.add_artist(artist)
            self.lines.append(artists)
        if panel.legend is not None:
            self._add_legend(axes, panel)

    def _set_axis(self, axes: Axes, axis: Axis, which: Literal["x", "y"]) -> None:
        if axis.scale == "log":
            getattr(axes, f"set_{which}scale")("log")
        if axis.scale == "date":
            getattr(axes, f"{which}axis_date")()
        getattr(axes, f"set_{which}lim")(*axis.limits)
        if axis.scale == "category":
            getattr(axes, f"set_{which}ticks")(range(len(axis.names)), axis.names)
        axes.tick_params(
            axis=which,
            which="both",
            direction=axis.ticks if axis.ticks != "none" else "out",
            length=0 if axis.ticks == "none" else 0.35 * self.font["fontsize"],
            width=0.08 * self.font["fontsize"],
            color=self.chart.ink,
            labelsize=0.92 * self.font["fontsize"],
            labelcolor=self.chart.ink,
            labelfontfamily=self.chart.font,
            **({"labelbottom": axis.labels} if which == "x" else {"labelleft": axis.labels}),
        )
        if axis.turn:
            axes.tick_params(axis=which, labelrotation=axis.turn)
            if axis.turn < 90:
                for label in getattr(axes, f"get_{which}ticklabels")():
                    label.set_horizontalalignment("right")
        offset = getattr(axes, f"{which}axis").get_offset_text()
        offset.set_fontsize(0.85 * self.font["fontsize"])
        offset.set_color(self.chart.ink)
        if axis.title:
            getattr(axes, f"set_{which}label")(axis.title, **self.font)

    def _add_right_axis(self, place: tuple[float, float, float, float], panel: Panel) -> None:
        assert panel.right is not None
        axes = self.figure.add_axes(place, facecolor="none")
        self._set_axis(axes, panel.right, "y")
        axes.yaxis.tick_right()
        axes.yaxis.set_label_position("right")
        axes.tick_params(axis="y", which="both", labelright=panel.right.labels, labelleft=False)
        axes.xaxis.set_visible(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_zorder(-1)

    def _set_frame(self, axes: Axes, panel: Panel) -> None:
        shown = {
            "box": ("left", "bottom", "right", "top"),
            "left_bottom": ("left", "bottom"),
            "centred": ("left", "bottom"),
            "bottom": ("bottom",),
        }.get(panel.frame, ())
        for name, spine in axes.spines.items():
            spine.set_visible(name in shown)
            spine.set_color(panel.frame_colour)
            spine.set_linewidth(panel.frame_width * self.points)
            if panel.frame == "centred" and name in shown:
                spine.set_position(("axes", 0.5))
        if panel.level:
            axes.spines["bottom"].set_position(("axes", panel.level))
        if panel.grid_minor:
            axes.minorticks_on()
        if panel.grid:
            width = panel.grid_width * self.points
            dash = (0, tuple(v * panel.grid_width * self.points for v in panel.grid_dash)) if panel.grid_dash else "-"
            look: dict[str, Any] = {"axis": panel.grid, "color": panel.grid_colour, "linestyle": dash}
            axes.grid(True, which="major", linewidth=width, **look)
            if panel.grid_minor:
                axes.grid(True, which="minor", linewidth=0.5 * width, **look)

    def _fill(self, axes: Axes, panel: Panel) -> None:
        if panel.gradient is not None:
            rows = np.linspace(0, 1, 64)[:, None, None]
            ramp = rows * np.array(panel.gradient) + (1 - rows) * np.array(self.chart.page)
            image = BboxImage(axes.bbox, zorder=0.1)
            image.set_data(ramp)
            axes.add_artist(image)
        if panel.bands is not None:
            for k in range(0, 10, 2):
                axes.add_artist(
                    Rectangle((0, k / 10), 1, 0.1, transform=axes.transAxes, color=panel.bands, linewidth=0, zorder=0.2)
                )

    def _line(self, line: Line) -> list[Line2D]:
        """The line, and its markers as an artist of their own: both are its ink."""
        artists = []
        if line.drawn:
            xy = np.concatenate([line.xy, line.xy[:2]]) if line.closed else line.xy
            stroke = Line2D(*xy.T, color=line.colour, linewidth=line.thickness * self.points, alpha=line.opacity)
            if line.dash:
                # Matplotlib's patterns are in line widths.
                stroke.set_linestyle((0, tuple(v / line.thickness for v in line.dash)))
            stroke.set_solid_capstyle("round" if line.cap == "round" else "butt")
            stroke.set_dash_capstyle("round" if line.cap == "round" else "butt")
            stroke.set_solid_joinstyle("round")
            stroke.set_dash_joinstyle("round")
            artists.append(stroke)
        if line.marker:
            artists.append(self._marks(line, *line.marker_xy.T))
        return artists

    def _marks(self, line: Line, x: NDArray[np.float64], y: NDArray[np.float64]) -> Line2D:
        face: Any = {"full": line.colour, "page": self.page, "none": "none"}[line.marker_fill]
        edge = max(0.8, min(line.thickness, 0.25 * line.marker_size))
        marks = Line2D(
            x,
            y,
            linestyle="none",
            marker=_MARKS[line.marker],
            markersize=line.marker_size * self.points,
            markerfacecolor=face,
            markeredgecolor=line.colour,
            markeredgewidth=edge * self.points,
            alpha=line.opacity,
        )
        marks.set_gid(line.marker_fill)
        return marks

    def _add_shape(self, axes: Axes, shape: Shape) -> None:
        where: dict[str, Any] = {"transform": axes.transAxes, "zorder": _ABOVE if shape.above else _BELOW}
        look: dict[str, Any] = {"color": shape.colour, "alpha": shape.opacity}
        if shape.kind == "segments":
            width = shape.thickness * self.points
            dash = (0, tuple(v for v in shape.dash)) if shape.dash else "-"
            axes.add_artist(LineCollection(list(shape.xy), linewidths=width, linestyles=[dash], **look, **where))
        elif shape.kind == "area":
            axes.add_artist(Polygon(shape.xy, linewidth=0, **look, **where))
        elif shape.kind == "points":
            size = shape.thickness * self.points
            axes.add_artist(
                Line2D(shape.xy[:, 0], shape.xy[:, 1], linestyle="none", marker="o", markersize=size, **look, **where)
            )
        elif shape.kind == "text":
            box = {"facecolor": self.chart.page, "edgecolor": self.chart.ink, "pad": 2} if shape.boxed else None
            style = self.font | {"color": shape.colour}
            text = axes.text(shape.xy[0, 0], shape.xy[0, 1], shape.text, bbox=box, **where, **style)
            if shape.boxed:
                self.covering.append(text)
        else:
            axes.annotate(
                shape.text,
                xy=tuple(shape.xy[1]),
                xytext=tuple(shape.xy[0]),
                xycoords="axes fraction",
                textcoords="axes fraction",
                arrowprops={
                    "arrowstyle": "-" if shape.kind == "leader" else "->",
                    "color": shape.colour,
                    "linewidth": shape.thickness * self.points,
                },
                zorder=_ABOVE,
                **(self.font | {"color": shape.colour}),
            )

    def _add_legend(self, axes: Axes, panel: Panel) -> None:
        legend = panel.legend
        assert legend is not None
        if legend.place == "labels":
            for line in panel.lines:
                x, y = line.parts()[-1][-1]
                style = self.font | {"color": line.colour}
                axes.text(x + 0.01, y, line.name, transform=axes.transAxes, verticalalignment="center", **style)
            return
        high = panel.box[3] - panel.box[1]
        size = self.chart.font_size
        places: dict[str, tuple[Any, Any]] = {
            "right": ("upper left", (1.0 + size / (panel.box[2] - panel.box[0]), 1.0)),
            "below": ("upper center", (0.5, -(3.2 if panel.x.title else 1.8) * size / high)),
            "above": ("lower center", (0.5, 1.0)),
        }
        location, anchor = places.get(legend.place, (_CORNERS[legend.corner], None))
        entries: Any = [
            Rectangle((0, 0), 1, 1, facecolor=line.colour, edgecolor="none") if legend.swatch else self._entry(line)
            for line in panel.lines
        ]
        drawn = axes.legend(
            entries,
            [line.name for line in panel.lines],
            loc=location,
            bbox_to_anchor=anchor,
            frameon=legend.framed,
            framealpha=1.0 if legend.opaque else 0.7,
            facecolor=panel.fill or self.chart.page,
            edgecolor=panel.frame_colour,
            ncols=legend.columns,
            prop={"family": self.chart.font, "size": 0.9 * self.font["fontsize"]},
            labelcolor=self.chart.ink,
            borderaxespad=0.5 if anchor is None else 0.2,
            handlelength=legend.key if legend.swatch else None,
        )
        drawn.set_zorder(5)
        if legend.place == "inside" and legend.opaque and legend.framed:
            self.covering.append(drawn)

    def _entry(self, line: Line) -> Line2D | tuple[Line2D, ...]:
        """What stands for a line in the legend."""
        sample = self._line(line)[0] if line.drawn else self._marks(line, np.empty(0), np.empty(0))
        entry = Line2D([], [])
        entry.update_from(sample)
        if line.marker:
            marks = self._marks(line, np.empty(0), np.empty(0))
            entry.set_marker(marks.get_marker())
            entry.set_markersize(marks.get_markersize())
            entry.set_markerfacecolor(marks.get_markerfacecolor())
            entry.set_markeredgecolor(marks.get_markeredgecolor())
            entry.set_markeredgewidth(marks.get_markeredgewidth())
        return entry
