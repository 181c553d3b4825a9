"""From a line's pixels to ordered polylines at its centre."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.grouping.chain import Chain
from linegroup.grouping.fragments import Pieces, pieces
from linegroup.grouping.strokes import Strokes
from linegroup.vectors.beside import beside
from linegroup.vectors.branches import stroke_lengths
from linegroup.vectors.direction import ring_from_left, runs_backwards
from linegroup.vectors.drawing import draw
from linegroup.vectors.ground import find_ground
from linegroup.vectors.joining import end_to_end
from linegroup.vectors.needless import without_needless
from linegroup.vectors.thinning import thin

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

TOLERANCE = 0.25
"""Largest distance in pixels of a dropped point from the simplified polyline."""

BREAK = 4.0
"""A gap so many times as long as the line's usual one is an interruption, not part of a pattern."""

AHEAD = 8
"""So many points before a gap say where the line was going."""

PATTERN = 4
"""So many gaps are a pattern."""

MARKS = 4
"""A line of nothing but marks has at least so many."""

_PAD = 2


@dataclass(frozen=True, eq=False)
class Traced:
    """A line as vectors.

    Attributes:
        points: `(n, 2) float64`, x first, n ≥ 1, in pixels; all parts one after another, in order along the line,
            short ones that lie beside it last. An open line begins at its left end, one whose ends lie above each
            other at the upper one; a ring at its leftmost point, going on clockwise.
        parts: Where each part begins, ascending from 0. From one part to the next the line is interrupted.
        closed: Whether the only part ends where it begins; that point is not repeated.
        thickness: Of its ink in pixels, at least 1.
    """

    points: Points
    parts: tuple[int, ...]
    closed: bool
    thickness: float


def trace(
    xs: NDArray[np.integer],
    ys: NDArray[np.integer],
    weights: NDArray[np.floating] | None = None,
    tolerance: float = TOLERANCE,
) -> Traced:
    """The centre of a line's pixels, in order, straight through crossings and gaps.

    Each connected piece is followed as a pen would draw it, over all strokes of its skeleton; then the pieces are
    joined end to end with the nearest, whatever lies between; short ones that a long one passes come last. Each point
    moves across the line to the middle of the ink there, so that places are finer than pixels; hairs, the outlines of
    marks and what else runs along beside a longer stroke are left out. A line of nothing but marks goes from the
    middle of one to the middle of the next.

    Args:
        xs: `(m,)` columns, m ≥ 1.
        ys: `(m,)` rows.
        weights: `(m,)`, how much ink a pixel holds, > 0; default: all the same.
        tolerance: In pixels, for leaving out points (Douglas and Peucker 1973).
    """
    x0, y0 = int(xs.min()) - _PAD, int(ys.min()) - _PAD
    size = int(ys.max()) - y0 + _PAD + 1, int(xs.max()) - x0 + _PAD + 1
    ink = np.zeros(size, dtype=np.float32)
    ink[ys - y0, xs - x0] = 1 if weights is None else weights
    mask = ink > 0
    extent = float(max(np.ptp(xs), np.ptp(ys)) + 1)
    marks = _marks(pieces(mask), extent)
    thickness = 1.0
    if marks is not None:
        chains = [Chain(centre[None], (), 1.0) for centre in marks]
        thickness = float(np.sqrt(mask.sum() / len(marks)))
    else:
        ground = find_ground(mask)
        strokes = without_needless(thin(ground), ground)
        thickness = _thickness(strokes, len(xs))
        chains = _without_doubles(draw(strokes, ink, ground)) or [_dot(ink)]
    parts, closed = _in_order(chains, thickness)
    return _simplified(parts, closed, thickness, np.array([x0, y0]), tolerance)


def _dot(ink: NDArray[np.float32]) -> Chain:
    """The middle of ink that has no strokes."""
    ys, xs = np.nonzero(ink)
    centre = np.average(np.stack([xs, ys], axis=1), axis=0, weights=ink[ys, xs])
    return Chain(centre[None], (), 1.0)


def _thickness(strokes: Strokes, pixels: int) -> float:
    """Ink per length, as far as that agrees with the pen's reach."""
    if not len(strokes):
        return 1.0
    usual = float(strokes.thickness[0])
    ends = int((strokes.nodes < 0).sum()) * np.pi / 8 * usual
    way = float(stroke_lengths(strokes).sum()) + 0.5 * len(strokes) + ends
    return max(1.0, float(np.clip(pixels / way, usual - 0.5, usual + 0.5)))


def _marks(part: Pieces, extent: float) -> Points | None:
    """Centres `(n, 2)` of the pieces, if all of them are compact and of about one size; else None."""
    if len(part.areas) < MARKS:
        return None
    _, _, width, height = part.boxes.T
    compact = (np.maximum(width, height) <= 1.6 * np.minimum(width, height) + 1) & (
        np.maximum(width, height) < max(8.0, 0.06 * extent)
    )
    usual = np.median(part.areas)
    alike = compact & (part.areas >= 0.3 * usual) & (part.areas <= 3 * usual)
    if part.areas[alike].sum() < 0.85 * part.areas.sum():
        return None
    ys, xs = np.nonzero(part.image)
    name = part.image[ys, xs] - 1
    centres = np.stack([np.bincount(name, v) for v in (xs, ys)], axis=1) / part.areas[:, None]
    return np.asarray(centres[alike], dtype=np.float64)


def _without_doubles(chains: Sequence[Chain]) -> list[Chain]:
    """The chains, without those that run along beside longer ones, or lie in them."""
    order = sorted(range(len(chains)), key=lambda k: -len(chains[k].points))
    if len(chains) < 2:
        return list(chains)
    sizes = np.array([len(chains[k].points) for k in order])
    owner = np.repeat(np.arange(len(order)), sizes)
    points = np.concatenate([chains[k].points for k in order])
    reach = 1.5 * chains[0].thickness + 2
    ends = [np.repeat(np.stack([chains[k].points[side] for k in order]), sizes, axis=0) for side in (0, -1)]
    # What lies beyond an end is not beside.
    beyond = np.minimum(*(np.hypot(*(points - end).T) for end in ends)) < reach
    beyond &= ~np.repeat([chains[k].closed for k in order], sizes)
    inner = np.flatnonzero(~beyond)
    if not len(inner):
        return list(chains)
    tree = cKDTree(points[inner])
    kept = np.ones(len(order), dtype=np.bool_)
    starts = np.cumsum(sizes) - sizes
    some = np.concatenate([np.arange(a, a + n, max(1, n // 16)) for a, n in zip(starts, sizes, strict=True)])
    near = tree.query_ball_point(points[some], reach)
    found = np.array([len(n) for n in near])
    beside = owner[inner[np.fromiter(itertools.chain.from_iterable(near), dtype=np.int64, count=int(found.sum()))]]
    at = np.repeat(np.arange(len(some)), found)
    longest = np.full(len(some), len(order))
    np.minimum.at(longest, at, beside)
    candidates = np.bincount(owner[some], longest < owner[some]) >= 0.8 * np.bincount(owner[some])
    last = np.searchsorted(at, np.searchsorted(owner[some], np.arange(len(order) + 1)))
    for rank in np.flatnonzero(candidates):
        of = slice(last[rank], last[rank + 1])
        better = (beside[of] < rank) & kept[beside[of]]
        kept[rank] = len(np.unique(at[of][better])) < 0.8 * int((owner[some] == rank).sum())
    return [chains[k] for rank, k in enumerate(order) if kept[rank]]


def _left_the_plot(points: Points, steps: NDArray[np.float64]) -> Mask:
    """`(n - 1,)`, gaps from where the line crosses one side of its box to where it comes back over the same side."""
    left = np.zeros(len(steps), dtype=np.bool_)
    low, high = points.min(axis=0), points.max(axis=0)
    at_side = np.minimum(points - low, high - points).min(axis=1) < 1.5
    for k in np.flatnonzero((steps > 3) & at_side[:-1] & at_side[1:]).tolist():
        out = points[k] - points[max(k - AHEAD, 0)]
        back = points[k + 1] - points[min(k + 1 + AHEAD, len(points) - 1)]
        for axis, side, sign in ((0, low, -1), (0, high, 1), (1, low, -1), (1, high, 1)):
            near = max(abs(points[k, axis] - side[axis]), abs(points[k + 1, axis] - side[axis])) < 1.5
            left[k] |= near and sign * out[axis] > 0.5 * np.hypot(*out) and sign * back[axis] > 0.5 * np.hypot(*back)
    return left


def _in_order(chains: Sequence[Chain], thickness: float) -> tuple[list[Points], bool]:
    """The parts of the line along its course, then what lies beside it from left to right; whether it is a ring."""
    aside = beside(chains)
    course = end_to_end([chain for chain, apart in zip(chains, aside, strict=True) if not apart])
    steps = np.hypot(*np.diff(course.points, axis=0).T)
    gaps = steps[steps > 3]
    usual = float(np.median(gaps)) if len(gaps) >= PATTERN else 0.0
    least = 12 + 2 * thickness
    most = max(BREAK * usual, least)
    parts = _cut(course.points, (steps > most) | _left_the_plot(course.points, steps))
    seam = float(np.hypot(*(course.points[0] - course.points[-1])))
    closed = course.closed and len(parts) == 1 and len(course.points) > 2 and seam <= most
    if not aside.any():
        return parts, closed
    if closed:
        parts[-1] = np.concatenate([parts[-1], parts[0][:1]])
    others = end_to_end([chain for chain, apart in zip(chains, aside, strict=True) if apart]).points
    # Their gaps are no pattern.
    pieces_ = _cut(others, np.hypot(*np.diff(others, axis=0).T) > least)
    turned = [piece[::-1] if runs_backwards(piece[0], piece[-1]) else piece for piece in pieces_]
    return [*parts, *sorted(turned, key=lambda piece: tuple(piece[0]))], False


def _cut(points: Points, cut: Mask) -> list[Points]:
    """A path `(n, 2)` in parts, cut where `cut (n - 1,)`, in the direction in which lines are told."""
    parts = np.split(points, np.flatnonzero(cut) + 1)
    if runs_backwards(points[0], points[-1]):
        parts = [part[::-1] for part in reversed(parts)]
    return parts


def _simplified(parts: list[Points], closed: bool, thickness: float, origin: Points, tolerance: float) -> Traced:
    """The parts with as few points as the tolerance allows; a ring from its left on."""
    fewer = [
        cv2.approxPolyDP(part[:, None].astype(np.float32), tolerance, closed=closed)[:, 0].astype(np.float64)
        for part in parts
    ]
    if closed:
        fewer = [ring_from_left(fewer[0])]
    starts = np.cumsum([0, *(len(part) for part in fewer)])
    points = np.concatenate(fewer) + origin
    return Traced(points, tuple(starts[:-1].tolist()), closed, thickness)
