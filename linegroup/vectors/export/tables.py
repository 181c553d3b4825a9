"""Lines as tables: their values where the axes were calibrated, else pixels."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linegroup.vectors.calibration import date_of
from linegroup.vectors.export.base import ExportOptions, Picture
from linegroup.wire import LineRecord, LinesDocument

Values = NDArray[np.float64]


def csv_long(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """A row per point: image, line, colour, part, point (from 0 in each line), x, y, extrapolated.

    x and y are values where the document has series (dates in ISO 8601), else pixels, y down.
    """
    rows = [row for picture in pictures for row in _rows(picture.document)]
    return _csv([["image", "line", "colour", "part", "point", "x", "y", "extrapolated"], *rows])


def csv_wide(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """The first column is x, the others are y of line 1, 2, …; empty where a line has no value there.

    The common x are those of all lines' points. Between its points a line is straight; between its parts and
    beyond its ends it has no value. Where a line has several values at one x (it turns back), the mean stands.
    """
    document = pictures[0].document
    series = [_values(line) for line in document.lines]
    grid = np.unique(np.concatenate([np.zeros(0), *(x for x, _, _ in series)]))
    columns = [_at(grid, x, y, parts) for x, y, parts in series]
    show_x, show_y = _shown(document, "x"), _shown(document, "y")
    head = ["x", *(f"line_{line.id}" for line in document.lines)]
    rows = [
        [show_x(x), *("" if np.isnan(column[i]) else show_y(float(column[i])) for column in columns)]
        for i, x in enumerate(grid.tolist())
    ]
    return _csv([head, *rows])


def parquet(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """The rows of `csv_long` with types; x and y are float64, or timestamps in UTC on date axes."""
    columns: dict[str, list[Any]] = {name: [] for name in ("image", "line", "colour", "part", "point", "x", "y")}
    flags: list[bool | None] = []
    for picture in pictures:
        for line in picture.document.lines:
            x, y, parts = _values(line)
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
            moments = (np.array(columns[name]) * 1e3).round().astype(np.int64)
            arrays[name] = pa.array(moments, type=pa.timestamp("ms", tz="UTC"))
        else:
            arrays[name] = pa.array(columns[name], type=pa.float64())
    arrays["extrapolated"] = pa.array(flags, type=pa.bool_())
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink)
    return sink.getvalue()


def _rows(document: LinesDocument) -> list[list[Any]]:
    rows = []
    show_x, show_y = _shown(document, "x"), _shown(document, "y")
    for line in document.lines:
        x, y, parts = _values(line)
        flags = line.series.extrapolated if line.series else [""] * len(x)
        numbers = _part_numbers(parts, len(x))
        for i, (px, py, flag) in enumerate(zip(x.tolist(), y.tolist(), flags, strict=True)):
            told = flag if flag == "" else str(flag).lower()
            rows.append([document.image.name, line.id, line.colour.hex, numbers[i], i, show_x(px), show_y(py), told])
    return rows


def _values(line: LineRecord) -> tuple[Values, Values, tuple[int, ...]]:
    """X `(n,)`, y `(n,)` and where parts begin: those of the series, else pixels."""
    if line.series is not None:
        return np.array(line.series.x), np.array(line.series.y), line.series.parts
    points = np.array(line.polyline, dtype=np.float64)
    return points[:, 0], points[:, 1], line.parts


def _part_numbers(parts: tuple[int, ...], count: int) -> list[int]:
    return [k for k, (a, b) in enumerate(pairwise((*parts, count))) for _ in range(a, b)]


def _at(grid: Values, x: Values, y: Values, parts: tuple[int, ...]) -> Values:
    """Y `(g,)` of a line at the grid; NaN where it has none."""
    total, count = np.zeros(len(grid)), np.zeros(len(grid))
    for a, b in pairwise((*parts, len(x))):
        turns = np.flatnonzero(np.diff(np.sign(np.diff(x[a:b]))) != 0) + 1
        cuts = [0, *turns.tolist(), b - a - 1]
        seen = np.zeros(len(grid), dtype=np.bool_)
        for first, last in pairwise(cuts) if b - a > 1 else [(0, 0)]:
            xs, ys = x[a + first : a + last + 1], y[a + first : a + last + 1]
            xs, ys = (xs, ys) if xs[0] <= xs[-1] else (xs[::-1], ys[::-1])
            # The point of a turn counts once.
            inside = (grid >= xs[0]) & (grid <= xs[-1]) & ~(seen & ((grid == xs[0]) | (grid == xs[-1])))
            total[inside] += np.interp(grid[inside], xs, ys)
            count[inside] += 1
            seen |= inside
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


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
