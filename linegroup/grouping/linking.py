"""Lines of one ink: chains of strokes that belong together, and the pixels of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.chain import Chain
from linegroup.grouping.chains import Looks, link_strokes
from linegroup.grouping.gathering import gather
from linegroup.grouping.strokes import Strokes, find_strokes, ink_box, ink_pixels

Mask = NDArray[np.bool_]
Size = tuple[int, int]


def link_lines(
    mask: Mask, plot: Size, looks: Looks | None = None, *, alone: bool = True, strokes: Strokes | None = None
) -> list[list[Chain]]:
    """The lines of one ink, each as its chains, the longest first; one line where nothing says that there are more.

    Args:
        mask: `(h, w)`, the ink.
        plot: `(height, width)` of the plot area.
        looks: What a model says of the ink.
        alone: Whether hardly anything else is drawn: then the ink may be several lines, and turns back are doubtful.
        strokes: Of the ink, where they are known.
    """
    if not mask.any():
        return []
    chains = link_strokes(strokes or find_strokes(mask), plot[1], looks, alone=alone)
    return gather(chains, plot[1], looks, alone=alone)


def share_out(mask: Mask, lines: Sequence[Sequence[Chain]]) -> NDArray[np.int32]:
    """`(h, w)`: which line each pixel of the ink is of, 1..K; the one whose stroke is nearest. 0 beside the ink.

    A line without chains is that of all the ink.
    """
    if len(lines) == 1:
        return mask.astype(np.int32)
    box = ink_box(mask)
    if mask[box].shape != mask.shape:
        whole = np.zeros(mask.shape, dtype=np.int32)
        corner = np.array([box[1].start, box[0].start])
        moved = [[replace(chain, points=chain.points - corner) for chain in line] for line in lines]
        whole[box] = share_out(mask[box], moved)
        return whole
    labels = np.zeros(mask.shape, dtype=np.int32)
    for k, line in enumerate(lines):
        for chain in line:
            x, y = chain.points.astype(np.int64).T
            labels[y, x] = k + 1
    if not labels.any():
        return mask.astype(np.int32) * min(1, len(lines))
    nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    names = np.zeros(int(nearest.max()) + 1, dtype=np.int32)
    names[nearest[labels > 0]] = labels[labels > 0]
    return np.where(mask, names[nearest], 0)


def bridges(
    lines: Sequence[Sequence[Chain]], labels: NDArray[np.int32], reach: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pixels of no line in the narrow gaps of lines 1..K: their places `(B, 2)`, x first, and lines `(B,)`.

    Args:
        lines: The chains of each.
        labels: `(h, w)`, the line of each pixel, 0 = none.
        reach: A gap is bridged if so many pixels of its way at most are of no line or of another one.
    """
    drawn: NDArray[np.int32] | None = None
    for number, line in enumerate(lines, start=1):
        for chain in line:
            ways = _gaps(chain)
            ways = ways[_outside(ways, labels, number) <= reach]
            if len(ways):
                drawn = np.zeros(labels.shape, dtype=np.int32) if drawn is None else drawn
                thickness = round(chain.thickness + 1)  # with its soft edges
                cv2.polylines(drawn, list(ways), isClosed=False, color=number, thickness=thickness)
    if drawn is None:
        return np.zeros((0, 2), dtype=np.int32), np.zeros(0, dtype=np.int32)
    ys, xs = ink_pixels((drawn > 0) & (labels == 0))
    return np.stack([xs, ys], axis=1).astype(np.int32), drawn[ys, xs]


def _gaps(chain: Chain) -> NDArray[np.int32]:
    """`(n, 2, 2)`, the two ends of each gap of a chain, a ring's last one included."""
    points = np.rint(chain.points).astype(np.int32)
    if chain.closed:
        points = np.append(points, points[:1], axis=0)
    at = np.flatnonzero(np.abs(np.diff(points, axis=0)).max(axis=1) > 1)
    return np.stack([points[at], points[at + 1]], axis=1)


@compiled
def _outside(ways: NDArray[np.int32], labels: NDArray[np.int32], number: int) -> NDArray[np.float64]:
    """`(n,)`, how many pixels of each of some straight ways `(n, 2, 2)` are not of a line."""
    outside = np.zeros(len(ways))
    for k in range(len(ways)):
        x, y = ways[k, 0]
        right, down = ways[k, 1, 0] - x, ways[k, 1, 1] - y
        length = np.hypot(right, down)
        steps = int(2 * length) + 1
        for step in range(steps + 1):
            share = step / steps
            outside[k] += labels[round(y + share * down), round(x + share * right)] != number
        outside[k] *= length / (steps + 1)
    return outside


def drawn_over(line: Sequence[Chain], size: Size, reach: float) -> Mask:
    """`(h, w)`: what a line as thick as its strokes covers, gaps up to `reach` included."""
    drawn = np.zeros(size, dtype=np.uint8)
    for chain in line:
        thickness = max(1, round(chain.thickness))
        steps = np.hypot(*np.diff(chain.points, axis=0).T)
        cuts = [0, *(np.flatnonzero(steps > reach) + 1).tolist(), len(chain.points)]
        for a, b in pairwise(cuts):
            cv2.polylines(drawn, [chain.points[a:b].astype(np.int32)], chain.closed, 1, thickness)
    return drawn.view(np.bool_)
