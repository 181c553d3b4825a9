"""What a picture's lines are, pixel by pixel: derived from the vectors, drawn by one rule.

The rule: a pixel belongs to a line when its centre lies within thickness/2 of the centre line (round
ends and joins). Ties, that is centres at exactly that distance, belong to the line, up to rounding in
float64 (1e-9 pixels). A line that brings its ink as pixels (`Instance.runs`) has these instead.

The loops are compiled at their first use, and kept beside this file or in the user's cache folder
(`NUMBA_CACHE_DIR` names another); where no folder can be written, each process compiles for itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.compiling import compiled
from linegroup.config import DataConfig
from linegroup.errors import UserError
from linegroup.geometry import resample
from linegroup.sample import Instance, Sample

MOST_LINES = 65_535
"""Labels are 16 bits wide."""

_TIE = 1e-9
_CHORD = 3.0
_NO_RUNS = np.empty((0, 2), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Targets:
    """Per-pixel truth of one picture. What is derived is computed when first asked for.

    Attributes:
        labels: `(h, w) uint16`, 0 = none, else the number of the topmost line there.
        coverage: `(h, w) uint8`, how many lines cover the pixel, at most 255.
        ignore: `(h, w) bool`, where there is no truth.
        lines: The K lines, those without pixels included.
    """

    labels: NDArray[np.uint16]
    coverage: NDArray[np.uint8]
    ignore: NDArray[np.bool_]
    lines: tuple[Instance, ...]

    @property
    def count(self) -> int:
        """K, number of lines."""
        return len(self.lines)

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

    @cached_property
    def angle(self) -> NDArray[np.float32]:
        """`(h, w)`: where `valid`, the direction of the line there in radians, from +x to +y, in [0, π); else -1.

        It is that of the nearest point of the line, over `_CHORD` pixels to both sides of it.
        """
        angle = np.full(self.labels.shape, -1, dtype=np.float32)
        flat = np.flatnonzero(self.valid)
        order = flat[np.argsort(self.labels.ravel()[flat], kind="stable")]
        names = self.labels.ravel()[order]
        for k, line in enumerate(self.lines):
            pixels = order[slice(*np.searchsorted(names, (k + 1, k + 2)))]
            if len(pixels):
                angle.ravel()[pixels] = _directions(line, pixels, self.labels.shape[1])
        return angle


def _trained_labels(targets: Targets) -> NDArray[np.int32]:
    return np.where(targets.valid, targets.labels, 0).astype(np.int32)


TARGETS: dict[str, Callable[[Targets], NDArray[Any]]] = {
    "labels": _trained_labels,
    "foreground": lambda targets: targets.foreground,
    "crossing": lambda targets: targets.crossing,
    "coverage": lambda targets: targets.coverage,
    "angle": lambda targets: targets.angle,
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
    labels, coverage, _, _ = _rasterize([lines[k] for k in order], order + 1, sample.size, config, listed=False)
    return Targets(labels, coverage, _draw_ignore(sample), lines)


def line_pixels(sample: Sample, config: DataConfig | None = None) -> list[NDArray[np.int64]]:
    """The pixels of each line, crossings included: flat raster indices `(n_k,)`, ascending, no doubles."""
    lines = _lines_of(sample, config)
    numbers = np.arange(1, len(lines) + 1)
    _, _, pixels, starts = _rasterize(lines, numbers, sample.size, config, listed=True)
    return [np.sort(pixels[first:last]) for first, last in itertools.pairwise(starts)]


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
    lines: Sequence[Instance],
    numbers: NDArray[np.integer[Any]],
    size: tuple[int, int],
    config: DataConfig | None,
    *,
    listed: bool,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Labels and coverage `(h, w)`; if `listed`, pixels of all lines `(sum n_k,)` and where each begins `(K + 1,)`."""
    config = config or DataConfig()
    labels, coverage = np.zeros(size, dtype=np.uint16), np.zeros(size, dtype=np.uint8)
    if not lines:
        return labels, coverage, np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    points = np.concatenate([line.xy for line in lines]).astype(np.float64)
    before = np.cumsum([0, *(len(line.xy) for line in lines)])
    parts = np.array([n + start for n, line in zip(before, lines, strict=False) for start in line.parts] + [before[-1]])
    shape = np.array([(len(line.parts), line.closed) for line in lines])
    radii = np.array([max(line.thickness or config.thickness, config.min_thickness) / 2 for line in lines])
    runs = np.concatenate([_NO_RUNS, *(line.runs for line in lines if line.runs is not None)])
    counts = np.array([-1 if line.runs is None else len(line.runs) for line in lines])
    pixels, starts = _paint(
        points, parts, shape, radii, runs, counts, numbers.astype(np.uint16), labels, coverage, listed
    )
    return labels, coverage, pixels, starts


@compiled
def _row_interval(
    x0: float, dx: float, dy: float, across: float, along: float, half: float, below: float, squared: float
) -> tuple[float, float]:
    """The x interval of the points near a segment, in the row `below` its start; empty when low > high.

    A segment's neighbourhood (a capsule) is convex, so a row cuts it in one interval: the hull of what
    the row cuts from the two end discs, and from the rectangle between them. The rectangle is where the
    strip along the segment meets the strip across it. The start's disc is left to the caller: it is the
    end's disc of the segment before.

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
    rest = squared - (below - dy) * (below - dy)
    if rest >= 0:
        reach = np.sqrt(rest)
        low, high = x0 + dx - reach, x0 + dx + reach
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


@compiled
def _paint_segment(
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    radius: float,
    number: int,
    labels: NDArray[np.uint16],
    coverage: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    n: int,
) -> tuple[NDArray[np.int64], int]:
    """Paint a segment without its start's disc; new pixels go into `pixels` from `n` if its length is not 0.

    A pixel that bears the line's own number was painted by an earlier segment of it: the label picture itself
    keeps a line from being counted twice.

    Returns:
        `pixels`, or a longer array in its place, and how many of it are used.
    """
    height, width = labels.shape
    dx, dy = x1 - x0, y1 - y0
    across = dx / dy if dy != 0 else 0.0
    along = (dx * dx + dy * dy) / dx if dx != 0 else 0.0
    half = radius * np.sqrt(1 + across * across) if dy != 0 else 0.0
    top = int(max(0.0, np.ceil(min(y0, y0 + dy) - radius)))
    bottom = int(min(height - 1.0, np.floor(max(y0, y0 + dy) + radius)))
    for y in range(top, bottom + 1):
        low, high = _row_interval(x0, dx, dy, across, along, half, y - y0, radius * radius)
        if low > high:
            continue
        left, right = int(max(0.0, np.ceil(low))), int(min(width - 1.0, np.floor(high)))
        if len(pixels) and n + right - left >= len(pixels):
            pixels = _with_room(pixels, n, width)
        for x in range(left, right + 1):
            if labels[y, x] != number:
                labels[y, x] = number
                coverage[y, x] += coverage[y, x] < 255
                if len(pixels):
                    pixels[n] = y * width + x
                    n += 1
    return pixels, n


@compiled
def _with_room(pixels: NDArray[np.int64], n: int, width: int) -> NDArray[np.int64]:
    """The first `n` pixels in a longer array, which has room for a row more at least."""
    longer = np.empty(2 * len(pixels) + width, dtype=np.int64)
    longer[:n] = pixels[:n]
    return longer


@compiled
def _paint_runs(
    runs: NDArray[np.int32],
    number: int,
    labels: NDArray[np.uint16],
    coverage: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    n: int,
) -> tuple[NDArray[np.int64], int]:
    """Paint a line that brings its pixels; `pixels` and `n` as in `_paint_segment`."""
    width = labels.shape[1]
    for r in range(len(runs)):
        first, length = runs[r, 0], runs[r, 1]
        if len(pixels) and n + length > len(pixels):
            pixels = _with_room(pixels, n, width)
        y, left = first // width, first % width
        for x in range(left, left + length):
            labels[y, x] = number
            coverage[y, x] += coverage[y, x] < 255
            if len(pixels):
                pixels[n] = y * width + x
                n += 1
    return pixels, n


@compiled
def _paint(
    points: NDArray[np.float64],
    parts: NDArray[np.int64],
    shape: NDArray[np.int64],
    radii: NDArray[np.float64],
    runs: NDArray[np.int32],
    counts: NDArray[np.int64],
    numbers: NDArray[np.uint16],
    labels: NDArray[np.uint16],
    coverage: NDArray[np.uint8],
    listed: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Paint lines, later over earlier ones. Work: the rows that the segments touch, and their pixels.

    Args:
        points: `(n, 2)`, all lines' points one after another.
        parts: `(P + 1,)`, where each part begins in `points`, and where the last one ends.
        shape: `(K, 2)`, of each line its number of parts, and 1 where they are closed.
        radii: `(K,)`.
        runs: `(m, 2)`, first pixel and length, of all lines that bring their ink as runs.
        counts: `(K,)`, how many runs a line has; -1: it is drawn from its points.
        numbers: `(K,)`, the lines' labels, all different.
        labels: `(h, w)`, painted on.
        coverage: `(h, w)`, likewise.
        listed: Whether the lines' pixels are wanted one after another `(sum n_k,)` with their starts `(K + 1,)`.
    """
    pixels = np.empty(1024 if listed else 0, dtype=np.int64)
    starts = np.zeros(len(radii) + 1, dtype=np.int64)
    n, part, run = 0, 0, 0
    for k in range(len(radii)):
        if counts[k] >= 0:
            pixels, n = _paint_runs(runs[run : run + counts[k]], numbers[k], labels, coverage, pixels, n)
            run += counts[k]
            part += shape[k, 0]
            starts[k + 1] = n
            continue
        radius = radii[k] + _TIE
        for _ in range(shape[k, 0]):
            first, last = parts[part], parts[part + 1] - 1
            part += 1
            before = last if shape[k, 1] and last - first > 1 else first
            for i in range(first, last + 1):  # the first segment joins the ends, or is the first point's disc
                x0, y0, x1, y1 = points[before, 0], points[before, 1], points[i, 0], points[i, 1]
                pixels, n = _paint_segment(x0, y0, x1, y1, radius, numbers[k], labels, coverage, pixels, n)
                before = i
        starts[k + 1] = n
    return pixels[:n], starts


def _directions(line: Instance, pixels: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """Directions `(n,)` in [0, π) of a line at its nearest points to pixels given as flat indices `(n,)`."""
    points, chords = [], []
    for part in line.part_arrays():
        way = np.concatenate([part, part[:1]]) if line.closed and len(part) > 2 else part
        dense = resample(way.astype(np.float64), 1.0)
        reach = round(_CHORD)
        ahead = np.minimum(np.arange(len(dense)) + reach, len(dense) - 1)
        points.append(dense)
        chords.append(dense[ahead] - dense[np.maximum(np.arange(len(dense)) - reach, 0)])
    places = np.stack([pixels % width, pixels // width], axis=1)
    chord = np.concatenate(chords)[cKDTree(np.concatenate(points)).query(places)[1]]
    angle = np.mod(np.arctan2(chord[:, 1], chord[:, 0]), np.pi)
    return np.asarray(np.where(angle < np.float32(np.pi), angle, 0), dtype=np.float32)


def _draw_ignore(sample: Sample) -> NDArray[np.bool_]:
    mask = np.zeros(sample.size, dtype=np.uint8)
    for polygon in filter(len, sample.ignore):  # OpenCV refuses polygons without points
        # Rounding first clamps to what OpenCV's 32-bit coordinates can hold.
        points = np.rint(np.clip(polygon, -1e6, 1e6)).astype(np.int32)
        cv2.fillPoly(mask, [points], (1,))
    return mask.view(np.bool_)
