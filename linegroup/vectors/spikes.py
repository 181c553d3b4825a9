"""Narrow peaks, whose tips a skeleton does not reach."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.geometry import distance_to_polyline

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
        count, image, boxes, _ = cv2.connectedComponentsWithStats(left.astype(np.uint8), connectivity=8)
        if count == 1:
            break
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
    distance, at = cKDTree(points).query(tips)
    reach = np.maximum(distance + 0.5 - thickness / 2, 0.5) / np.maximum(distance, 1e-9)
    ends = points[at] + (tips - points[at]) * reach[:, None]
    order = np.lexsort((distance, at))
    aside = round(thickness) + 2
    pieces, done = [], 0
    for k in order.tolist():
        foot, tip = int(at[k]), ends[k]
        if foot < done:
            continue
        before, after = max(done, foot - aside), min(len(points) - 1, foot + aside)
        over = np.stack([points[before], tip, points[after]])
        near = distance_to_polyline(points[before : after + 1], over).max() <= thickness / 2 + 0.5
        if before < foot < after and near and _inked(over[0], tip, mask) and _inked(tip, over[2], mask):
            pieces += [points[done : before + 1], tip[None]]
            done = after
        else:
            pieces += [points[done : foot + 1], tip[None], points[foot : foot + 1]]
            done = foot + 1
    return np.concatenate([*pieces, points[done:]])


def _inked(start: Points, end: Points, mask: Mask) -> bool:
    """Whether the straight way lies in the ink."""
    count = int(np.hypot(*(end - start))) + 2
    x, y = np.rint(np.linspace(start, end, count)).astype(np.int64).T
    return bool(mask[y.clip(0, mask.shape[0] - 1), x.clip(0, mask.shape[1] - 1)].all())
