"""What pixels mean: values on two axes, from places whose values are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.wire import AxisRecord, CalibrationRecord

Points = NDArray[np.float64]

LEAST_RISE = 0.1
"""Of the range of an axis' values: what the fitted ones must rise or fall by at least over the same points."""

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
    """

    scale: str
    normal: Points
    offset: float
    known: tuple[float, float]
    residual: float

    def scaled(self, pixels: Points) -> Points:
        """`(n,)`, where values lie evenly, of pixels `(n, 2)`."""
        return np.asarray(pixels @ self.normal + self.offset)

    def values(self, pixels: Points) -> Points:
        """`(n,)` of pixels `(n, 2)`."""
        with np.errstate(over="ignore"):
            return np.asarray(SCALES[self.scale].back(self.scaled(pixels)))

    def beyond(self, pixels: Points) -> NDArray[np.bool_]:
        """`(n,)`, whether a pixel lies more than one pixel beyond the axis' known points."""
        step = float(np.hypot(*self.normal))
        u = self.scaled(pixels)
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
    """A date in ISO 8601 as seconds since 1970-01-01 UTC; UTC where it names no zone.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text)
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
    if abs(slope) * np.ptp(place) < LEAST_RISE * np.ptp(scaled):
        raise UserError(
            f"The calibration's {name} values neither rise nor fall along the axis; check which point has which value."
        )
    error = np.abs(scaled - slope * (place - place.mean()) - offset) / abs(slope)
    residual = 0.0 if len(pixels) == 2 else float(error.max())
    constant = float(offset - slope * place.mean())
    return Axis(axis.scale, slope * across, constant, (float(scaled.min()), float(scaled.max())), residual)


def _scaled(axis: AxisRecord, name: str) -> Points:
    values = []
    for point in axis.points:
        try:
            text = isinstance(point.value, str) and axis.scale == "date"
            value = seconds_of(str(point.value)) if text else float(point.value)
            if not math.isfinite(value):
                raise ValueError(value)
            values.append(value)
        except ValueError:
            kind = "a date such as 2024-05-31" if axis.scale == "date" else "a finite number"
            raise UserError(f"The calibration's {name} value {point.value!r} is not {kind}.") from None
    if axis.scale in ("log10", "ln") and min(values) <= 0:
        raise UserError(f"The calibration's {name} axis is logarithmic: its values must be above 0, not {min(values)}.")
    return np.asarray(SCALES[axis.scale].forward(np.array(values)))
