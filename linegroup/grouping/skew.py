"""Pages that were scanned or photographed askew: axes that are straight, but lean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.strokes import ink_pixels
from linegroup.sample import Field

Mask = NDArray[np.bool_]

MOST = 0.06
"""Steepest lean that is looked for, in pixels up or down per pixel along: 3.4°."""

RUN = 9
"""Ink in runs of so many pixels along an axis may be of the axis; letters and most of the curves are not."""

GAIN = 1.15
"""How much sharper the profile has to become for a page to be askew."""

LARGER = 2.0
"""A page that would need so many times the room, a sliver, stays as it is: what leans in it is no axis."""

_ENOUGH = 200
_LOOKED_AT = 30_000


def find_skew(ink: Mask) -> tuple[float, float]:
    """How much a page leans, in pixels per pixel: its rows down to the right, its columns to the right downwards.

    0 where it is upright, and where straightening would make it much larger.
    The axes of an upright chart fill few rows and columns. So of all leans that is taken for which the ink of long
    runs, moved back, has the sharpest profile (sum of squares of the rows' counts; Postl 1986).
    """
    slope, lean = _lean(ink.view(np.uint8)), _lean(cv2.transpose(ink.view(np.uint8)))
    height, width = ink.shape
    room = (height + abs(slope) * width) * (width + abs(lean) * height)
    return (slope, lean) if room <= LARGER * ink.size else (0.0, 0.0)


def straighten(field: Field, slope: float, lean: float) -> tuple[Field, NDArray[np.int64]]:
    """The field with every pixel at its place on an upright page, and where each came from: `(N,)`.

    Rows and columns are moved by whole pixels, so that no two candidates fall together. The features stay those
    of the pixels.
    """
    xs, ys = field.positions.T.astype(np.int64)
    ys = ys - np.rint(slope * xs).astype(np.int64)
    xs = xs - np.rint(lean * ys).astype(np.int64)
    left, top = min(0, int(xs.min())), min(0, int(ys.min()))
    xs, ys = xs - left, ys - top
    size = max(field.size[0] - top, int(ys.max()) + 1), max(field.size[1] - left, int(xs.max()) + 1)
    order = np.lexsort((xs, ys))
    positions = np.stack([xs, ys], axis=1).astype(np.int32)
    return replace(field, positions=positions, size=size).part(order), order


def _lean(ink: NDArray[Any]) -> float:
    """Of the rows; a step of the search moves the end of a row by one pixel."""
    width = ink.shape[1]
    runs = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((1, RUN), np.uint8))
    # What is thick is no axis: bars, bands, photographs.
    thick = cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((7, RUN), np.uint8))
    ys, xs = ink_pixels(np.asarray(runs > thick))
    if len(xs) < _ENOUGH:
        return 0.0
    some = slice(None, None, max(1, len(xs) // _LOOKED_AT))
    xs, ys = xs[some], ys[some]
    steps = int(MOST * width)
    stride = max(1, steps // 60)
    coarse = np.arange(-steps, steps + 1, stride) / width
    best = coarse[np.argmax(_sharpness(xs, ys, coarse))]
    fine = best + np.arange(-stride, stride + 1) / width
    sharpness = _sharpness(xs, ys, np.append(fine, 0.0))
    best = np.argmax(sharpness[:-1])
    return float(fine[best]) if sharpness[best] > GAIN * sharpness[-1] else 0.0


@compiled
def _sharpness(xs: NDArray[np.int64], ys: NDArray[np.int64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the rows' profile, for each slope."""
    reach = int(np.max(np.abs(slopes)) * xs.max()) + 1
    answer = np.empty(len(slopes))
    for k in range(len(slopes)):
        counts = np.zeros(ys.max() + 2 * reach + 1, dtype=np.int64)
        total = 0
        for i in range(len(xs)):
            row = ys[i] - int(np.rint(slopes[k] * xs[i])) + reach
            # The sum of squares, as it grows.
            total += 2 * counts[row] + 1
            counts[row] += 1
        answer[k] = total
    return answer
