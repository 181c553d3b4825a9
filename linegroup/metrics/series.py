"""How well found lines follow true ones: as curves in the plane, and as data series.

A curve is a sequence of parts, each a polyline `(n, 2)` in (x, y). A series is one array `(n, 2)` of x and y, in
any units, sorted by x when it is read; it makes sense for curves that are functions of x.

The scores of the chart data extraction challenges (`data_extraction_scores`) are lenient: for a curve far from
zero a flat line at its mean already has more than 0.8. So `flat_lines` gives that baseline, to be published beside
them, and the strict scores count what a reader of the data would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

Points = NDArray[np.floating[Any]]
Curve = Sequence[Points]

COVERED = 0.9
"""Share of both lengths that must lie near the other for two curves to be one."""

STEP = 0.5
"""Pixels between the points at which a curve is looked at."""


@dataclass(frozen=True)
class Matched:
    """Scores of found curves against true ones.

    Attributes:
        precision: Share of the found curves that are one of the true ones.
        recall: Share of the true curves that are found.
        f1: Their harmonic mean.
        hausdorff: Mean over the matched pairs, in pixels; NaN without any.
        pairs: (true, found) curves that are one.
    """

    precision: float
    recall: float
    f1: float
    hausdorff: float
    pairs: tuple[tuple[int, int], ...] = ()


def tolerance_of(height: int, width: int) -> float:
    """How far apart two curves may run and be one, in pixels: 2, in large pictures 0.5 % of the diagonal."""
    return max(2.0, 0.005 * float(np.hypot(height, width)))


def resample(curve: Curve, step: float = STEP) -> NDArray[np.float64]:
    """Points `(m, 2)` at most `step` apart along each part, its vertices included; not between parts."""
    pieces = []
    for part in curve:
        points = np.asarray(part, dtype=np.float64)
        lengths = np.hypot(*np.diff(points, axis=0).T)
        counts = np.maximum(1, np.ceil(lengths / step)).astype(np.int64)
        segment = np.repeat(np.arange(len(counts)), counts)
        along = (np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[segment]
        between = points[segment] + along[:, None] * (points[segment + 1] - points[segment])
        pieces.append(np.concatenate([between, points[-1:]]))
    return np.concatenate(pieces) if pieces else np.zeros((0, 2))


class _Dense:
    """A curve that is not empty as points close together.

    Attributes:
        points: `(m, 2)`, at most `step` apart.
        weights: `(m,)`, how much of the way each one stands for, so that vertices close together count no more than
            others; all the same for a dot.
        tree: The points, for asking how far away they are.
    """

    def __init__(self, curve: Curve, step: float = STEP) -> None:
        parts = [resample([part], step) for part in curve]
        self.points = np.concatenate(parts)
        self.weights = np.concatenate([_ways(part) for part in parts])
        if not self.weights.any():
            self.weights = np.ones(len(self.points))
        self.tree = cKDTree(self.points)

    def covered(self, other: _Dense, tolerance: float) -> float:
        """Share of its length within the tolerance of another one."""
        # Beyond the tolerance nothing is searched: the distance is infinite there.
        near = np.isfinite(other.tree.query(self.points, distance_upper_bound=tolerance)[0])
        return float(self.weights[near].sum() / self.weights.sum())

    def furthest(self, other: _Dense) -> float:
        """Largest distance of a point of either from the other."""
        return float(max(other.tree.query(self.points)[0].max(), self.tree.query(other.points)[0].max()))


def _ways(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(m,)`, half of the way from each point of a polyline to its neighbours."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    return np.asarray((np.append(0, steps) + np.append(steps, 0)) / 2)


def hausdorff(one: Curve, other: Curve, step: float = STEP) -> float:
    """Largest distance of a point of either curve from the other (Hausdorff), to within `step` / 2; both not empty."""
    return _Dense(one, step).furthest(_Dense(other, step))


def match_curves(truth: Sequence[Curve], found: Sequence[Curve], tolerance: float) -> Matched:
    """Polyline F1: a found curve is a true one if at least `COVERED` of both lengths lies within `tolerance`.

    Pairs are one to one, of the largest total coverage (Hungarian method). Without any curve on both sides
    everything is right.

    Args:
        truth: True curves, none of them empty.
        found: Found curves, none of them empty.
        tolerance: In pixels; see `tolerance_of`.
    """
    dense_truth, dense_found = [_Dense(curve) for curve in truth], [_Dense(curve) for curve in found]
    coverage = np.zeros((len(truth), len(found)))
    for t, one in enumerate(dense_truth):
        for f, other in enumerate(dense_found):
            if not _far_apart(one.points, other.points, tolerance):
                coverage[t, f] = min(one.covered(other, tolerance), other.covered(one, tolerance))
    allowed = np.where(coverage >= COVERED, coverage, 0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    pairs = [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c] > 0]
    precision = len(pairs) / len(found) if len(found) else float(not len(truth))
    recall = len(pairs) / len(truth) if len(truth) else float(not len(found))
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    furthest = [dense_truth[t].furthest(dense_found[f]) for t, f in pairs]
    return Matched(precision, recall, f1, float(np.mean(furthest)) if pairs else float("nan"), tuple(pairs))


def _far_apart(one: NDArray[np.float64], other: NDArray[np.float64], tolerance: float) -> bool:
    """Whether the boxes of two curves are too different for one curve."""
    gap = np.maximum(one.min(axis=0) - other.max(axis=0), other.min(axis=0) - one.max(axis=0))
    return bool(gap.max() > tolerance)


def identity_switches(truth: Sequence[Curve], found: Sequence[Curve], tolerance: float) -> float:
    """How often, on the way along a true curve, the found curve nearest to it becomes another one: mean per curve.

    Points without a found curve within `tolerance` are passed over. A switch counts when the other curve stays
    the nearest for `tolerance` pixels of the way, so that two curves at one crossing do not switch. NaN without
    true curves.
    """
    if not truth:
        return float("nan")
    if not found:
        return 0.0
    dense = [resample(curve) for curve in found]
    tree = cKDTree(np.concatenate(dense))
    owner = np.repeat(np.arange(len(found)), [len(points) for points in dense])
    switches = []
    for curve in map(_Dense, truth):
        distance, nearest = tree.query(curve.points, distance_upper_bound=tolerance)
        near = np.isfinite(distance)
        names = owner[nearest[near]]
        starts = np.flatnonzero(np.diff(names, prepend=-1))
        way = np.append(0, np.cumsum(curve.weights[near]))
        lasting = np.diff(way[np.append(starts, len(names))]) >= tolerance
        kept = names[starts[lasting]]
        switches.append(int(np.count_nonzero(np.diff(kept))))
    return float(np.mean(switches))


def series_similarity(truth: Points, found: Points) -> float:
    """Score of a pair of series in [0, 1], as the chart data extraction challenges define it.

    The mean over the points of the truth, each weighted by the interval of x that it stands for, of
    `1 - min(1, |Δy| / (|y| + ε))`, ε = 1 % of the range of the true y. Between its points the found series is
    straight; beyond them it is missing, and that scores 0: nothing is extrapolated.
    """
    true, other = _sorted(truth), _sorted(found)
    x, y = true.T
    given = np.interp(x, other[:, 0], other[:, 1], left=np.nan, right=np.nan)
    epsilon = 0.01 * float(np.ptp(y))
    allowed = np.abs(y) + epsilon
    error = np.abs(given - y)
    score = np.where(allowed > 0, 1 - np.minimum(1, error / np.where(allowed > 0, allowed, 1)), error == 0)
    score = np.where(np.isnan(given), 0.0, score)
    return float((score * _intervals(x)).sum())


def data_extraction_scores(truth: Sequence[Points], found: Sequence[Points]) -> tuple[float, float]:
    """The scores 6a and 6b of a chart: summed similarity of the best pairing over the number of series.

    6a divides by the true number, 6b by the larger of both. 1 without any series on both sides.
    """
    if not truth or not found:
        both = float(not truth and not found)
        return both, both
    table = np.array([[series_similarity(t, f) for f in found] for t in truth])
    rows, columns = linear_sum_assignment(table, maximize=True)
    total = float(table[rows, columns].sum())
    return total / len(truth), total / max(len(truth), len(found))


def nrmse(truth: Points, found: Points) -> float:
    """Root mean square of Δy at the true x, over the range of the true y.

    Where the found series is missing, Δy is that range. A true series of one height counts in its own units.
    """
    true, other = _sorted(truth), _sorted(found)
    x, y = true.T
    span = float(np.ptp(y)) or 1.0
    given = np.interp(x, other[:, 0], other[:, 1], left=np.nan, right=np.nan)
    error = np.where(np.isnan(given), span, given - y)
    return float(np.sqrt((error**2 * _intervals(x)).sum())) / span


def flat_lines(truth: Sequence[Points]) -> list[Points]:
    """For each series its mean over its whole range of x: the baseline that a lenient score must be seen beside."""
    flat = []
    for series in truth:
        points = _sorted(series)
        mean = float((points[:, 1] * _intervals(points[:, 0])).sum())
        flat.append(np.array([[points[0, 0], mean], [points[-1, 0], mean]]))
    return flat


def _sorted(series: Points) -> NDArray[np.float64]:
    """By x; of several points at one x their mean."""
    points = np.asarray(series, dtype=np.float64)
    x, inverse, counts = np.unique(points[:, 0], return_inverse=True, return_counts=True)
    return np.stack([x, np.bincount(inverse, points[:, 1]) / counts], axis=1)


def _intervals(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the range of x that each of the ascending points stands for: half of the way to its neighbours."""
    if len(x) == 1:
        return np.ones(1)
    edges = np.concatenate([x[:1], (x[:-1] + x[1:]) / 2, x[-1:]])
    return np.asarray(np.diff(edges) / (x[-1] - x[0]))
