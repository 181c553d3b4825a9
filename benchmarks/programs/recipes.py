"""What a chart of the set shows: random curves, and a style that every plotting program can draw.

A recipe depends on the seed, the name of the program and the number of the chart alone, so that leaving a
program out, or making more charts, changes none of the others.
"""

from __future__ import annotations

import datetime
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KINDS = ("walk", "walk", "smooth", "seasonal", "scurve", "cross", "decay", "peaks", "noisy", "stocks")
POINTS = (8, 12, 20, 40, 60, 100, 200, 365)
LINES = {1: 0.08, 2: 0.2, 3: 0.22, 4: 0.16, 5: 0.12, 6: 0.1, 7: 0.06, 8: 0.06}
SIZES = (
    *((640, 480), (640, 480), (700, 450), (600, 400), (400, 300)),
    *((800, 500), (640, 360), (1000, 600), (1200, 800), (500, 500)),
)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
BLUES_AND_GREENS = ("#08306b", "#2171b5", "#6baed6", "#9ecae1", "#00441b", "#238b45", "#74c476", "#a1d99b")
PALETTES = (  # None: the program's own colours.
    *(None, None, None),
    ("#e41a1c", "#377eb8", "#4daf4a", "#984ea3", "#ff7f00", "#a65628", "#f781bf", "#999999"),
    ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#9c755f"),
    BLUES_AND_GREENS,
)
NAMES = (
    *("Alpha", "Bravo", "North", "South", "East", "West", "Control", "Treated", "Model A", "Model B"),
    *("Baseline", "2019", "2020", "2021", "2022", "Berlin", "Paris", "Oslo", "Lima", "Cairo"),
    *("AAPL", "MSFT", "Loss", "Sales", "Returns", "Profit", "Group 1", "Group 2", "Sensor 3", "Line 4"),
)
TITLES = (
    *("Monthly revenue", "Temperature over time", "Population growth", "Training loss", "Stock prices"),
    *("Sensor readings", "Website visits by region", "Measured response", "Energy use, TWh", "Results"),
)
X_LABELS = ("Time", "Year", "Step", "x", "Distance (km)", "Dose (mg)", "Epoch", "Days")
Y_LABELS = ("Value", "Price ($)", "Temperature (°C)", "Loss", "y", "Count", "Percent", "Signal (a.u.)")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Recipe:
    """One chart, in terms that no program owns; each draws what it can of it."""

    program: str
    index: int
    seed: int  # For what a program draws lots for itself.
    theme: int  # Picks, modulo small numbers, among the habits of a program.
    width: int  # CSS pixels; the picture has `scale` times as many.
    height: int
    scale: int
    kind: str  # One of KINDS.
    x_type: str  # "num", "date" or "cat".
    x: list[float]
    dates: list[str]  # ISO, as many as `x`.
    values: list[list[float | None]]  # One list per line, None where it has a gap.
    names: list[str]
    curve: str  # "linear", "step" or "smooth".
    line_width: float | None  # CSS pixels; None: the program's own.
    palette: list[str] | None
    color: str | None  # The one colour of all lines, where they share it.
    dashes: list[str]  # One of DASHES for each line.
    marker: str  # "none", "filled", "open" or "varied".
    grid: bool | None  # None: the program's own.
    legend: str | None
    title: str | None
    x_label: str | None
    y_label: str | None
    dark: bool
    extra: str | None  # What else is drawn: "area", "bars", "ref" (a line), "points" or "band".
    extra_values: list[float]  # Of the bars or points.
    level: float  # Of the reference line.
    low: float  # Of all values.
    high: float

    @property
    def count(self) -> int:
        """Of lines."""
        return len(self.names)

    @property
    def points(self) -> int:
        """Of each line."""
        return len(self.x)

    @property
    def dashed(self) -> bool:
        """Whether any line is."""
        return any(dash != "solid" for dash in self.dashes)

    @property
    def months(self) -> list[str]:
        """A label for every point where the x axis has categories."""
        return [MONTHS[number % 12] for number in range(self.points)]

    def choose(self, *options: Any) -> Any:
        """One of the options, as the theme has it."""
        return options[self.theme % len(options)]

    def as_json(self) -> dict[str, Any]:
        """For the pages."""
        return asdict(self) | {"count": self.count, "points": self.points, "months": self.months}


def make_recipe(program: str, index: int, seed: int = 0) -> Recipe:
    """The recipe of this number; `index` below 1000."""
    rng = np.random.default_rng((seed << 64) + zlib.crc32(program.encode()) * 1000 + index)
    # The draws below come one after another from one stream: a change of their order is another set.
    kind, points, count = _scope(rng)
    same, dark = index % 7 == 3, index % 10 == 4
    if same:
        count = max(2, min(count, 5))
    curves = _curves(rng, kind, points, count)
    x_type, x = _x_axis(rng, points)
    curve = _curve(rng, points)
    tell = str(rng.choice(["dash", "dash", "marker", "none"])) if same else None
    dashes = _dashes(rng, count, same, dashed=tell == "dash" or (not same and index % 5 == 1))
    marker = _marker(rng, points, tell)
    if marker != "none" and points > 40:
        stride = int(np.ceil(points / 30))
        x, curves = x[::stride], [y[::stride] for y in curves]
    (width, height), scale = _size(rng)
    line_width = float(rng.choice([1, 1, 1.25, 1.5, 3])) if rng.random() < 0.3 else None
    names = [str(name) for name in rng.choice(NAMES, count, replace=False)]
    chosen = _contents(rng, curves) | _colors(rng, same, dark) | _surroundings(rng, count)
    return Recipe(
        program=program,
        index=index,
        kind=kind,
        width=width,
        height=height,
        scale=scale,
        x_type=x_type,
        x=x,
        dates=_dates(len(x)),
        curve=curve,
        dashes=dashes,
        marker=marker,
        line_width=line_width,
        names=names,
        dark=dark,
        **chosen,
    )


def _scope(rng: np.random.Generator) -> tuple[str, int, int]:
    """Kind of curves, points of each and number of lines."""
    kind, points = str(rng.choice(KINDS)), int(rng.choice(POINTS))
    least = {"peaks": 100, "smooth": 40, "scurve": 40}.get(kind, 0)
    most = {"noisy": 60, "seasonal": 200, "cross": 200}.get(kind, max(POINTS))
    count = int(rng.choice(list(LINES), p=list(LINES.values())))
    return kind, min(max(points, least), most), min(count, 3) if kind == "noisy" else count


def _curves(rng: np.random.Generator, kind: str, points: int, count: int) -> list[Array]:
    t = np.linspace(0, 1, points)
    curves = [CURVES[kind](rng, t, number) for number in range(count)]
    if rng.random() < 0.6:
        factor = float(rng.choice([1, 10, 100, 1000]))
        curves = [y * factor for y in curves]
    if rng.random() < 0.35:
        least = min(y.min() for y in curves)
        curves = [y - least for y in curves]
    return curves


def _x_axis(rng: np.random.Generator, points: int) -> tuple[str, list[float]]:
    x_type = str(rng.choice(["num", "num", "date", "cat"] if points <= 12 else ["num", "num", "date"]))
    if rng.random() < 0.5:
        return x_type, [float(number) for number in range(points)]
    stretch = float(rng.choice([1, 10, 50, 100]))
    return x_type, [float(value) for value in np.round(np.linspace(0, 1, points) * stretch, 4)]


def _curve(rng: np.random.Generator, points: int) -> str:
    if rng.random() < 0.15 and points <= 100:
        return "step"
    return "smooth" if rng.random() < 0.2 and points <= 40 else "linear"


def _dashes(rng: np.random.Generator, count: int, same: bool, dashed: bool) -> list[str]:
    if not dashed:
        return ["solid"] * count
    if same or rng.random() < 0.6:
        dashes = [DASHES[number % len(DASHES)] for number in range(count)]
    else:
        dashes = ["dash" if rng.random() < 0.6 else "solid" for _ in range(count)]
    if all(dash == "solid" for dash in dashes):
        dashes[-1] = "dash"
    return dashes


def _marker(rng: np.random.Generator, points: int, tell: str | None) -> str:
    if tell == "marker":
        return "varied"
    if points <= 40 and rng.random() < 0.4 and tell is None:
        return str(rng.choice(["filled", "open", "varied"]))
    return "none"


def _size(rng: np.random.Generator) -> tuple[tuple[int, int], int]:
    size = SIZES[rng.integers(len(SIZES))]
    return size, 2 if rng.random() < 0.15 and size[0] <= 640 else 1


def _contents(rng: np.random.Generator, curves: list[Array]) -> dict[str, Any]:
    """The values, with a gap at times, and what is drawn behind the lines."""
    points = len(curves[0])
    extra = str(rng.choice(["area", "bars", "ref", "points", "band"])) if rng.random() < 0.25 else None
    if extra == "bars" and points > 60:
        extra = "ref"
    values: list[list[float | None]] = [[round(float(value), 4) for value in y] for y in curves]
    if rng.random() < 0.06 and points >= 20:
        first, length = int(rng.integers(4, points - 6)), max(2, points // 15)
        values[0][first : first + length] = [None] * length
    known = [value for y in values for value in y if value is not None]
    low, high = min(known), max(known)
    extra_values = [round(float(value), 4) for value in rng.uniform(low, high, points)]
    level = float(rng.uniform(0.25, 0.75)) * (high - low) + low
    return {"values": values, "extra": extra, "extra_values": extra_values, "level": level, "low": low, "high": high}


def _colors(rng: np.random.Generator, same: bool, dark: bool) -> dict[str, Any]:
    color = str(rng.choice(["#000000", "#000000", "#333333", "#1f77b4", "#c0392b"]))
    if dark and same:
        color = str(rng.choice(["#ffffff", "#4fc3f7"]))
    palette = PALETTES[rng.integers(len(PALETTES))]
    if same or (dark and palette is BLUES_AND_GREENS):  # Its darkest colours would be lost on a dark page.
        palette = None
    return {"color": color if same else None, "palette": list(palette) if palette else None}


def _surroundings(rng: np.random.Generator, count: int) -> dict[str, Any]:
    """Grid, legend and words."""

    def words(options: tuple[str, ...]) -> str | None:
        return str(rng.choice(options)) if rng.random() < 0.6 else None

    seed, grid = int(rng.integers(1 << 30)), (True, False, None)[rng.integers(3)]
    if count > 1:
        legend = (None, "top", "right", "right", "bottom", "inside")[rng.integers(6)]
    else:
        legend = None if rng.random() < 0.7 else "top"
    title, x_label, y_label = words(TITLES), words(X_LABELS), words(Y_LABELS)
    theme = int(rng.integers(1000))
    texts = {"title": title, "x_label": x_label, "y_label": y_label}
    return {"seed": seed, "grid": grid, "legend": legend, "theme": theme} | texts


def _dates(points: int) -> list[str]:
    days = max(1, 1400 // points) if points < 100 else 3
    first = datetime.date(2019, 1, 1)
    return [(first + datetime.timedelta(days=days * number)).isoformat() for number in range(points)]


def _walk(rng: np.random.Generator, t: Array, _: int) -> Array:
    return np.cumsum(rng.normal(0, 1, len(t))) + rng.normal(0, 3)


def _smooth(rng: np.random.Generator, t: Array, _: int) -> Array:
    waves = np.zeros_like(t)
    for number in range(1, 5):
        height = rng.normal(0, 2 / number)
        waves = waves + height * np.sin(2 * np.pi * number * t * rng.uniform(0.6, 1.2) + rng.uniform(0, 6.3))
    return waves + rng.normal(0, 1)


def _seasonal(rng: np.random.Generator, t: Array, _: int) -> Array:
    season = 3 * np.sin(2 * np.pi * t * rng.choice([2, 3, 4, 6]) + rng.uniform(0, 1.5)) * rng.uniform(0.5, 1.3)
    return season + rng.normal(0, 4) * t + rng.normal(0, 3) + rng.normal(0, 0.25, len(t))


def _scurve(rng: np.random.Generator, t: Array, _: int) -> Array:
    top, middle, slope = rng.uniform(6, 10), rng.uniform(0.25, 0.75), rng.uniform(8, 25)
    return top / (1 + np.exp(-(t - middle) * slope)) + rng.normal(0, 0.02, len(t))


def _cross(rng: np.random.Generator, t: Array, _: int) -> Array:
    return rng.uniform(-8, 8) * (t - rng.uniform(0.3, 0.7)) + rng.normal(0, 0.25, len(t)) + rng.normal(0, 0.5)


def _decay(rng: np.random.Generator, t: Array, _: int) -> Array:
    fall = rng.uniform(5, 10) * np.exp(-t * rng.uniform(1.5, 7)) + rng.uniform(0, 2)
    return fall + rng.normal(0, 1, len(t)) * rng.choice([0, 0.1, 0.25])


def _peaks(rng: np.random.Generator, t: Array, number: int) -> Array:
    peaks = np.zeros_like(t)
    for _ in range(rng.integers(2, 6)):
        height = rng.uniform(2, 9)
        peaks = peaks + height * np.exp(-(((t - rng.uniform(0.05, 0.95)) / rng.uniform(0.015, 0.08)) ** 2))
    return peaks + rng.normal(0, 0.05, len(t)) + number * rng.choice([0, 0.8])


def _noisy(rng: np.random.Generator, t: Array, _: int) -> Array:
    return rng.normal(0, 1.2, len(t)) + rng.normal(0, 3) + rng.normal(0, 3) * t


def _stocks(rng: np.random.Generator, t: Array, _: int) -> Array:
    return 50 * np.exp(np.cumsum(rng.normal(0.01, 0.06, len(t)))) * rng.uniform(0.4, 1.6)


CURVES: dict[str, Callable[[np.random.Generator, Array, int], Array]] = {
    "walk": _walk,
    "smooth": _smooth,
    "seasonal": _seasonal,
    "scurve": _scurve,
    "cross": _cross,
    "decay": _decay,
    "peaks": _peaks,
    "noisy": _noisy,
    "stocks": _stocks,
}
