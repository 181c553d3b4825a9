"""Ink as strokes: the branches of its skeleton, from junction to junction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from linegroup.compiling import compiled

Mask = NDArray[np.bool_]

_AROUND = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Strokes:
    """Branches of a skeleton.

    Attributes:
        points: `(s,)` arrays `(n, 2) float64`, x first, in order along each branch.
        nodes: `(s, 2) int64`, the junction at the first and at the last point, -1 = none: a free end.
        thickness: `(s,) float64`, of the ink along each branch, in pixels.
        junctions: How many junctions there are.
        discs: `(s,) float64`, how far the ink reaches around the thickest point of each stroke's junctions; 0: none.
    """

    points: list[NDArray[np.float64]]
    nodes: NDArray[np.int64]
    thickness: NDArray[np.float64]
    junctions: int
    discs: NDArray[np.float64]


def without_hairs(strokes: Strokes) -> Strokes:
    """Without free strokes that lie in the ink around their junction: corners of thick ink, not lines."""
    free = (strokes.nodes >= 0).sum(axis=1) == 1
    lengths = np.array([len(points) for points in strokes.points])
    kept = np.flatnonzero(~free | (lengths > 1.2 * strokes.discs + 0.5))
    return replace(
        strokes,
        points=[strokes.points[k] for k in kept],
        nodes=strokes.nodes[kept],
        thickness=strokes.thickness[kept],
        discs=strokes.discs[kept],
    )


def find_strokes(mask: Mask) -> Strokes:
    """The strokes of a mask `(h, w)`: its skeleton (Zhang and Suen 1984), cut where three or more branches meet."""
    padded = np.pad(mask, 2)
    skeleton: Mask = skeletonize(padded)
    half = cv2.distanceTransform(padded.astype(np.uint8), cv2.DIST_L2, 5)
    meeting = skeleton & (_neighbours(skeleton) >= 3)
    count, found = cv2.connectedComponents(meeting.astype(np.uint8), connectivity=8)
    junction = np.asarray(found, dtype=np.int32)
    branches = skeleton & ~meeting
    number, name = cv2.connectedComponents(branches.astype(np.uint8), connectivity=8)
    if number == 1:
        return Strokes([], np.zeros((0, 2), dtype=np.int64), np.zeros(0), count - 1, np.zeros(0))
    ys, xs = np.nonzero(branches)
    # A branch is followed from an end of it; a closed one has none and is followed from anywhere.
    order = np.lexsort((_neighbours(branches)[ys, xs], name[ys, xs]))
    first = order[np.searchsorted(name[ys, xs][order], np.arange(1, number))]
    pixels = np.empty((len(ys), 2), dtype=np.int64)
    cuts = _follow(name.astype(np.int32), np.stack([ys[first], xs[first]], axis=1), pixels)
    points = [pixels[a:b] for a, b in pairwise(cuts.tolist())]
    nodes = np.array([[_junction_at(junction, p[0], 0), _junction_at(junction, p[-1], -1)] for p in points]) - 1
    alone = np.array([len(p) == 1 for p in points]) & (nodes[:, 0] == nodes[:, 1])
    nodes[alone, 1] = -1
    # From the middle of a stroke to the nearest page pixel it is half the thickness and half a pixel.
    thickness = np.array([2 * float(np.median(half[p[:, 1], p[:, 0]])) - 1 for p in points])
    around = np.zeros(count)
    np.maximum.at(around, junction[meeting], half[meeting])
    discs = np.append(around[1:], 0)[nodes].max(axis=1)
    return Strokes([np.asarray(p - 2, dtype=np.float64) for p in points], nodes, thickness, count - 1, discs)


def _neighbours(mask: Mask) -> NDArray[np.uint8]:
    """How many of the 8 around each pixel are set, where it is set itself."""
    around = cv2.filter2D(mask.astype(np.uint8), -1, _AROUND, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(around - 1, dtype=np.uint8)


def _junction_at(junction: NDArray[np.int32], point: NDArray[np.int64], which: int) -> int:
    """The first (0) or last (-1) of the junctions that touch a point, 0 = none."""
    x, y = point
    around = np.unique(junction[y - 1 : y + 2, x - 1 : x + 2])
    around = around[around > 0]
    return int(around[which]) if len(around) else 0


@compiled
def _follow(name: NDArray[Any], starts: NDArray[Any], pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Write each branch's pixels in order from its start; where each begins in `pixels`, and the end."""
    cuts = np.zeros(len(starts) + 1, dtype=np.int64)
    at = 0
    for branch in range(len(starts)):
        y, x = starts[branch, 0], starts[branch, 1]
        own = name[y, x]
        while y >= 0:
            pixels[at, 0], pixels[at, 1] = x, y
            at += 1
            name[y, x] = 0
            next_y, next_x = -1, -1
            # Pixels that share an edge come first: a step of a staircase is not jumped.
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                if next_y < 0 and name[y + dy, x + dx] == own:
                    next_y, next_x = y + dy, x + dx
            y, x = next_y, next_x
        cuts[branch + 1] = at
    return cuts
