"""Narrow peaks, whose tips a skeleton does not reach."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.compiling import compiled

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

LEFT = 0.35
"""Ink further than this many pixels beyond half the thickness from a path is not covered by it."""

ROUNDS = 3

_BRIDGED = 20.0


def with_spikes(points: Points, mask: Mask, thickness: float) -> Points:
    """The path `(n, 2)` with ways out and back into ink that it leaves uncovered.

    Where a line turns sharply, its skeleton stops before the tip. Each piece of uncovered ink gets a way from the
    nearest point of the path to half a thickness before its farthest pixel; but marks and blots, which are no
    narrower than they are long, have no spikes.
    """
    for _ in range(ROUNDS):
        away = _distance(points, mask.shape)
        left = mask & (away > thickness / 2 + LEFT)
        if not left.any():
            break
        _, image, boxes, _ = cv2.connectedComponentsWithStats(left.astype(np.uint8), connectivity=8)
        tips = _tips(np.asarray(image), np.asarray(boxes), away, thickness)
        if not len(tips):
            break
        points = _inserted(points, tips, mask, thickness)
    return points


def _distance(points: Points, size: tuple[int, ...]) -> NDArray[np.float32]:
    """`(h, w)`, from the nearest point of the path; wide gaps are not of it."""
    empty = np.ones(size, dtype=np.uint8)
    steps = np.hypot(*np.diff(points, axis=0).T)
    for part in np.split(points, np.flatnonzero(steps > _BRIDGED) + 1):
        cv2.polylines(empty, [np.rint(part * 16).astype(np.int32)], False, 0, 1, cv2.LINE_8, 4)
    return np.asarray(cv2.distanceTransform(empty, cv2.DIST_L2, 3))


def _tips(image: NDArray[np.int32], boxes: NDArray[np.int32], away: NDArray[np.float32], thickness: float) -> Points:
    """`(k, 2)`, the farthest pixel of each piece that is narrow for its length."""
    ys, xs = np.nonzero(image)
    name = image[ys, xs]
    order = np.lexsort((xs, ys, -away[ys, xs], name))
    first = order[np.searchsorted(name[order], np.arange(1, len(boxes)))]
    depth = away[ys[first], xs[first]] - thickness / 2
    narrow = boxes[1:, 4] / np.maximum(depth, 1) < 2 * thickness + 3
    return np.asarray(np.stack([xs[first], ys[first]], axis=1)[narrow], dtype=np.float64)


def _inserted(points: Points, tips: Points, mask: Mask, thickness: float) -> Points:
    """The path by way of each tip: over it, where both ways lie in the ink; else from the nearest point and back."""
    points = np.ascontiguousarray(points)  # what is compiled knows one layout
    distance, at = cKDTree(points).query(tips)
    reach = np.maximum(distance + 0.5 - thickness / 2, 0.5) / np.maximum(distance, 1e-9)
    ends = np.ascontiguousarray(points[at] + (tips - points[at]) * reach[:, None])
    order = np.lexsort((distance, at))
    aside = round(thickness) + 2
    pieces, done = [], 0
    for k in order.tolist():
        foot, tip = int(at[k]), ends[k]
        if foot < done:
            continue
        before, after = max(done, foot - aside), min(len(points) - 1, foot + aside)
        if before < foot < after and _leads_over(points[before : after + 1], tip, mask, thickness / 2 + 0.5):
            pieces += [points[done : before + 1], tip[None]]
            done = after
        else:
            pieces += [points[done : foot + 1], tip[None], points[foot : foot + 1]]
            done = foot + 1
    return np.concatenate([*pieces, points[done:]])


@compiled
def _leads_over(points: Points, tip: Points, mask: Mask, near: float) -> bool:
    """Whether the way from the first point `(n, 2)` to the tip and on to the last lies in the ink, near all of them."""
    for start, end in ((points[0], tip), (tip, points[-1])):
        length = np.hypot(end[0] - start[0], end[1] - start[1])
        count = int(length) + 2
        for i in range(count):
            x = int(np.rint(start[0] + (end[0] - start[0]) * i / (count - 1)))
            y = int(np.rint(start[1] + (end[1] - start[1]) * i / (count - 1)))
            if not mask[min(max(y, 0), mask.shape[0] - 1), min(max(x, 0), mask.shape[1] - 1)]:
                return False
    for point in points:
        one, other = _away(point, points[0], tip), _away(point, tip, points[-1])
        if min(one, other) > near:
            return False
    return True


@compiled
def _away(point: Points, start: Points, end: Points) -> float:
    """Distance of a point from a segment."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    squared = dx * dx + dy * dy
    along = 0.0
    if squared > 0:
        along = ((point[0] - start[0]) * dx + (point[1] - start[1]) * dy) / squared
        along = min(max(along, 0.0), 1.0)
    return float(np.hypot(point[0] - start[0] - along * dx, point[1] - start[1] - along * dy))
