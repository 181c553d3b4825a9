"""Where ink is wider than the pen: bands are gone around, ring by ring; marks and blots are not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.unions import unite
from linegroup.vectors.ground import Ground
from linegroup.vectors.places import CAN_GO, Bits, Mask, Nodes, Numbers, alive, around, name_pieces, write

BAND = 1.1
"""Ground deeper than so many pixels is a band: it is gone around at its edge, as far as ink proves a line to be."""

CERTAIN_BAND = 1.4
"""Somewhere it is so deep."""

APART = 0.75
"""Pixels between two rings."""

RINGS = 2.0
"""Bands wider than that are gone around again, so many pixels further inside."""

FLANKS, DENSE = 1.5, 0.35
"""Two flanks that run into each other are a band no deeper than the pen's reach; deeper ones are dense.

No stroke is needed between flanks at most so many pixels from their middle. The depth is known to about so many.
"""

DEEP, OBLONG, SOLID = 3.2, 2.5, 0.87
"""Bands deeper than that, no longer than so many times their width, that fill so much of their hull, are marks."""


def between_flanks(ground: Ground) -> float:
    """How deep in pixels the middle between two flanks can be, or there is no need for another stroke."""
    return max(FLANKS, ground.reach) + DENSE


def find_blots(ground: Ground) -> Mask:
    """`(k,)`, the inside of marks and blots, which the pen did not make: deep, hardly longer than wide, and convex.

    Where a dense line runs into itself, the edge is ragged.
    """
    depth = ground.far - ground.reach
    if depth.max(initial=0) <= DEEP:
        return np.zeros(len(depth), dtype=np.bool_)
    inside = depth > BAND
    piece = np.zeros(len(depth), dtype=np.int64)
    count = name_pieces(ground.nodes, ground.at, inside, piece)
    compact = _deepest(depth, piece, count) > DEEP
    for k in np.flatnonzero(compact):
        places = ground.nodes[piece == k]
        short, long = sorted((np.ptp(places, axis=0) / ground.scale).tolist())
        compact[k] = long <= OBLONG * short + 1 and _solidity(places) >= SOLID
    return np.asarray(compact[piece])


@compiled
def _deepest(depth: NDArray[np.float32], piece: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """`(count + 1,)`, of each piece, from 1."""
    deepest = np.zeros(count + 1, dtype=np.float32)
    for i in range(len(depth)):
        if piece[i] > 0 and depth[i] > deepest[piece[i]]:
            deepest[piece[i]] = depth[i]
    return deepest


def _solidity(places: Nodes) -> float:
    """Share of the places in their convex hull and on its edge that are there (counted by the theorem of Pick 1899)."""
    hull = cv2.convexHull(places[:, None])
    return float(len(places) / (cv2.contourArea(hull) + cv2.arcLength(hull, closed=True) / 2 + 1))


def hollow(ground: Ground, blots: Mask, state: Bits) -> Nodes:
    """The open places and what connects them, without the inside of bands: `(m, 2)`, written as 1."""
    write(ground.nodes, state, 1)
    closed = np.flatnonzero(~ground.open)
    _shrink(ground.nodes[closed[np.argsort(ground.far[closed], kind="stable")]], state, CAN_GO)
    depth = ground.far - ground.reach
    if depth.max(initial=0) > CERTAIN_BAND:
        _punch(ground, ~blots & ground.open & (depth > BAND), depth, state)
    return ground.nodes[alive(ground.nodes, state)]


@compiled
def _shrink(nodes: Nodes, state: Bits, can_go: Mask) -> None:
    """Clear places in their order, again and again, that nothing hangs on; ends go too."""
    left = nodes.copy()
    count = len(left)
    before = count + 1
    while count < before:
        before, count = count, 0
        for i in range(before):
            u, v = left[i, 0], left[i, 1]
            if can_go[around(u, v, state)]:
                state[v, u] = 0
            else:
                left[count, 0], left[count, 1] = u, v
                count += 1


def _punch(ground: Ground, inside: Mask, depth: NDArray[np.float32], state: Bits) -> None:
    """Clear the inside of each band but for further rings, if it is dense, and for bridges to them."""
    piece = np.zeros(len(inside), dtype=np.int64)
    count = name_pieces(ground.nodes, ground.at, inside, piece)
    deepest = _deepest(depth, piece, count)
    dense = deepest > between_flanks(ground)
    cleared = inside & (deepest > CERTAIN_BAND)[piece] & (~dense[piece] | ((depth - BAND) % RINGS < APART))
    was = alive(ground.nodes, state)
    write(ground.nodes[cleared], state, 0)
    rest = np.zeros(len(inside), dtype=np.int64)
    number = name_pieces(ground.nodes, ground.at, was & ~cleared, rest)
    _bridge(ground.nodes, ground.at, cleared, rest, np.arange(number + 1), state)


@compiled
def _bridge(
    nodes: Nodes, at: Numbers, cleared: Mask, rest: NDArray[np.int64], parent: NDArray[np.int64], state: Bits
) -> None:
    """Set cleared places straight up from one piece of the rest to another, as few times as connects all again."""
    for i in range(len(nodes)):
        if rest[i] == 0:
            continue
        u, v = nodes[i, 0], nodes[i, 1]
        above = v - 1
        while at[above, u] > 0 and cleared[at[above, u] - 1]:
            above -= 1
        other = at[above, u] - 1
        if above < v - 1 and other >= 0 and rest[other] > 0 and unite(parent, rest[i], rest[other]):
            for between in range(above + 1, v):
                state[between, u] = 1
