"""Ink as strokes: the branches of its skeleton, from junction to junction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from linegroup.compiling import compiled

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Strokes:
    """Branches of a skeleton.

    Attributes:
        points: `(n, 2) float64`, x first, in order along each branch, one branch after the other.
        cuts: `(s + 1,) int64`, the row in which each branch begins, and the end.
        nodes: `(s, 2) int64`, the junction at the first and at the last point, -1 = none: a free end.
        thickness: `(s,) float64`, of the ink along each branch, in pixels.
        junctions: How many junctions there are.
        marks: How many of them, the last ones, are marks: lines turn there, and their ends are no hairs.
    """

    points: NDArray[np.float64]
    cuts: NDArray[np.int64]
    nodes: NDArray[np.int64]
    thickness: NDArray[np.float64]
    junctions: int
    marks: int = 0

    def __len__(self) -> int:
        return len(self.nodes)

    @cached_property
    def each(self) -> list[NDArray[np.float64]]:
        """The points of each branch."""
        return [self.points[a:b] for a, b in pairwise(self.cuts.tolist())]


def find_strokes(mask: Mask) -> Strokes:
    """The strokes of a mask `(h, w)`: its skeleton (Zhang and Suen 1984), cut where three or more branches meet."""
    box = ink_box(mask)
    height, width = box[0].stop - box[0].start + 4, box[1].stop - box[1].start + 4
    image = np.zeros((height, width), dtype=np.uint8)
    image[2:-2, 2:-2] = mask[box]
    half = cv2.distanceTransform(image, cv2.DIST_L2, 5)
    image = skeletonize(image.view(np.bool_)).view(np.uint8)
    at = np.flatnonzero(image)
    meeting = _neighbours(image.ravel(), at, width) >= 3
    branches, junctions = at[~meeting], at[meeting]
    count, of = _pieces(image.ravel(), junctions, width)
    junction = np.zeros((height, width), dtype=np.int32)
    junction.ravel()[junctions] = of
    image.ravel()[junctions] = 0
    number, own = _pieces(image.ravel(), branches, width)
    if number == 0:
        none = np.zeros((0, 2), dtype=np.int64)
        return Strokes(np.zeros((0, 2)), np.zeros(1, dtype=np.int64), none, np.zeros(0), count)
    # A branch is followed from an end of it; a closed one has none and is followed from anywhere.
    order = np.lexsort((_neighbours(image.ravel(), branches, width), own))
    first = branches[order[np.searchsorted(own[order], np.arange(1, number + 1))]]
    pixels = np.empty((len(branches), 2), dtype=np.int64)
    cuts = _follow(image, np.stack(np.divmod(first, width), axis=1), pixels)
    nodes, thickness = _describe(pixels, cuts, junction, np.asarray(half, dtype=np.float32))
    alone = (np.diff(cuts) == 1) & (nodes[:, 0] == nodes[:, 1])
    nodes[alone, 1] = -1
    places = (pixels + np.array([box[1].start - 2, box[0].start - 2])).astype(np.float64)
    return Strokes(places, cuts, nodes, thickness, count)


def _pieces(image: NDArray[np.uint8], at: NDArray[np.int64], width: int) -> tuple[int, NDArray[np.int64]]:
    """How many 8-connected pieces there are, and which one (1..n) each pixel `at` is of.

    They are numbered as `cv2.connectedComponents` does: by their first 2x2 block.
    """
    own, block = _flood(image, at, width)
    rank = np.empty(len(block), dtype=np.int64)
    rank[np.argsort(block, kind="stable")] = np.arange(1, len(block) + 1)
    return len(block), rank[own]


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


@compiled
def _neighbours(image: NDArray[np.uint8], at: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """How many of the 8 around each place of a flat image are set."""
    count = np.zeros(len(at), dtype=np.int64)
    for k in range(len(at)):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                count[k] += image[at[k] + dy * width + dx]
        count[k] -= image[at[k]]
    return count


@compiled
def _flood(image: NDArray[np.uint8], at: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which piece (0..n-1) each of the places of a flat image is of, and the first 2x2 block of each piece.

    Only from place to place, 8-connected.
    """
    index = np.full(len(image), -1, dtype=np.int32)
    for k in range(len(at)):
        index[at[k]] = k
    own, block = np.full(len(at), -1, dtype=np.int64), np.empty(len(at), dtype=np.int64)
    stack = np.empty(len(at), dtype=np.int64)
    number = 0
    for start in range(len(at)):
        if own[start] >= 0:
            continue
        stack[0], waiting = start, 1
        own[start], block[number] = number, len(image)
        while waiting:
            waiting -= 1
            i = at[stack[waiting]]
            block[number] = min(block[number], i // width // 2 * width + i % width // 2)
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    k = index[i + dy * width + dx]
                    if k >= 0 and own[k] < 0:
                        own[k] = number
                        stack[waiting] = k
                        waiting += 1
        number += 1
    return own, block[:number]


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
def _follow(image: NDArray[np.uint8], starts: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write each branch's pixels in order from its start, and clear them; where each begins in `pixels`, and the end.

    Branches do not touch each other.
    """
    cuts = np.zeros(len(starts) + 1, dtype=np.int64)
    at = 0
    for branch in range(len(starts)):
        y, x = starts[branch, 0], starts[branch, 1]
        while y >= 0:
            pixels[at, 0], pixels[at, 1] = x, y
            at += 1
            image[y, x] = 0
            next_y, next_x = -1, -1
            # Pixels that share an edge come first: a step of a staircase is not jumped.
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                if next_y < 0 and image[y + dy, x + dx]:
                    next_y, next_x = y + dy, x + dx
            y, x = next_y, next_x
        cuts[branch + 1] = at
    return cuts


def with_edges(labels: NDArray[np.int32], *free: tuple[Mask, float]) -> NDArray[np.int32]:
    """The labels `(h, w)`, with ink of no line given to the nearest one.

    As `cv2.distanceTransformWithLabels` shares it out, but looking only as far from the labels as asked for.

    Args:
        labels: 0 = none.
        free: Masks `(h, w)`, each with how far from a line its ink may be, in pixels.
    """
    if not labels.any():
        return labels
    reach = max(far for _, far in free)
    margin = int(np.ceil(reach))
    rows, columns = ink_box(labels > 0)
    box = (
        slice(max(0, rows.start - margin), rows.stop + margin),
        slice(max(0, columns.start - margin), columns.stop + margin),
    )
    near = np.pad(labels[box], 2)
    looked_at = np.zeros(near.shape, dtype=np.uint8)
    window = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    looked_at[2:-2, 2:-2] = cv2.dilate((labels[box] > 0).view(np.uint8), window)
    away = _spread(near.ravel(), np.flatnonzero(looked_at), near.shape[1], reach).reshape(near.shape)[2:-2, 2:-2]
    edge = np.logical_or.reduce([mask[box] & (away <= far * _STEP) for mask, far in free])
    answer = labels.copy()
    np.copyto(answer[box], near[2:-2, 2:-2], where=edge & (answer[box] == 0))
    return answer


_STEP, _DIAGONAL, _KNIGHT = 65536, 91750, 143976
"""Lengths of steps: 1, 1.4 and 2.1969, as OpenCV has them."""


@compiled
def _spread(labels: NDArray[np.int32], at: NDArray[np.int64], width: int, reach: float) -> NDArray[np.int32]:
    """Write the nearest label into places of a flat image without one; how far away it is, in steps."""
    away = np.full(len(labels), 2**30, dtype=np.int32)
    for k in range(len(at)):
        if labels[at[k]]:
            away[at[k]] = 0
    steps = (2 * width + 1, 2 * width - 1, width + 2, width + 1, width, width - 1, width - 2, 1)
    costs = (_KNIGHT, _KNIGHT, _KNIGHT, _DIAGONAL, _STEP, _DIAGONAL, _KNIGHT, _STEP)
    # Forth and back over the picture, from the neighbours that were passed already.
    for turn in range(2):
        for n in range(len(at)):
            i = at[n] if turn == 0 else at[len(at) - 1 - n]
            if away[i] <= _STEP:
                continue
            for k in range(8):
                j = i - steps[k] if turn == 0 else i + steps[k]
                if away[j] + costs[k] < away[i] and away[j] + costs[k] <= reach * _STEP:
                    away[i] = away[j] + costs[k]
                    labels[i] = labels[j]
    return away
