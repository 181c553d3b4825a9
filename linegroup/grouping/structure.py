"""Axes, frames, grid and reference lines of a chart: long straight ink along rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.inks import Tones, lengths

Mask = NDArray[np.bool_]

BRIDGE = 13
"""Gaps shorter than this many pixels belong to a dashed or crossed straight line."""

SPAN = 0.3
"""A chart's axes span at least this share of the picture."""

DASHED = 0.15
"""A straight dashed line without hue is a mark from this share of the picture on."""


@dataclass(frozen=True, eq=False)
class Structure:
    """What carries the lines of a chart and is none of them.

    Attributes:
        mask: `(h, w) bool`, axes, frame, grid, reference lines.
        box: Plot area `(x0, y0, x1, y1)`, inclusive; sides that nothing marks are the picture's.
    """

    mask: Mask
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Straight lines along rows.

    Attributes:
        mask: `(h, w)`, their pixels.
        ends: `(n, 3)` row, first and last column of each one that is as long as an axis.
    """

    mask: Mask
    ends: NDArray[np.int64]


def find_structure(ink: Mask, vectors: Tones | NDArray[np.float32], neutral: Mask) -> Structure:
    """Axes and grid of a chart, and the area that they span.

    Structure has no hue (black, grey), is straight along rows or columns, thin, and about as long as the
    longest such line; dashed it may be shorter. A straight line of any colour through the whole height
    marks a position; so does a dashed one through the whole width.

    Args:
        ink: `(h, w)`, pixels that are not page.
        vectors: `(h, w, 3)`, Lab minus that of the page; asked for at pixels of the ink only.
        neutral: `(h, w)`, those of the ink without hue.
    """
    border = _border(neutral)
    plain = neutral & ~border
    rows = _straight(plain, ink)
    columns = _straight(_transposed(plain), _transposed(ink))
    box = _plot_box(rows.ends, columns.ends, ink.shape)
    mask = (rows.mask | _transposed(columns.mask) | border) & neutral
    x0, y0, x1, y1 = box
    area = np.s_[y0 : y1 + 1, x0 : x1 + 1]
    if min(y1 - y0, x1 - x0) >= 30:
        rest = (ink & ~mask)[area]
        upright = _marks(_transposed(rest), lambda x, ys: vectors[y0 + ys, x0 + x], dashed=False)
        level = _marks(rest, lambda y, xs: vectors[y0 + y, x0 + xs], dashed=True)
        mask[area] |= _transposed(upright) | level
    return Structure(mask, box)


def _border(neutral: Mask) -> Mask:
    """A line around the whole picture: no axis, but longer than all of them."""
    border = np.zeros_like(neutral)
    depth = max(2, round(0.015 * min(neutral.shape)))
    for view, out in ((neutral, border), (neutral.T, border.T)):
        for y in {*range(len(view))[:depth], *range(len(view))[-depth:]}:
            out[y] |= np.count_nonzero(view[y]) / view.shape[1] > 0.95
    return border


def _straight(neutral: Mask, ink: Mask) -> _Rows:
    width = neutral.shape[1]
    long = _long_runs(neutral)
    line = long | _alone(neutral)
    mask = np.zeros_like(neutral)
    # Less ink in a row than this is no straight line, however it lies.
    rows = np.flatnonzero(_counts(line) >= int(0.25 * DASHED * width))
    if not len(rows):
        return _Rows(mask, np.zeros((0, 3), dtype=np.int64))
    long, line, below = long[rows], line[rows], neutral[rows]
    # Inks with hue may lie over a line and hide it for a while.
    runs = _runs(line | (ink[rows] & ~below), BRIDGE, max(BRIDGE + 2, round(0.08 * width)))
    seen = line & runs
    # A line that is drawn through ends where it stops, not at a tick label behind it.
    solid = _counts(long & seen) >= 0.7 * _counts(seen)
    seen &= long | ~solid[:, None]
    first, last = np.argmax(seen, axis=1), width - 1 - np.argmax(seen[:, ::-1], axis=1)
    length = np.where(seen.any(axis=1), last - first + 1, 0)
    covered = _counts(runs) / np.maximum(length, 1)
    inked = _counts(seen) / np.maximum(length, 1)
    whole = (covered > 0.6) & (inked > 0.25) & (length >= SPAN * width)
    whole &= length >= 0.8 * int(length[whole].max(initial=0))
    dashed = (covered > 0.9) & (inked > 0.25) & (inked < 0.85) & (length >= DASHED * width)
    x = np.arange(width)
    between = (x >= first[:, None] - 2) & (x <= last[:, None] + 2)
    mask[rows] = (whole | dashed)[:, None] & between & below
    ends = [(rows[k], *_run_around(ink[rows[k]], first[k], last[k])) for k in np.flatnonzero(whole)]
    return _Rows(mask, np.array(ends, dtype=np.int64).reshape(-1, 3))


def _long_runs(ink: Mask) -> Mask:
    """Ink of long thin runs along rows."""
    runs = _runs(ink, 1, max(BRIDGE + 2, round(0.05 * ink.shape[1])))
    thick = cv2.morphologyEx(runs.view(np.uint8), cv2.MORPH_OPEN, np.ones((7, 1), np.uint8)).view(np.bool_)
    return np.asarray(runs & ~thick)


def _alone(ink: Mask) -> Mask:
    """Ink with next to none in the rows 3 to 6 above and below it: of a dash, not of a letter."""
    window = (13, 4)
    number = cv2.boxFilter(
        ink.view(np.uint8), -1, window, anchor=(6, 0), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    few = np.ones((len(ink) + 12, ink.shape[1]), dtype=np.bool_)
    few[6:-6] = number < 0.15 * window[0] * window[1]
    return np.asarray(ink & few[: len(ink)] & few[9 : 9 + len(ink)])


def _transposed(mask: Mask) -> Mask:
    return np.asarray(cv2.transpose(mask.view(np.uint8)), dtype=np.uint8).view(np.bool_)


def _counts(mask: Mask) -> NDArray[np.int64]:
    """`(h,)`, pixels in each row."""
    return np.asarray(cv2.reduce(mask.view(np.uint8), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0], dtype=np.int64)


def _runs(mask: Mask, gap: int, length: int) -> Mask:
    """The rows' runs with gaps shorter than `gap` filled, without those shorter than `length`.

    As OpenCV closes and opens: runs go on beyond the picture, and an even length moves them by a pixel.
    """
    runs = np.zeros_like(mask)
    _write_runs(np.ascontiguousarray(mask).view(np.uint8), gap, length, runs.view(np.uint8))
    return runs


@compiled
def _write_runs(mask: NDArray[np.uint8], gap: int, length: int, runs: NDArray[np.uint8]) -> None:
    height, width = mask.shape
    middle, shift = length // 2, 1 - length % 2
    for y in range(height):
        x = 0
        while x < width:
            if mask[y, x] == 0:
                x += 1
                continue
            first, past = x, x + 1
            x += 1
            while x < width and x - past < gap:
                if mask[y, x]:
                    past = x + 1
                x += 1
            left = first + middle if first else 0
            right = past - length + middle if past < width else width - 1
            if left <= right:
                runs[y, first + shift if first else 0 : min(past + shift, width)] = 1


def _run_around(row: Mask, first: int, last: int) -> tuple[int, int]:
    """First and last column of a straight line that goes on under other ink at its ends."""
    page = np.flatnonzero(~row)
    before, after = page[page < first], page[page > last]
    return int(before.max(initial=-1)) + 1, int(after.min(initial=len(row))) - 1


def _plot_box(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    height, width = shape[:2]
    x0, y0, x1, y1 = 0, 0, width - 1, height - 1
    if len(rows):
        x0, x1 = int(rows[:, 1].min()), int(rows[:, 2].max())
    if len(columns):
        y0, y1 = int(columns[:, 1].min()), int(columns[:, 2].max())
    # Only one direction is drawn: its outermost line is the axis if it lies on the axis' side.
    if len(rows) and not len(columns) and rows[:, 0].max() > 0.6 * height:
        y1 = int(rows[:, 0].max())
    if len(columns) and not len(rows) and columns[:, 0].min() < 0.4 * width:
        x0 = int(columns[:, 0].min())
    return x0, y0, x1, y1


def _marks(ink: Mask, colours: Callable[[int, NDArray[np.int64]], NDArray[np.float32]], *, dashed: bool) -> Mask:
    """Straight thin lines of one colour through the whole width; `colours` are those of columns of a row."""
    width = ink.shape[1]
    share = _counts(ink) / width
    padded = np.pad(share, 6)
    beside = np.maximum(
        *(np.mean([padded[6 + sign * d : 6 + sign * d + len(ink)] for d in (3, 4, 5, 6)], axis=0) for sign in (-1, 1))
    )
    rows = np.flatnonzero((beside < 0.5 * share) & ((share < 0.8) if dashed else True))
    marks = np.zeros_like(ink)
    if len(rows):
        rows = rows[_counts(_runs(ink[rows], BRIDGE, 1)) / width > 0.93]
    for y in rows.tolist():
        xs = np.flatnonzero(ink[y])
        own = colours(y, xs)
        marks[y, xs] = lengths(own - np.median(own, axis=0)) < 20
    return marks
