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
    box = ink_box(mask)
    padded = np.pad(mask[box], 2)
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
    nodes, thickness = _describe(pixels, cuts, junction, np.asarray(half, dtype=np.float32))
    alone = (np.diff(cuts) == 1) & (nodes[:, 0] == nodes[:, 1])
    nodes[alone, 1] = -1
    around = np.zeros(count)
    np.maximum.at(around, junction[meeting], half[meeting])
    discs = np.append(around[1:], 0)[nodes].max(axis=1)
    origin = np.array([box[1].start, box[0].start]) - 2
    return Strokes([(p + origin).astype(np.float64) for p in points], nodes, thickness, count - 1, discs)


def ink_box(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the ink; of an empty mask its first pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def ink_pixels(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the ink, in raster order: `np.nonzero`, several times as fast."""
    ys, xs = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return ys, xs


def _neighbours(mask: Mask) -> NDArray[np.uint8]:
    """How many of the 8 around each pixel are set, where it is set itself."""
    around = cv2.filter2D(mask.astype(np.uint8), -1, _AROUND, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(around - 1, dtype=np.uint8)


@compiled
def _describe(
    pixels: NDArray[np.int64], cuts: NDArray[np.int64], junction: NDArray[np.int32], half: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The junctions at both ends of each stroke `(s, 2)`, -1 = none, and its thickness `(s,)`.

    From the middle of a stroke to the nearest page pixel it is half the thickness and half a pixel.
    """
    nodes = np.full((len(cuts) - 1, 2), -1, dtype=np.int64)
    thickness = np.empty(len(cuts) - 1)
    for k in range(len(cuts) - 1):
        for side in range(2):
            at = cuts[k] if side == 0 else cuts[k + 1] - 1
            found = 0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    near = junction[pixels[at, 1] + dy, pixels[at, 0] + dx]
                    # Of several the first one at the first end, the last one at the last.
                    if near > 0 and (found == 0 or (near < found) == (side == 0)):
                        found = near
            nodes[k, side] = found - 1
        reach = np.empty(cuts[k + 1] - cuts[k], dtype=np.float32)
        for i in range(len(reach)):
            reach[i] = half[pixels[cuts[k] + i, 1], pixels[cuts[k] + i, 0]]
        thickness[k] = 2 * np.median(reach) - 1
    return nodes, thickness


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
