"""A skeleton as strokes: its branches from junction to junction, in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.strokes import Strokes
from linegroup.vectors.ground import Ground
from linegroup.vectors.places import COUNT, Bits, Mask, Nodes, Numbers, around, name_pieces

HAIR = 0.6
"""Free strokes no longer than so many pixels are of the ink's rough edge."""


def find_branches(skeleton: Nodes, state: Bits, ground: Ground) -> Strokes:
    """Branches between places with three neighbours and more: points in pixels, thickness that of the pen.

    Args:
        skeleton: `(n, 2)`, places of the ground, row by row.
        state: Picture in which these are 1, all others 0; it is used up.
        ground: Of the ink.
    """
    junctions = np.zeros(len(ground.nodes), dtype=np.int64)
    number = name_pieces(ground.nodes, ground.at, _meeting(ground.nodes, state, COUNT), junctions)
    pixels = np.empty((len(skeleton), 2), dtype=np.int64)
    cuts, nodes = _follow(skeleton, state, ground.at, junctions, pixels)
    nodes[(np.diff(cuts) == 1) & (nodes[:, 0] == nodes[:, 1]), 1] = -1
    places = pixels[: cuts[-1]] / ground.scale
    centres = _centres(skeleton, ground.at, junctions, number) / ground.scale
    # A branch begins and ends in the middle of the junctions that it is between.
    meets = nodes >= 0
    points = np.insert(places, np.stack([cuts[:-1], cuts[1:]], axis=1)[meets], centres[nodes[meets]], axis=0)
    cuts = cuts + np.append(0, np.cumsum(meets.sum(axis=1)))
    return Strokes(points, cuts, nodes, np.full(len(nodes), 2 * ground.reach), number)


@compiled
def _meeting(nodes: Nodes, state: Bits, number: Bits) -> Mask:
    """`(k,)`, the places of the skeleton with three neighbours and more; in the picture they become 2."""
    meeting = np.zeros(len(nodes), dtype=np.bool_)
    for i in range(len(nodes)):
        u, v = nodes[i, 0], nodes[i, 1]
        if state[v, u] > 0 and number[around(u, v, state)] >= 3:
            meeting[i] = True
            state[v, u] = 2
    return meeting


@compiled
def _centres(skeleton: Nodes, at: Numbers, junctions: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """`(number, 2)`, the place in the middle of each junction."""
    sums = np.zeros((number, 3))
    for i in range(len(skeleton)):
        k = junctions[at[skeleton[i, 1], skeleton[i, 0]] - 1] - 1
        if k >= 0:
            sums[k, 0] += skeleton[i, 0]
            sums[k, 1] += skeleton[i, 1]
            sums[k, 2] += 1
    centres = np.zeros((number, 2), dtype=np.int64)
    least = np.full(number, np.inf)
    for i in range(len(skeleton)):
        u, v = skeleton[i, 0], skeleton[i, 1]
        k = junctions[at[v, u] - 1] - 1
        if k >= 0:
            away = np.hypot(u - sums[k, 0] / sums[k, 2], v - sums[k, 1] / sums[k, 2])
            if away < least[k]:
                least[k] = away
                centres[k, 0], centres[k, 1] = u, v
    return centres


@compiled
def _follow(
    skeleton: Nodes, state: Bits, at: Numbers, junctions: NDArray[np.int64], pixels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write each branch's places in order from an end, rings from anywhere; where each begins, and its junctions."""
    cuts = np.zeros(len(skeleton) + 1, dtype=np.int64)
    nodes = np.full((len(skeleton), 2), -1, dtype=np.int64)
    count, n = 0, 0
    for rings in (False, True):
        for i in range(len(skeleton)):
            u, v = skeleton[i, 0], skeleton[i, 1]
            if state[v, u] != 1:
                continue
            beside = 0
            for dv in range(-1, 2):
                for du in range(-1, 2):
                    beside += state[v + dv, u + du] == 1
            if beside > 2 and not rings:
                continue
            nodes[count, 0] = _junction_at(u, v, at, junctions, 0)
            more = True
            while more:
                pixels[n, 0], pixels[n, 1] = u, v
                n += 1
                state[v, u] = 3
                more = False
                for du, dv in ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)):
                    if not more and state[v + dv, u + du] == 1:
                        u, v, more = u + du, v + dv, True
            # A single place between two junctions has both of them around it.
            single = n - cuts[count] == 1
            nodes[count, 1] = _junction_at(u, v, at, junctions, nodes[count, 0] + 1 if single else 0)
            count += 1
            cuts[count] = n
    return cuts[: count + 1].copy(), nodes[:count].copy()


@compiled
def _junction_at(u: int, v: int, at: Numbers, junctions: NDArray[np.int64], other: int) -> int:
    """The junction next to a place, from 0, another one than `other` (from 1) if there is one; -1 = none."""
    found = 0
    for dv in range(-1, 2):
        for du in range(-1, 2):
            place = at[v + dv, u + du]
            near = junctions[place - 1] if place > 0 else 0
            if near > 0 and (found == 0 or found == other):
                found = near
    return found - 1


def find_hairs(strokes: Strokes) -> Mask:
    """`(s,)`, short free strokes; where there are no others, all but the two longest."""
    if not strokes.junctions or not len(strokes):
        return np.zeros(len(strokes), dtype=np.bool_)
    lengths = stroke_lengths(strokes)
    free = (strokes.nodes >= 0).sum(axis=1) == 1
    ends = strokes.nodes.ravel()
    order = np.lexsort((-lengths.repeat(2), ends))
    first = np.searchsorted(ends[order], np.arange(strokes.junctions))
    short = free & (lengths <= HAIR)
    there = order[np.minimum(first, len(order) - 1)]
    longest = np.zeros(strokes.junctions)
    found = ends[there] == np.arange(strokes.junctions)
    longest[found] = lengths[there[found] // 2]
    for rank in (0, 1):
        there = order[np.minimum(first + rank, len(order) - 1)]
        alone = (ends[there] == np.arange(strokes.junctions)) & (longest <= HAIR)
        short[there[alone] // 2] = False
    return np.asarray(short)


def stroke_lengths(strokes: Strokes) -> NDArray[np.float64]:
    """`(s,)`, in pixels, from first to last point."""
    if not len(strokes):
        return np.zeros(0)
    steps = np.hypot(*np.diff(strokes.points, axis=0, prepend=strokes.points[:1]).T)
    along = np.cumsum(steps)
    return np.asarray(along[strokes.cuts[1:] - 1] - along[strokes.cuts[:-1]])
