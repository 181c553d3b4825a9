"""Axes, frames, grid and reference lines of a chart: long straight ink along rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

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


def find_structure(ink: Mask, vectors: NDArray[np.float32], neutral: Mask) -> Structure:
    """Axes and grid of a chart, and the area that they span.

    Structure has no hue (black, grey), is straight along rows or columns, thin, and about as long as the
    longest such line; dashed it may be shorter. A straight line of any colour through the whole height
    marks a position; so does a dashed one through the whole width.

    Args:
        ink: `(h, w)`, pixels that are not page.
        vectors: `(h, w, 3)`, Lab minus that of the page.
        neutral: `(h, w)`, those of the ink without hue.
    """
    border = _border(neutral)
    rows = _straight(neutral & ~border, ink)
    columns = _straight(neutral.T & ~border.T, ink.T)
    box = _plot_box(rows.ends, columns.ends, ink.shape)
    mask = (rows.mask | columns.mask.T | border) & neutral
    x0, y0, x1, y1 = box
    area = np.s_[y0 : y1 + 1, x0 : x1 + 1]
    if min(y1 - y0, x1 - x0) >= 30:
        rest = (ink & ~mask)[area]
        upright = _marks(rest.T, vectors[area].transpose(1, 0, 2), dashed=False).T
        mask[area] |= upright | _marks(rest, vectors[area], dashed=True)
    return Structure(mask, box)


def _border(neutral: Mask) -> Mask:
    """A line around the whole picture: no axis, but longer than all of them."""
    border = np.zeros_like(neutral)
    depth = max(2, round(0.015 * min(neutral.shape)))
    for view, out in ((neutral, border), (neutral.T, border.T)):
        whole = view.mean(axis=1) > 0.95
        whole[depth:-depth] = False
        out[whole] = True
    return border


def _straight(neutral: Mask, ink: Mask) -> _Rows:
    width = neutral.shape[1]
    long = _long_runs(neutral)
    line = long | _alone(neutral)
    # Inks with hue may lie over a line and hide it for a while.
    runs = _open(_close(line | (ink & ~neutral)), max(BRIDGE + 2, round(0.08 * width)))
    seen = line & runs
    # A line that is drawn through ends where it stops, not at a tick label behind it.
    solid = (long & seen).sum(axis=1) >= 0.7 * seen.sum(axis=1)
    seen &= long | ~solid[:, None]
    first, last = np.argmax(seen, axis=1), width - 1 - np.argmax(seen[:, ::-1], axis=1)
    length = np.where(seen.any(axis=1), last - first + 1, 0)
    covered = runs.sum(axis=1) / np.maximum(length, 1)
    inked = seen.sum(axis=1) / np.maximum(length, 1)
    whole = (covered > 0.6) & (inked > 0.25) & (length >= SPAN * width)
    whole &= length >= 0.8 * int(length[whole].max(initial=0))
    dashed = (covered > 0.9) & (inked > 0.25) & (inked < 0.85) & (length >= DASHED * width)
    x = np.arange(width)
    between = (x >= first[:, None] - 2) & (x <= last[:, None] + 2)
    ends = [(y, *_run_around(ink[y], first[y], last[y])) for y in np.flatnonzero(whole)]
    return _Rows((whole | dashed)[:, None] & between & neutral, np.array(ends, dtype=np.int64).reshape(-1, 3))


def _long_runs(ink: Mask) -> Mask:
    """Ink of long thin runs along rows."""
    runs = _open(ink, max(BRIDGE + 2, round(0.05 * ink.shape[1])))
    thick = cv2.morphologyEx(runs.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 1), np.uint8)) > 0
    return np.asarray(runs & ~thick)


def _alone(ink: Mask) -> Mask:
    """Ink with next to none in the rows 3 to 6 above and below it: of a dash, not of a letter."""
    density = cv2.blur(ink.astype(np.float32), (13, 4), anchor=(6, 0), borderType=cv2.BORDER_CONSTANT)
    padded = cv2.copyMakeBorder(density, 6, 6, 0, 0, cv2.BORDER_CONSTANT, value=0)
    above, below = padded[: len(ink)], padded[9 : 9 + len(ink)]
    return np.asarray(ink & (np.maximum(above, below) < 0.15))


def _close(mask: Mask) -> Mask:
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 0, 0, BRIDGE, BRIDGE, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((1, BRIDGE), np.uint8))[:, BRIDGE:-BRIDGE] > 0)


def _open(mask: Mask, length: int) -> Mask:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((1, length), np.uint8)) > 0)


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


def _marks(ink: Mask, vectors: NDArray[np.float32], *, dashed: bool) -> Mask:
    """Straight thin lines of one colour through the whole width."""
    share = ink.mean(axis=1)
    padded = np.pad(share, 6)
    beside = np.maximum(
        *(np.mean([padded[6 + sign * d : 6 + sign * d + len(ink)] for d in (3, 4, 5, 6)], axis=0) for sign in (-1, 1))
    )
    whole = (_close(ink).mean(axis=1) > 0.93) & (beside < 0.5 * share)
    if dashed:
        whole &= share < 0.8
    marks = np.zeros_like(ink)
    for y in np.flatnonzero(whole):
        colour = np.median(vectors[y][ink[y]], axis=0)
        marks[y] = ink[y] & (np.linalg.norm(vectors[y] - colour, axis=1) < 20)
    return marks
