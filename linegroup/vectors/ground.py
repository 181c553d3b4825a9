"""Where the middle of the pen can have been: places whose whole disc is ink.

A line of thickness t inks what lies within t/2 of its centre line. So its centre line nowhere comes nearer than that
to paper, and its ink has no pixel farther from it. Both together say far more than the middle of the ink does: flanks
of a narrow peak that run into each other stay apart, corners stay sharp, and ends are where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled

Mask = NDArray[np.bool_]
Nodes = NDArray[np.int32]
Lengths = NDArray[np.float32]

THICK = 5
"""Ink of lines so many pixels thick is looked at in whole pixels, other in halves."""

RARE = 0.05
"""Share of the ink that may be of a thinner pen: what is rough, or fades."""

PIXELATED = 0.4
"""So much farther from paper than half its thickness is the middle of a line, measured in pixels."""

ROUNDING = 0.0
"""The reach is known to about so many pixels."""

SLACK = 0.25
"""Ink so many pixels beyond the pen's reach is still of it."""


@dataclass(frozen=True, eq=False)
class Ground:
    """The places of a mask, at pixels and, where it is thin, half-way between them.

    Attributes:
        nodes: `(k, 2)`, x first, in steps of 1 / scale pixels, row by row.
        at: `(scale h, scale w) int32`, the number of each place, from 1; 0 = none.
        far: `(k,)`, from the nearest pixel of paper, in pixels.
        widest: `(h, w) int32`, of each pixel the place of the thickest pen that can have inked it, from 1; 0 = paper.
        open: `(k,)`, where the middle of the pen can have been, or nothing better is known.
        reach: Half the pen's thickness, in pixels, as far as pixels tell: so much is free of paper around it.
        scale: Places per pixel, 1 or 2.
    """

    nodes: Nodes
    at: NDArray[np.int32]
    far: Lengths
    widest: NDArray[np.int32]
    open: Mask
    reach: float
    scale: int


def find_ground(mask: Mask) -> Ground:
    """The ground of a mask `(h, w)` with ink, two pixels of paper at each side."""
    ink = mask.astype(np.uint8)
    thick = cv2.countNonZero(cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((THICK, THICK), np.uint8)))
    return _measured(mask, 1 if thick >= (1 - RARE) * cv2.countNonZero(ink) else 2)


def _measured(mask: Mask, scale: int) -> Ground:
    at = np.zeros((scale * mask.shape[0], scale * mask.shape[1]), dtype=np.int32)
    nodes = _number(mask, scale, at)
    far = _distances(nodes, at, scale)
    widest = np.zeros(mask.shape, dtype=np.int32)
    _find_widest(nodes, at, far, scale, widest)
    pixels = nodes if scale == 1 else nodes[(nodes & 1).sum(axis=1) == 0]
    xs, ys = pixels.T // scale
    pens = far[widest[ys, xs] - 1]
    widest_of_most = float(np.partition(pens, int(RARE * len(pens)))[int(RARE * len(pens))])
    reach = max(0.5, widest_of_most - PIXELATED)
    is_open = far >= reach - ROUNDING
    rest = pens < reach - ROUNDING
    _open_rest(xs[rest], ys[rest], widest, at, scale, reach + SLACK, is_open)
    return Ground(nodes, at, far, widest, is_open, reach, scale)


@compiled
def _number(mask: Mask, scale: int, at: NDArray[np.int32]) -> Nodes:
    """Write the numbers of the places; the places `(k, 2)`, row by row.

    Between two pixels there is a place if both are ink, between four if two opposite ones are.
    """
    height, width = mask.shape
    nodes = np.empty((1024, 2), dtype=np.int32)
    count = 0
    for y in range(height - 1):
        if count + 4 * width > len(nodes):
            longer = np.empty((2 * count + 4 * width, 2), dtype=np.int32)
            longer[:count] = nodes[:count]
            nodes = longer
        for x in range(width - 1):
            if mask[y, x]:
                nodes[count, 0], nodes[count, 1] = scale * x, scale * y
                count += 1
                if scale == 2 and mask[y, x + 1]:
                    nodes[count, 0], nodes[count, 1] = 2 * x + 1, 2 * y
                    count += 1
        if scale == 1:
            continue
        for x in range(width - 1):
            if mask[y, x] and mask[y + 1, x]:
                nodes[count, 0], nodes[count, 1] = 2 * x, 2 * y + 1
                count += 1
            if (mask[y, x] and mask[y + 1, x + 1]) or (mask[y + 1, x] and mask[y, x + 1]):
                nodes[count, 0], nodes[count, 1] = 2 * x + 1, 2 * y + 1
                count += 1
    for i in range(count):
        at[nodes[i, 1], nodes[i, 0]] = i + 1
    return nodes[:count].copy()


@compiled
def _distances(nodes: Nodes, at: NDArray[np.int32], scale: int) -> Lengths:
    """`(k,)`, of each place to the nearest pixel of paper (Danielsson 1980)."""
    count, odd = len(nodes), scale - 1
    nearest = np.empty((count, 2), dtype=np.int32)
    squared = np.full(count, 2**30, dtype=np.int32)
    for i in range(count):
        u, v = nodes[i, 0], nodes[i, 1]
        for dv in range(-2, 3):
            for du in range(-2, 3):
                paper = (u + du) & odd == 0 and (v + dv) & odd == 0 and at[v + dv, u + du] == 0
                if paper and du * du + dv * dv < squared[i]:
                    squared[i] = du * du + dv * dv
                    nearest[i, 0], nearest[i, 1] = u + du, v + dv
    for turn in range(4):
        sign = -1 if turn % 2 == 0 else 1
        for k in range(count):
            i = k if turn % 2 == 0 else count - 1 - k
            u, v = nodes[i, 0], nodes[i, 1]
            for du, dv in ((1, 0), (-1, 1), (0, 1), (1, 1)):
                other = at[v + sign * dv, u + sign * du] - 1
                if other >= 0 and squared[other] < 2**30:
                    x, y = nearest[other, 0], nearest[other, 1]
                    away = (x - u) ** 2 + (y - v) ** 2
                    if away < squared[i]:
                        squared[i] = away
                        nearest[i, 0], nearest[i, 1] = x, y
    return (np.sqrt(squared) / scale).astype(np.float32)


@compiled
def _find_widest(nodes: Nodes, at: NDArray[np.int32], far: Lengths, scale: int, widest: NDArray[np.int32]) -> None:
    """Write for each pixel the place, from 1, of the thickest pen that can have inked it.

    Its distance from paper is the local thickness (Hildebrand and Rüegsegger 1997).
    """
    for i in range(len(nodes)):
        u, v = nodes[i, 0], nodes[i, 1]
        inside = False
        for dv in range(-1, 2):
            for du in range(-1, 2):
                other = at[v + dv, u + du] - 1
                # Its disc lies in that of a neighbour.
                inside |= other >= 0 and far[other] > far[i] + 0.9 * np.sqrt(du * du + dv * dv) / scale
        x, y, reach = u / scale, v / scale, far[i]
        if inside:
            reach = 0.0
        for q in range(int(np.ceil(y - reach)), int(np.floor(y + reach)) + 1):
            half = np.sqrt(max(0.0, reach * reach - (q - y) * (q - y)))
            half = max(0.0, half - 1e-4)
            for p in range(int(np.ceil(x - half)), int(np.floor(x + half)) + 1):
                if widest[q, p] == 0 or far[i] > far[widest[q, p] - 1]:
                    widest[q, p] = i + 1


@compiled
def _open_rest(
    xs: NDArray[np.int64],
    ys: NDArray[np.int64],
    widest: NDArray[np.int32],
    at: NDArray[np.int32],
    scale: int,
    reach: float,
    is_open: Mask,
) -> None:
    """Open the places of the thickest pens at pixels that no open place reaches."""
    steps = int(reach * scale)
    further = np.zeros(len(xs), dtype=np.bool_)
    for k in range(len(xs)):
        u, v = scale * xs[k], scale * ys[k]
        further[k] = True
        for dv in range(-steps, steps + 1):
            for du in range(-steps, steps + 1):
                if not further[k] or du * du + dv * dv > (reach * scale) ** 2:
                    continue
                if 0 <= v + dv < at.shape[0] and 0 <= u + du < at.shape[1]:
                    other = at[v + dv, u + du] - 1
                    further[k] = other < 0 or not is_open[other]
    for k in range(len(xs)):
        if further[k]:
            is_open[widest[ys[k], xs[k]] - 1] = True
