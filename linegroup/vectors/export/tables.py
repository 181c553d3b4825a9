"""Lines as tables: their values where the axes were calibrated, else pixels."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.vectors.calibration import SCALES, Scale, calibrate, date_of
from linegroup.vectors.export.base import ExportOptions, Picture
from linegroup.vectors.runs import by_width, runs_of
from linegroup.wire import LineRecord, LinesDocument

Values = NDArray[np.float64]


def csv_long(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """A row per point: image, line, colour, part, point (from 0 in each line), x, y, extrapolated.

    x and y are values where the document is calibrated (dates in ISO 8601), else pixels, y down. A line of which the
    sampling left no point has no rows.
    """
    rows = [row for picture in pictures for row in _rows(picture.document)]
    return _csv([["image", "line", "colour", "part", "point", "x", "y", "extrapolated"], *rows])


def csv_wide(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """The first column is x, the others are y of line 1, 2, …; empty where a line has no value there.

    Columns are called as their lines, line_1, line_2, … where these have no name or share it.

    The common x are those of all lines' points, each once. Between its points a line is straight in the picture;
    between its parts and beyond its ends it has no value, nor where it is extrapolated: beyond the calibrated points of
    an axis. A cell holds one value: where a line turns back and has
    several, that of its longest run in x (of equal ones the first) stands; `csv_long` has all of them.
    """
    document = pictures[0].document
    series = [_values(line, document) for line in document.lines]
    series = [(_as_shown(x, document, "x"), y, parts) for x, y, parts in series]
    grid = np.unique(np.concatenate([np.zeros(0), *(x for x, _, _ in series)]))
    along, up = _scale(document, "x").forward, _scale(document, "y")
    columns = [up.back(_at(along(grid), along(x), up.forward(y), parts)) for x, y, parts in series]
    columns = [
        np.where(_is_extrapolated(grid, column, x, line, document), np.nan, column)
        for column, (x, _, _), line in zip(columns, series, document.lines, strict=True)
    ]
    show_x, show_y = _shown(document, "x"), _shown(document, "y")
    head = ["x", *_heads(document)]
    rows = [
        [show_x(x), *("" if np.isnan(column[i]) else show_y(float(column[i])) for column in columns)]
        for i, x in enumerate(grid.tolist())
    ]
    return _csv([head, *rows])


def _heads(document: LinesDocument) -> list[str]:
    """Names of the columns of y, each once."""
    plain = [f"line_{line.id}" for line in document.lines]
    own = [line.name or name for line, name in zip(document.lines, plain, strict=True)]
    taken = Counter(["x", *own, *(name for name, other in zip(plain, own, strict=True) if name != other)])
    return [name if taken[name] == 1 else other for name, other in zip(own, plain, strict=True)]


def parquet(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """The rows of `csv_long` with types; x and y are float64, or timestamps in UTC on date axes.

    Raises:
        UserError: documents with values and without, or with dates and numbers on one axis, or a date that is none.
    """
    _check_agreement([picture.document for picture in pictures])
    columns: dict[str, list[Any]] = {name: [] for name in ("image", "line", "colour", "part", "point", "x", "y")}
    flags: list[bool | None] = []
    for picture in pictures:
        for line in picture.document.lines:
            x, y, parts = _values(line, picture.document)
            count = len(x)
            columns["image"] += [picture.document.image.name] * count
            columns["line"] += [line.id] * count
            columns["colour"] += [line.colour.hex] * count
            columns["part"] += _part_numbers(parts, count)
            columns["point"] += range(count)
            columns["x"] += x.tolist()
            columns["y"] += y.tolist()
            flags += list(line.series.extrapolated) if line.series else [None] * count
    types = {"image": pa.string(), "line": pa.int32(), "colour": pa.string(), "part": pa.int32(), "point": pa.int32()}
    arrays = {name: pa.array(columns[name], type=kind) for name, kind in types.items()}
    for name in ("x", "y"):
        if any(_is_date(picture.document, name) for picture in pictures):
            arrays[name] = pa.array(_moments(columns[name]), type=pa.timestamp("ms", tz="UTC"))
        else:
            arrays[name] = pa.array(columns[name], type=pa.float64())
    arrays["extrapolated"] = pa.array(flags, type=pa.bool_())
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink)
    return sink.getvalue()


def _check_agreement(documents: list[LinesDocument]) -> None:
    """One column holds one kind of thing."""
    first = documents[0]
    for document in documents[1:]:
        one, other = first.image.name, document.image.name
        if (first.calibration is None) != (document.calibration is None):
            one, other = (one, other) if first.calibration else (other, one)
            raise UserError(f"{one} has values and {other} pixels, and no column can hold both; calibrate all or none.")
        for name in ("x", "y"):
            if _is_date(first, name) != _is_date(document, name):
                one, other = (one, other) if _is_date(first, name) else (other, one)
                raise UserError(
                    f"{name} is a date in {one} and a number in {other}, and no column can hold both; write them apart."
                )


def _moments(seconds: list[float]) -> NDArray[np.int64]:
    """Milliseconds since 1970, of dates only that have a name."""
    for edge in (min(seconds), max(seconds)) if seconds else ():
        date_of(edge)
    return np.rint(1e3 * np.array(seconds)).astype(np.int64)


def _rows(document: LinesDocument) -> list[list[Any]]:
    rows = []
    show_x, show_y = _shown(document, "x"), _shown(document, "y")
    for line in document.lines:
        x, y, parts = _values(line, document)
        flags = line.series.extrapolated if line.series else [""] * len(x)
        numbers = _part_numbers(parts, len(x))
        for i, (px, py, flag) in enumerate(zip(x.tolist(), y.tolist(), flags, strict=True)):
            told = flag if flag == "" else str(flag).lower()
            rows.append([document.image.name, line.id, line.colour.hex, numbers[i], i, show_x(px), show_y(py), told])
    return rows


def _values(line: LineRecord, document: LinesDocument) -> tuple[Values, Values, tuple[int, ...]]:
    """X `(n,)`, y `(n,)` and where parts begin: those of the series, pixels where nothing is calibrated, else none."""
    if line.series is not None:
        return np.array(line.series.x), np.array(line.series.y), line.series.parts
    if document.calibration is not None:
        return np.zeros(0), np.zeros(0), ()
    points = np.array(line.polyline, dtype=np.float64)
    return points[:, 0], points[:, 1], line.parts


def _part_numbers(parts: tuple[int, ...], count: int) -> list[int]:
    return [k for k, (a, b) in enumerate(pairwise((*parts, count))) for _ in range(a, b)]


def _at(grid: Values, x: Values, y: Values, parts: tuple[int, ...]) -> Values:
    """Y `(g,)` of a line at the grid; NaN where it has none. All as it lies in the picture: logarithms on such axes."""
    column = np.full(len(grid), np.nan)
    if not len(x):
        return column
    curves = [(x[a:b], y[a:b, None]) for a, b in pairwise((*parts, len(x)))]
    # The longest run is written last, over the others.
    for run in reversed(by_width(runs_of(curves))):
        read = run.is_read(grid)
        column[read] = run.at(grid[read])[:, 0]
    return column


def _is_extrapolated(
    grid: Values, column: Values, x: Values, line: LineRecord, document: LinesDocument
) -> NDArray[np.bool_]:
    """`(g,)`, whether a line's values at the grid lie beyond the calibrated points of an axis.

    At its own points x, as the series says; between these they are read as the series is.
    """
    if document.calibration is None or line.series is None:
        return np.zeros(len(grid), bool)
    axes = calibrate(document.calibration)
    beyond = axes.x.values_beyond(grid) | axes.y.values_beyond(column)
    marked, plain = (x[np.array(line.series.extrapolated) == flag] for flag in (True, False))
    # Where a line turns back, one x may have points of both kinds: then what is computed stands.
    only = np.isin(grid, marked) ^ np.isin(grid, plain)
    return np.asarray(np.where(only, np.isin(grid, marked), beyond))


def _scale(document: LinesDocument, name: str) -> Scale:
    return SCALES["linear" if document.calibration is None else getattr(document.calibration, name).scale]


def _as_shown(values: Values, document: LinesDocument, name: str) -> Values:
    """Values as they are written: those that differ in rounding only are the same."""
    if _is_date(document, name):
        return np.round(values, 3)
    return np.array([float(_number(value)) for value in values.tolist()])


def _is_date(document: LinesDocument, name: str) -> bool:
    return document.calibration is not None and getattr(document.calibration, name).scale == "date"


def _shown(document: LinesDocument, name: str) -> Any:
    return date_of if _is_date(document, name) else _number


def _number(value: float) -> str:
    """As far as pixels can tell: 0.1 + 0.2 is 0.3."""
    return f"{value:.12g}"


def _csv(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
