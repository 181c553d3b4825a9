"""What pixels mean: values on two axes, from places whose values are known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.wire import AxisPoint, AxisRecord, CalibrationRecord

Points = NDArray[np.float64]

LEAST_RISE = 0.1
"""Of the range of an axis' values: what the fitted ones must rise or fall by at least over the same points."""

NOISE = 2.0
"""Pixels; points of an axis that lie in another order than their values by no more are as good as level."""

LEVEL = 0.05
"""Of an axis' length: points of one value that lie further apart along the axis contradict each other."""

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Scale:
    """How values lie along an axis: evenly after `forward`, which `back` undoes."""

    forward: Callable[[Points], Points]
    back: Callable[[Points], Points]


def _same(values: Points) -> Points:
    return values


SCALES: dict[str, Scale] = {
    "linear": Scale(_same, _same),
    "date": Scale(_same, _same),
    "log10": Scale(np.log10, lambda u: np.power(10.0, u)),
    "ln": Scale(np.log, np.exp),
}
"""By name; dates are seconds since 1970-01-01 UTC and lie evenly."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis: value = scale.back(normal · pixel + offset).

    Attributes:
        scale: Name in `SCALES`.
        normal: `(2,)`, scaled value per pixel, across the lines of equal value.
        offset: Scaled value at pixel (0, 0).
        known: Smallest and largest scaled value of its points.
        residual: Largest distance in pixels of one of its points from where its value lies; 0 with two points.
        worst: That point in words, as `x, point 2 (2090 at [300, 370])`.
    """

    scale: str
    normal: Points
    offset: float
    known: tuple[float, float]
    residual: float
    worst: str

    def scaled(self, pixels: Points) -> Points:
        """`(n,)`, where values lie evenly, of pixels `(n, 2)`."""
        return np.asarray(pixels @ self.normal + self.offset)

    def values(self, pixels: Points) -> Points:
        """`(n,)` of pixels `(n, 2)`."""
        with np.errstate(over="ignore"):
            return np.asarray(SCALES[self.scale].back(self.scaled(pixels)))

    def beyond(self, pixels: Points) -> NDArray[np.bool_]:
        """`(n,)`, whether a pixel lies more than one pixel beyond the axis' known points."""
        return self._is_beyond(self.scaled(pixels))

    def values_beyond(self, values: Points) -> NDArray[np.bool_]:
        """As `beyond`, of values `(n,)`."""
        return self._is_beyond(SCALES[self.scale].forward(values))

    def _is_beyond(self, u: Points) -> NDArray[np.bool_]:
        step = float(np.hypot(*self.normal))
        return np.asarray((u < self.known[0] - step) | (u > self.known[1] + step))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Both axes.

    Attributes:
        x: The one whose values are x.
        y: The other.
        record: What it was made from.
    """

    x: Axis
    y: Axis
    record: CalibrationRecord

    @property
    def residual(self) -> float:
        """Largest distance in pixels of a calibrated point from where its value lies."""
        return max(self.x.residual, self.y.residual)

    @property
    def worst(self) -> str:
        """The point that lies so far off, in words."""
        return self.x.worst if self.x.residual >= self.y.residual else self.y.worst

    def values(self, pixels: Points) -> Points:
        """`(n, 2)` x and y of pixels `(n, 2)`."""
        return np.stack([self.x.values(pixels), self.y.values(pixels)], axis=1)

    def beyond(self, pixels: Points) -> NDArray[np.bool_]:
        """`(n,)`, whether a pixel lies beyond the known points of an axis."""
        return self.x.beyond(pixels) | self.y.beyond(pixels)


def calibrate(record: CalibrationRecord) -> Calibration:
    """Fit both axes, by least squares where an axis has more than two points.

    Lines of equal x run along the y axis, and of equal y along the x axis; each axis leads through its points
    (`record.upright`: along rows and columns). So turned and skewed charts are read right, reversed ones, too.

    Raises:
        UserError: points of an axis coincide, the axes are parallel, values do not suit their scale or do not go with
            their places.
    """
    along_x, along_y = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    if not record.upright:
        along_x, along_y = _direction(record.x, "x"), _direction(record.y, "y")
    if abs(along_x[0] * along_y[1] - along_x[1] * along_y[0]) < 0.02:
        raise UserError(
            "The calibration's axes are parallel: x points must lie along the x axis, y points along the y axis."
        )
    return Calibration(_fit(record.x, along_y, "x"), _fit(record.y, along_x, "y"), record)


def seconds_of(text: str) -> float:
    """A date in ISO 8601 as seconds since 1970-01-01 UTC; UTC where it names no zone, the first of a month (1955-01).

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"[0-9]{4}-[0-9]{2}", text) else text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def date_of(seconds: float) -> str:
    """Seconds since 1970-01-01 UTC as a date in ISO 8601, to the millisecond.

    Raises:
        UserError: beyond the years 1 to 9999.
    """
    try:
        # Rounded, not cut off: so it is the same in all formats.
        moment = _EPOCH + timedelta(milliseconds=round(1e3 * seconds))
    except OverflowError:
        raise UserError(
            "A date lies beyond the years 1 to 9999: the line goes on too far beyond the calibrated points of the axis."
        ) from None
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def _direction(axis: AxisRecord, name: str) -> Points:
    """Unit vector along the axis' points."""
    pixels = np.array([point.pixel for point in axis.points], dtype=np.float64)
    centred = pixels - pixels.mean(axis=0)
    if float(np.hypot(*np.ptp(pixels, axis=0))) < 1:
        raise UserError(f"The calibration's {name} points coincide; they must lie at least a pixel apart.")
    return np.asarray(np.linalg.svd(centred)[2][0])


def _fit(axis: AxisRecord, other: Points, name: str) -> Axis:
    """Scaled value as a multiple of the distance from the other axis' direction, plus a constant."""
    across = np.array([other[1], -other[0]])
    pixels = np.array([point.pixel for point in axis.points], dtype=np.float64)
    place = pixels @ across
    scaled = _scaled(axis, name)
    if np.ptp(place) < 1:
        raise UserError(f"The calibration's {name} points coincide; they must lie at least a pixel apart.")
    slope, offset = np.polynomial.polynomial.polyfit(place - place.mean(), scaled, 1)[::-1]
    if not np.ptp(scaled) or not np.isfinite(slope):
        raise UserError(f"The calibration's {name} points have the same value; they must differ.")
    error = np.abs(scaled - slope * (place - place.mean()) - offset)
    wrong = _out_of_order(place, scaled, error)
    if wrong is not None or abs(slope) * np.ptp(place) < LEAST_RISE * np.ptp(scaled):
        said = _said(axis, name, int(error.argmax()) if wrong is None else wrong)
        raise UserError(
            f"The calibration's {name} values neither rise nor fall along the axis, see {said}; check which point has"
            " which value."
        )
    error /= abs(slope)
    residual = 0.0 if len(pixels) == 2 else float(error.max())
    constant = float(offset - slope * place.mean())
    known = (float(scaled.min()), float(scaled.max()))
    return Axis(axis.scale, slope * across, constant, known, residual, _said(axis, name, int(error.argmax())))


def _out_of_order(place: Points, scaled: Points, error: Points) -> int | None:
    """The point without which values rise or fall along the axis; None where they do.

    Of several such points, and where one alone is not enough, the one that lies farthest off.
    """
    everywhere = np.ones(len(place), bool)
    # Of two points there is no order but their own.
    if len(place) == 2 or _is_monotonic(place, scaled):
        return None
    without = [_is_monotonic(place[kept], scaled[kept]) for kept in everywhere ^ np.eye(len(place), dtype=bool)]
    return int(np.where(without if any(without) else everywhere, error, -1.0).argmax())


def _is_monotonic(place: Points, scaled: Points) -> bool:
    """Whether values rise with the place, or fall, but for what is noise."""
    length, heights = float(np.ptp(place)), float(np.ptp(scaled))
    if not length or not heights:
        return False
    # Both in lengths of the axis, upper triangle: from each point to those after it.
    order = np.argsort(place, kind="stable")
    further = np.triu(place[order] - place[order][:, None]) / length
    higher = np.triu(scaled[order] - scaled[order][:, None]) / heights
    noise = NOISE / length
    return any(
        not ((way * higher < -noise) | ((further > LEVEL) & (way * higher <= 0) & (further > noise))).any()
        for way in (1, -1)
    )


def _said(axis: AxisRecord, name: str, index: int) -> str:
    point = axis.points[index]
    value = point.value if isinstance(point.value, str) else f"{point.value:.12g}"
    return f"{name}, point {index + 1} ({value} at [{point.pixel[0]:g}, {point.pixel[1]:g}])"


def _scaled(axis: AxisRecord, name: str) -> Points:
    values = np.array([_value(point, axis.scale, f"{name}, point {k}") for k, point in enumerate(axis.points, start=1)])
    if axis.scale in ("log10", "ln") and values.min() <= 0:
        raise UserError(
            f"The calibration's {name} axis is logarithmic: its values must be above 0, unlike"
            f" {_said(axis, name, int(values.argmin()))}."
        )
    return np.asarray(SCALES[axis.scale].forward(values))


def _value(point: AxisPoint, scale: str, where: str) -> float:
    try:
        text = isinstance(point.value, str) and scale == "date"
        value = seconds_of(str(point.value)) if text else float(point.value)
        if not math.isfinite(value):
            raise ValueError
    except (ValueError, OverflowError) as error:
        kind = "a date such as 2024-05-31 or 2024-05" if scale == "date" else "a finite number"
        why = _why(str(point.value), scale, str(error))
        raise UserError(f"{where}: the value {point.value!r} is not {kind}{why}.") from None
    return value


def _why(text: str, scale: str, error: str) -> str:
    """What to do about a value that is none, or what is wrong with it; "" where nothing more is known."""
    if scale == "date":
        return f": {error}" if re.match("(year|month|day|hour|minute|second)", error) else ""
    if re.fullmatch(r"\s*[-+]?[0-9]*,[0-9]+\s*", text):
        return f"; write it with a decimal point, {text.strip().replace(',', '.')}"
    try:
        seconds_of(text)
    except (ValueError, OverflowError):
        return ""
    return "; for dates say scale: date"
