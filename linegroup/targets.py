"""What a picture's lines are, pixel by pixel: derived from the vectors, drawn by one rule.

The rule: a pixel belongs to a line when its centre lies within thickness/2 of the centre line (round
ends and joins). Ties, that is centres at exactly that distance, belong to the line, up to rounding in
float64 (1e-9 pixels).

The loops are compiled at their first use, and kept beside this file or in the user's cache folder
(`NUMBA_CACHE_DIR` names another); where no folder can be written, each process compiles for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from linegroup.config import DataConfig
from linegroup.errors import UserError
from linegroup.sample import Instance, Sample

MOST_LINES = 65_535
"""Labels are 16 bits wide."""

_TIE = 1e-9

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Machine code that releases the interpreter; kept on disk where that is possible."""
    compiled: Any
    try:
        compiled = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # what numba raises where no folder can be written: read-only images, users without a home
        compiled = njit(nogil=True)(function)
    return cast(_Function, compiled)


@dataclass(frozen=True, eq=False)
class Targets:
    """Per-pixel truth of one picture. What is derived is computed when first asked for.

    Attributes:
        labels: `(h, w) uint16`, 0 = none, else the number of the topmost line there.
        coverage: `(h, w) uint8`, how many lines cover the pixel, at most 255.
        ignore: `(h, w) bool`, where there is no truth.
        count: K, number of lines, those without pixels included.
    """

    labels: NDArray[np.uint16]
    coverage: NDArray[np.uint8]
    ignore: NDArray[np.bool_]
    count: int

    @cached_property
    def foreground(self) -> NDArray[np.bool_]:
        """`(h, w)`: on at least one line."""
        return self.coverage > 0

    @cached_property
    def crossing(self) -> NDArray[np.bool_]:
        """`(h, w)`: on several lines."""
        return self.coverage > 1

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """`(h, w)`: on exactly one line, and the truth is known."""
        valid: NDArray[np.bool_] = (self.coverage == 1) & ~self.ignore
        return valid


def _trained_labels(targets: Targets) -> NDArray[np.int32]:
    return np.where(targets.valid, targets.labels, 0).astype(np.int32)


TARGETS: dict[str, Callable[[Targets], NDArray[Any]]] = {
    "labels": _trained_labels,
    "foreground": lambda targets: targets.foreground,
    "crossing": lambda targets: targets.crossing,
    "coverage": lambda targets: targets.coverage,
    "certain": lambda targets: ~targets.ignore,
}
"""What a head may need: `(h, w)` each. `labels` is 0 wherever a pixel is not on exactly one line."""


def draw_targets(sample: Sample, config: DataConfig | None = None) -> Targets:
    """Targets of a sample's lines; line k of `sample.instances` (category chosen) has label k + 1.

    Raises:
        UserError: more lines than labels have numbers.
    """
    lines = _lines_of(sample, config)
    order = np.argsort([line.z for line in lines], kind="stable")
    indices, starts = _rasterize([lines[k] for k in order], sample.size, config or DataConfig())
    height, width = sample.size
    labels = np.zeros(height * width, dtype=np.uint16)
    coverage = np.zeros(height * width, dtype=np.uint8)
    _paint(indices, starts, (order + 1).astype(np.uint16), labels, coverage)
    return Targets(labels.reshape(height, width), coverage.reshape(height, width), _draw_ignore(sample), len(lines))


def line_pixels(sample: Sample, config: DataConfig | None = None) -> list[NDArray[np.int64]]:
    """The pixels of each line, crossings included: flat raster indices `(n_k,)`, ascending, no doubles."""
    indices, starts = _rasterize(_lines_of(sample, config), sample.size, config or DataConfig())
    return [np.sort(part) for part in np.split(indices, starts[1:-1])] if len(starts) > 1 else []


def select_category(sample: Sample, category: str | None) -> Sample:
    """The sample with only the lines of that category; None: all."""
    if category is None:
        return sample
    return replace(sample, instances=tuple(line for line in sample.instances if line.category == category))


def with_thickness(sample: Sample, config: DataConfig) -> Sample:
    """The sample with a width for every line: `config.thickness` where a line brings none.

    Before a sample is zoomed, so that the drawn width grows with the picture.
    """
    if all(line.thickness is not None for line in sample.instances):
        return sample
    lines = (line if line.thickness else replace(line, thickness=config.thickness) for line in sample.instances)
    return replace(sample, instances=tuple(lines))


def _lines_of(sample: Sample, config: DataConfig | None) -> tuple[Instance, ...]:
    lines = select_category(sample, config.category if config else None).instances
    if len(lines) > MOST_LINES:
        raise UserError(f"Sample {sample.id} has {len(lines)} lines; at most {MOST_LINES} can be drawn.")
    return lines


def _rasterize(
    lines: list[Instance] | tuple[Instance, ...], size: tuple[int, int], config: DataConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of all lines one after another, and where each begins: `(sum n_k,)`, `(K + 1,)`."""
    if not lines:
        return np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    segments = [_segments(line) for line in lines]
    radii = [max(line.thickness or config.thickness, config.min_thickness) / 2 for line in lines]
    ends = np.cumsum([0, *(len(part) for part in segments)])
    pixels, starts = _fill(np.concatenate(segments), ends, np.array(radii), size[0], size[1])
    return pixels, starts


def _segments(line: Instance) -> NDArray[np.float64]:
    """Segments `(m, 4) float64` x0, y0, x1, y1; a part of one point is a segment of no length."""
    rows = []
    for part in line.part_arrays():
        points = np.concatenate([part, part[:1]]) if line.closed and len(part) > 2 else part
        first, last = (points[:-1], points[1:]) if len(points) > 1 else (points, points)
        rows.append(np.concatenate([first, last], axis=1))
    return np.concatenate(rows).astype(np.float64)


@_compiled
def _row_interval(
    x0: float, dx: float, dy: float, across: float, along: float, half: float, below: float, squared: float
) -> tuple[float, float]:
    """The x interval of the points near a segment, in the row `below` its start; empty when low > high.

    A segment's neighbourhood (a capsule) is convex, so a row cuts it in one interval: the hull of what
    the row cuts from the two end discs, and from the rectangle between them. The rectangle is where the
    strip along the segment meets the strip across it.

    Args:
        x0: Start of the segment.
        dx: From its start to its end.
        dy: Likewise.
        across: dx / dy, or 0.
        along: squared length / dx, or 0.
        half: Half of what a row cuts from the strip along the segment; 0 for a level one.
        below: y of the row minus that of the start.
        squared: Radius, squared.
    """
    low, high = np.inf, -np.inf
    rest = squared - below * below
    if rest >= 0:
        reach = np.sqrt(rest)
        low, high = x0 - reach, x0 + reach
    rest = squared - (below - dy) * (below - dy)
    if rest >= 0:
        reach = np.sqrt(rest)
        low, high = min(low, x0 + dx - reach), max(high, x0 + dx + reach)
    left, right = -np.inf, np.inf
    if dy != 0:
        left, right = x0 + below * across - half, x0 + below * across + half
    elif below * below > squared or dx == 0:
        return low, high
    if dx != 0:
        first = x0 - below * dy / dx
        left, right = max(left, min(first, first + along)), min(right, max(first, first + along))
    elif below * dy < 0 or below * below > dy * dy:
        return low, high
    if left <= right:
        low, high = min(low, left), max(high, right)
    return low, high


@_compiled
def _fill(
    segments: NDArray[np.float64], ends: NDArray[np.int64], radii: NDArray[np.float64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of every line, each once per line. Work: rows that the segments touch, and their pixels."""
    count = len(radii)
    stamp = np.zeros(height * width, dtype=np.int32)  # number of the last line drawn there, from 1
    pixels = np.empty(max(1024, min(8 * len(segments), height * width)), dtype=np.int64)
    starts = np.zeros(count + 1, dtype=np.int64)
    n = 0
    for k in range(count):
        radius = radii[k] + _TIE
        for i in range(ends[k], ends[k + 1]):
            x0, y0 = segments[i, 0], segments[i, 1]
            dx, dy = segments[i, 2] - x0, segments[i, 3] - y0
            across = dx / dy if dy != 0 else 0.0
            along = (dx * dx + dy * dy) / dx if dx != 0 else 0.0
            half = radius * np.sqrt(1 + across * across) if dy != 0 else 0.0
            first = max(0.0, np.ceil(min(y0, y0 + dy) - radius))
            last = min(height - 1.0, np.floor(max(y0, y0 + dy) + radius))
            for y in range(int(first), int(last) + 1):
                low, high = _row_interval(x0, dx, dy, across, along, half, y - y0, radius * radius)
                if low > high:
                    continue
                a, b = int(max(0.0, np.ceil(low))), int(min(width - 1.0, np.floor(high)))
                if n + b - a + 1 > len(pixels):
                    larger = np.empty(2 * len(pixels) + width, dtype=np.int64)
                    larger[:n] = pixels[:n]
                    pixels = larger
                for p in range(y * width + a, y * width + b + 1):
                    if stamp[p] != k + 1:
                        stamp[p] = k + 1
                        pixels[n] = p
                        n += 1
        starts[k + 1] = n
    return pixels[:n].copy(), starts


@_compiled
def _paint(
    pixels: NDArray[np.int64],
    starts: NDArray[np.int64],
    numbers: NDArray[np.uint16],
    labels: NDArray[np.uint16],
    coverage: NDArray[np.uint8],
) -> None:
    """Later lines over earlier ones."""
    for k in range(len(numbers)):
        for i in range(starts[k], starts[k + 1]):
            p = pixels[i]
            labels[p] = numbers[k]
            if coverage[p] < 255:
                coverage[p] += 1


def _draw_ignore(sample: Sample) -> NDArray[np.bool_]:
    mask = np.zeros(sample.size, dtype=np.uint8)
    for polygon in filter(len, sample.ignore):  # OpenCV refuses polygons without points
        # Rounding first clamps to what OpenCV's 32-bit coordinates can hold.
        points = np.rint(np.clip(polygon, -1e6, 1e6)).astype(np.int32)
        cv2.fillPoly(mask, [points], (1,))
    return mask.view(np.bool_)
