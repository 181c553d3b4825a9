"""Ground thinned to strokes, one place wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.strokes import Strokes
from linegroup.vectors.bands import find_blots, hollow
from linegroup.vectors.branches import find_branches
from linegroup.vectors.ground import Ground
from linegroup.vectors.places import CAN_GO, COUNT, Bits, Mask, Nodes, Numbers, alive, around, name_pieces, write

UNREACHED = 0.35
"""Ink so many pixels beyond a stroke's reach is not of it: places are half a pixel apart, lines between them."""

ROUNDS = 5
"""So often it is looked for ground that has not been."""


def thin(ground: Ground) -> Strokes:
    """The strokes of a ground: points in pixels, thickness that of the pen.

    Thinning eats short tips. So the farthest ground that no stroke comes near is held fast, and the connected pieces
    that it is of are thinned again.
    """
    state = np.zeros(ground.at.shape, dtype=np.uint8)
    blots = find_blots(ground)
    nodes = hollow(ground, blots, state)
    number = ground.at[nodes[:, 1], nodes[:, 0]] - 1
    open_places = np.zeros(len(ground.nodes), dtype=np.bool_)
    open_places[number] = True
    held = np.zeros(len(ground.nodes), dtype=np.bool_)
    skeleton = thin_places(nodes, ground.nodes[held], state)
    piece = np.zeros(len(ground.nodes), dtype=np.int64)
    for turn in range(ROUNDS):
        pixels = _unreached(skeleton, ground, blots)
        if not len(pixels):
            break
        tips = _reaching(pixels, ground.at, ground.far, ground.scale * (ground.reach + 0.1), open_places)
        tips = tips[tips >= 0]
        tips = tips[~held[tips]]
        if not len(tips):
            break
        if turn == 0:
            count = name_pieces(ground.nodes, ground.at, np.ones_like(held), piece)
        changed = np.zeros(count + 1, dtype=np.bool_)
        changed[piece[tips]] = True
        held[tips] = True
        again = nodes[changed[piece[number]]]
        write(again, state, 1)
        skeleton = thin_places(again, ground.nodes[held & changed[piece]], state)
    return find_branches(nodes[alive(nodes, state)], state, ground)


def thin_places(nodes: Nodes, anchors: Nodes, state: Bits) -> Nodes:
    """Clear places from all four sides in turn until what is left is one wide, ends and anchors kept; what is left."""
    write(anchors, state, 2)
    left = _thin_all(nodes, state, CAN_GO, COUNT)
    write(anchors, state, 1)
    return np.asarray(left)


@compiled
def _thin_all(nodes: Nodes, state: Bits, can_go: Mask, number: Bits) -> Nodes:
    left = nodes.copy()
    count = len(left)
    marked = np.empty(count, dtype=np.int64)
    before = count + 1
    while count < before:
        before = count
        for du, dv in ((0, -1), (0, 1), (1, 0), (-1, 0)):
            found = 0
            for i in range(count):
                u, v = left[i, 0], left[i, 1]
                if state[v + dv, u + du] == 0 and state[v, u] == 1:
                    beside = around(u, v, state)
                    if can_go[beside] and number[beside] > 1:
                        marked[found] = i
                        found += 1
            for i in marked[:found]:
                u, v = left[i, 0], left[i, 1]
                beside = around(u, v, state)
                if can_go[beside] and number[beside] > 1:
                    state[v, u] = 0
        kept = 0
        for i in range(count):
            if state[left[i, 1], left[i, 0]] > 0:
                left[kept, 0], left[kept, 1] = left[i, 0], left[i, 1]
                kept += 1
        count = kept
    return left[:count].copy()


def _unreached(skeleton: Nodes, ground: Ground, blots: Mask) -> Nodes:
    """The farthest pixel of each piece of ink that no stroke reaches, but for blots."""
    away = np.full(len(ground.nodes), np.inf, dtype=np.float32)
    _walk_away(skeleton, ground.at, ground.scale, away, len(ground.nodes))
    if blots.any():
        x, y = ((ground.nodes + ground.scale - 1) // ground.scale).T
        away[np.append(False, blots)[ground.widest[y, x]]] = 0
    return ground.nodes[_farthest(ground, away)]


def _farthest(ground: Ground, away: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each connected piece of ink away from strokes the pixel that is farthest from them, if that is too far."""
    piece = np.zeros(len(ground.nodes), dtype=np.int64)
    near = (away > ground.reach + UNREACHED / 2) & (away < np.inf)
    far = np.flatnonzero(near & (away > ground.reach + UNREACHED))
    far = far[(ground.nodes[far] % ground.scale == 0).all(axis=1)]
    if not len(far):
        return np.asarray(far)
    name_pieces(ground.nodes, ground.at, near, piece)
    order = far[np.lexsort((far, -away[far], piece[far]))]
    return np.asarray(order[np.searchsorted(piece[order], np.unique(piece[order]))])


@compiled
def _reaching(pixels: Nodes, at: Numbers, far: NDArray[np.float32], reach: float, chosen: Mask) -> NDArray[np.int64]:
    """For each of the pixels the chosen place that reaches it best, of several the deepest one; -1 = none."""
    steps = int(2 * reach) + 1
    tips = np.full(len(pixels), -1, dtype=np.int64)
    for k in range(len(pixels)):
        best = -np.inf
        for dv in range(-steps, steps + 1):
            for du in range(-steps, steps + 1):
                u, v = pixels[k, 0] + du, pixels[k, 1] + dv
                squared = du * du + dv * dv
                if not (0 <= v < at.shape[0] and 0 <= u < at.shape[1]) or at[v, u] == 0 or not chosen[at[v, u] - 1]:
                    continue
                good = far[at[v, u] - 1] - 1e-3 * squared - 1e3 * max(0.0, np.sqrt(squared) - reach)
                if good > best:
                    best = good
                    tips[k] = at[v, u] - 1
    return tips


@compiled
def _walk_away(skeleton: Nodes, at: Numbers, scale: int, away: NDArray[np.float32], count: int) -> None:
    """Write how far each of `count` places is from the place of the skeleton nearest over ink."""
    queue = np.empty((count, 3), dtype=np.int32)
    end = len(skeleton)
    for i in range(end):
        queue[i, 0], queue[i, 1], queue[i, 2] = skeleton[i, 0], skeleton[i, 1], i
        away[at[skeleton[i, 1], skeleton[i, 0]] - 1] = 0
    first = 0
    while first < end:
        u, v, source = queue[first, 0], queue[first, 1], queue[first, 2]
        x, y = skeleton[source, 0], skeleton[source, 1]
        first += 1
        for du, dv in ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)):
            other = at[v + dv, u + du] - 1
            if other >= 0 and away[other] == np.inf:
                away[other] = np.sqrt((u + du - x) ** 2 + (v + dv - y) ** 2) / scale
                queue[end, 0], queue[end, 1], queue[end, 2] = u + du, v + dv, source
                end += 1
