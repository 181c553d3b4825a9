"""Lines of one ink: chains of strokes that belong together, and the pixels of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.grouping.chains import Chain, Looks, link_strokes
from linegroup.grouping.strokes import find_strokes, ink_box

Mask = NDArray[np.bool_]
Size = tuple[int, int]

COMMON = 0.5
"""A chain that shares less of its columns with a line may go on in it; one that shares more is another line."""

DIFFERENT = 2.0
"""Chains whose embeddings cost as much are not one line."""

LINE, PIECE = 0.25, 0.05
"""A line is begun by a chain as wide as this share of the plot; a chain may go on in it from that share on."""


def link_lines(mask: Mask, plot: Size, looks: Looks | None = None) -> list[list[Chain]]:
    """The lines of one ink, each as its chains, the longest first; one line where nothing says that there are more.

    Chains of strokes that have few columns in common are one line, those with the nearest ends first: what
    runs side by side is two.

    Args:
        mask: `(h, w)`, the ink.
        plot: `(height, width)` of the plot area.
        looks: What a model says of the ink.
    """
    if not mask.any():
        return []
    chains = link_strokes(find_strokes(mask), plot[1], looks)
    return _gather(chains, plot[1], looks)


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


def _gather(chains: list[Chain], width: float, looks: Looks | None) -> list[list[Chain]]:
    """Chains by line, the longest first: each goes on in the nearest line that it may, or begins one, or is left."""
    if not chains:
        return [[]]
    score = np.array([max(np.ptp(c.points[:, 0]) + 1, 0.5 * len(c.points)) for c in chains])
    least = max(width, score.max())
    lines: list[list[Chain]] = []
    for k in np.argsort(-score, kind="stable"):
        if score[k] < PIECE * least:
            break
        open_to = [line for line in lines if _shared(chains[k], line) < COMMON and _alike(chains[k], line, looks)]
        if open_to:
            min(open_to, key=partial(_apart, chains[k])).append(chains[k])
        elif not lines or score[k] >= LINE * least:
            lines.append([chains[k]])
    return lines or [[]]


def _shared(chain: Chain, line: Sequence[Chain]) -> float:
    """Share of a chain's columns that a line has, too."""
    first, last = chain.points[:, 0].min(), chain.points[:, 0].max() + 1
    columns = np.zeros(int(last - first) + 1, dtype=np.bool_)
    for other in line:
        a, b = other.points[:, 0].min() - first, other.points[:, 0].max() + 1 - first
        columns[max(0, int(a)) : max(0, int(b))] = True
    return float(columns[: int(last - first)].mean())


def _alike(chain: Chain, line: Sequence[Chain], looks: Looks | None) -> bool:
    """Whether nothing that a model says speaks against one line."""
    if looks is None:
        return True
    one, other = looks.mean(chain.points), looks.mean(line[0].points)
    return bool(looks.cost(one[None], other[None])[0] < DIFFERENT)


def _apart(chain: Chain, line: Sequence[Chain]) -> float:
    """Distance of the nearest ends."""
    return min(
        float(np.hypot(*(a - b)))
        for a in (chain.points[0], chain.points[-1])
        for other in line
        for b in (other.points[0], other.points[-1])
    )
