"""Lines as data series: their values at the points that are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.vectors.calibration import Calibration, date_of
from linegroup.vectors.runs import runs_of
from linegroup.wire import LineRecord, LinesDocument, SeriesRecord

Points = NDArray[np.float64]

MOST = 1_000_000
"""More points of one line are refused: a step may be a thousand times too small by mistake."""

STEPS = "on a date axis seconds (a day is 86400), or 1d, 1mo, 1y; on a log axis decades"
"""What a step counts where it is not in units of x."""

_SECONDS = {"": 1, "min": 60, "h": 3600, "d": 86400}
_MONTHS = {"mo": 1, "y": 12}
_CALENDAR = re.compile(r"([0-9]{1,9})(min|h|d|mo|y)")


@dataclass(frozen=True)
class Sampling:
    """Where lines are read.

    Attributes:
        kind: Name in `SAMPLINGS`.
        amount: Step or number, as the kind wants it.
        unit: Of a step on date axes: min, h, d, mo or y; "": as x counts.
    """

    kind: str = "native"
    amount: float = 0.0
    unit: str = ""


def parse_sampling(text: str) -> Sampling:
    """`native`, `step=0.5`, on date axes also `step=2mo`, or `count=200`.

    Raises:
        UserError: something else, or an amount that is not above 0, or more than `MOST` points.
    """
    kind, _, amount = text.partition("=")
    calendar = _CALENDAR.fullmatch(amount) if kind == "step" else None
    amount, unit = (calendar[1], calendar[2]) if calendar else (amount, "")
    try:
        number = float(amount) if amount else 0.0
    except ValueError:
        number = -1.0
    right = not amount if kind == "native" else 0 < number < float("inf")
    if kind not in SAMPLINGS or not right or (kind == "count" and number != int(number)):
        raise UserError(
            f"Sampling {text!r} is unknown: native (their own points), step=0.5 (in units of x; {STEPS}) or count=200"
            " (points at even distances along each part, a dot has one)."
        )
    if kind == "count" and number > MOST:
        raise UserError(f"Sampling {text!r} would read more than {MOST:,} points of one line; take fewer.")
    return Sampling(kind, number, unit)


def check_sampling(sampling: Sampling, calibration: Calibration) -> None:
    """Whether lines can be read so on these axes.

    Raises:
        UserError: a step is of the calendar, and x is no date.
    """
    if sampling.unit and calibration.x.scale != "date":
        raise UserError(
            f"A step of {sampling.amount:.0f}{sampling.unit} is for dates, and the scale of x is"
            f" {calibration.x.scale}; give a number, {STEPS}."
        )


def with_series(document: LinesDocument, calibration: Calibration, sampling: Sampling | None = None) -> LinesDocument:
    """The document with the values of its lines.

    A line is read where it is: nothing is continued beyond its ends, and nothing is put between its parts.

    Raises:
        UserError: a line would have more than `MOST` points, or a value beyond all numbers.
    """
    sampling = sampling or Sampling()
    lines = tuple(line.model_copy(update={"series": series_of(line, calibration, sampling)}) for line in document.lines)
    return document.model_copy(update={"lines": lines, "calibration": calibration.record})


def series_of(line: LineRecord, calibration: Calibration, sampling: Sampling) -> SeriesRecord | None:
    """The values of one line; None where the sampling leaves none of its points.

    Raises:
        UserError: see `with_series` and `check_sampling`.
    """
    check_sampling(sampling, calibration)
    curves = [np.array(curve, dtype=np.float64) for curve in line.curves]
    if line.closed:
        curves = [np.concatenate([points, points[:1]]) for points in curves]
    parts = [part for part in SAMPLINGS[sampling.kind](curves, calibration, sampling) if len(part)]
    if not parts:
        return None
    pixels = np.concatenate(parts)
    if len(pixels) > MOST:
        raise UserError(f"Line {line.id} would have {len(pixels)} points; take a larger step.")
    values = calibration.values(pixels)
    if not np.isfinite(values).all():
        raise UserError(f"Line {line.id} has values beyond all numbers: check the calibration.")
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    return SeriesRecord(
        x=tuple(values[:, 0].tolist()),
        y=tuple(values[:, 1].tolist()),
        parts=tuple(starts.tolist()),
        extrapolated=tuple(calibration.beyond(pixels).tolist()),
    )


def _native(curves: list[Points], _calibration: Calibration, _sampling: Sampling) -> list[Points]:
    """The polyline's own points."""
    return curves


def _step(curves: list[Points], calibration: Calibration, sampling: Sampling) -> list[Points]:
    """Where x is a multiple of the step (on logarithmic axes: its logarithm), on each run of rising or falling x.

    Steps of the calendar are multiples, too: of months from January of the year 0 on, of days, hours and minutes from
    1970 on, in UTC.

    A line that is a function has one point for each x: see `linegroup.vectors.runs`.
    """
    read: list[list[Points]] = [[] for _ in curves]
    turns: set[tuple[float, ...]] = set()
    for run in runs_of([(calibration.x.scaled(points), points) for points in curves]):
        grid = _grid(run.low, run.high, sampling)
        grid = grid[run.is_read(grid)]
        found = run.at(grid if run.along[0] <= run.along[-1] else grid[::-1])
        # Where two runs meet in a turn, it is a point of the first.
        ends = {tuple(end) for end in run.points[[0, -1]].tolist()}
        read[run.curve].append(found[[tuple(point) not in turns for point in found.tolist()]])
        turns |= ends
    return [np.concatenate(parts) if parts else np.zeros((0, 2)) for parts in read]


def _grid(low: float, high: float, sampling: Sampling) -> Points:
    """Multiples of the step from `low` to `high`."""
    if sampling.unit in _MONTHS:
        return _months(low, high, int(sampling.amount) * _MONTHS[sampling.unit])
    step = sampling.amount * _SECONDS[sampling.unit]
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    # Of the smallest steps both are infinite, and no number lies between them.
    if not (np.isfinite([first, last]).all() and last - first < MOST):
        raise UserError(
            f"A step of {sampling.amount:.15g}{sampling.unit} would read more than {MOST:,} points of one line; take a"
            f" larger step ({STEPS})."
        )
    return np.asarray(np.clip((first + np.arange(max(0, int(last - first) + 1))) * step, low, high))


def _months(low: float, high: float, step: int) -> Points:
    """First moments of every so many months, counted from January of the year 0, from `low` to `high`."""
    for edge in (low, high):
        date_of(edge)
    # The calendar counts from 1970 here, in whole seconds.
    since = 12 * 1970
    first, last = (
        np.datetime64(int(np.floor(edge)), "s").astype("datetime64[M]").astype(int) for edge in (low, high + 1e-3)
    )
    months = np.arange(-(-(first + since) // step) * step, last + since + 1, step) - since
    moments = months.astype("datetime64[M]").astype("datetime64[s]").astype(np.float64)
    # A millisecond is what dates are written to: a line that ends there ends at the start of the month.
    return np.asarray(np.clip(moments[(moments >= low - 1e-3) & (moments <= high + 1e-3)], low, high))


def _count(curves: list[Points], _calibration: Calibration, sampling: Sampling) -> list[Points]:
    """So many points at even distances along each part, its ends among them; one of a dot."""
    count = sampling.amount
    if count * sum(len(points) > 1 for points in curves) > MOST:
        raise UserError(f"{count:.0f} points of each part are more than {MOST:,} of one line; take fewer.")
    return [_spread(points, int(count)) for points in curves]


def _spread(points: Points, count: int) -> Points:
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    if not along[-1]:
        return points[:1]
    at = np.linspace(0, along[-1], count) if count > 1 else np.array([along[-1] / 2])
    return np.stack([np.interp(at, along, points[:, d]) for d in range(2)], axis=1)


SAMPLINGS: dict[str, Callable[[list[Points], Calibration, Sampling], list[Points]]] = {
    "native": _native,
    "step": _step,
    "count": _count,
}
"""By name: the parts of a line, each `(n, 2)` in pixels, calibration, sampling -> the points to read of each part."""
