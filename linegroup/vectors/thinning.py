"""Ground thinned to strokes, one place wide."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.strokes import Strokes
from linegroup.vectors.ground import Ground, Nodes

Mask = NDArray[np.bool_]
Bits = NDArray[np.uint8]

BAND = 1.1
"""Ground deeper than so many pixels is a band: it is gone around at its edge, as far as ink proves a line to be."""

APART = 0.75
"""Pixels between two rings."""

UNREACHED = 0.5
"""Ink so many pixels beyond a stroke's reach is not of it."""

ROUNDS = 5
"""So often it is looked for ground that has not been."""

HAIR = 0.6
"""Free strokes no longer than so many pixels are of the ink's rough edge."""

CERTAIN_BAND = 1.4
"""Somewhere it is so deep."""

DEEP, OBLONG = 3.2, 2.5
"""Bands deeper than that, and no longer than so many times their width, are marks."""

RINGS = 2.0
"""Bands wider than that are gone around again, so many pixels further inside."""


def _neighbour_table() -> NDArray[np.bool_]:
    """`(256,)`, by the neighbours that are set, from the right one on, turning: whether a place can go.

    Without it the same is connected as before, in the set as in its surroundings (Yokoi 1975).
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    clear = 1 - bits
    number = sum(clear[:, k] - clear[:, k] * clear[:, k + 1] * clear[:, (k + 2) % 8] for k in (0, 2, 4, 6))
    return np.asarray(number == 1)


_CAN_GO = _neighbour_table()
_COUNT = np.asarray(((np.arange(256)[:, None] >> np.arange(8)) & 1).sum(axis=1), dtype=np.uint8)


def thin(ground: Ground) -> Strokes:
    """The strokes of a ground: points in pixels, thickness that of the pen.

    Thinning eats short tips. So the farthest ground that no stroke comes near is held fast, and all is thinned again.
    """
    state = np.zeros(ground.at.shape, dtype=np.uint8)
    blots = _blots(ground)
    nodes = _hollow(ground, blots, state)
    open_places = np.zeros(len(ground.nodes), dtype=np.bool_)
    open_places[ground.at[nodes[:, 1], nodes[:, 0]] - 1] = True
    held = np.zeros(len(ground.nodes), dtype=np.bool_)
    anchors = ground.nodes[held]
    skeleton = _thin(nodes, anchors, state)
    for _ in range(ROUNDS):
        pixels = _unreached(skeleton, ground, blots)
        if not len(pixels):
            break
        tips = _reaching(pixels, ground.at, ground.far, ground.scale * (ground.reach + 0.1), open_places)
        tips = tips[tips >= 0]
        if held[tips].all():
            break
        held[tips] = True
        anchors = ground.nodes[held]
        _write(nodes, state, 1)
        skeleton = _thin(nodes, anchors, state)
    return _strokes(skeleton, state, ground)


def _blots(ground: Ground) -> Mask:
    """`(k,)`, the inside of marks and blots, which the pen did not make: deep, and hardly longer than wide."""
    depth = ground.far - ground.reach
    if depth.max(initial=0) <= DEEP:
        return np.zeros(len(depth), dtype=np.bool_)
    inside = depth > BAND
    piece = np.zeros(len(depth), dtype=np.int64)
    count = _name_pieces(ground.nodes, ground.at, inside, piece)
    deepest = np.zeros(count + 1)
    np.maximum.at(deepest, piece, depth)
    low, high = np.full((count + 1, 2), 2**30), np.zeros((count + 1, 2), dtype=np.int64)
    np.minimum.at(low, piece, ground.nodes)
    np.maximum.at(high, piece, ground.nodes)
    sides = (high - low) / ground.scale
    compact = (deepest > DEEP) & (sides.max(axis=1) <= OBLONG * sides.min(axis=1) + 1)
    compact[0] = False
    return np.asarray(compact[piece])


@compiled
def _name_pieces(nodes: Nodes, at: NDArray[np.int32], chosen: Mask, piece: NDArray[np.int64]) -> int:
    """Write the names of connected pieces of the chosen places, from 1; how many there are."""
    stack = np.empty(len(nodes), dtype=np.int64)
    count = 0
    for i in range(len(nodes)):
        if not chosen[i] or piece[i] > 0:
            continue
        count += 1
        piece[i] = count
        stack[0] = i
        waiting = 1
        while waiting > 0:
            waiting -= 1
            u, v = nodes[stack[waiting], 0], nodes[stack[waiting], 1]
            for dv in range(-1, 2):
                for du in range(-1, 2):
                    other = at[v + dv, u + du] - 1
                    if other >= 0 and chosen[other] and piece[other] == 0:
                        piece[other] = count
                        stack[waiting] = other
                        waiting += 1
    return count


def _hollow(ground: Ground, blots: Mask, state: Bits) -> Nodes:
    """The open places and what connects them, without the inside of bands: `(m, 2)`, written as 1."""
    _write(ground.nodes, state, 1)
    order = np.argsort(ground.far, kind="stable")
    _shrink(ground.nodes[order[~ground.open[order]]], state, _CAN_GO)
    depth = ground.far - ground.reach
    if depth.max(initial=0) > CERTAIN_BAND:
        inside = ~blots & ground.open & (depth > BAND) & ((depth - BAND) % RINGS < APART)
        _punch(ground.nodes[inside], depth[inside] > CERTAIN_BAND, state)
    return ground.nodes[_alive(ground.nodes, state)]


@compiled
def _write(nodes: Nodes, state: Bits, value: int) -> None:
    for i in range(len(nodes)):
        state[nodes[i, 1], nodes[i, 0]] = value


@compiled
def _punch(nodes: Nodes, certain: Mask, state: Bits) -> None:
    """Clear each connected piece of places with a certain one, but for a bridge from each ring to the next inside."""
    for i in range(len(nodes)):
        state[nodes[i, 1], nodes[i, 0]] = 4
    stack = np.empty((len(nodes), 2), dtype=np.int32)
    for i in range(len(nodes)):
        u, v = nodes[i, 0], nodes[i, 1]
        if state[v, u] != 4 or not certain[i]:
            continue
        top_u, top_v = u, v
        stack[0, 0], stack[0, 1] = u, v
        state[v, u] = 5
        waiting = 1
        while waiting > 0:
            waiting -= 1
            x, y = stack[waiting, 0], stack[waiting, 1]
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if state[y + dy, x + dx] == 4:
                        state[y + dy, x + dx] = 5
                        if y + dy < top_v:
                            top_u, top_v = x + dx, y + dy
                        stack[waiting, 0], stack[waiting, 1] = x + dx, y + dy
                        waiting += 1
        # The topmost place of what lies between two rings is above the inner one.
        while state[top_v, top_u] == 5:
            state[top_v, top_u] = 1
            top_v += 1
    for i in range(len(nodes)):
        state[nodes[i, 1], nodes[i, 0]] = state[nodes[i, 1], nodes[i, 0]] in (1, 4)


@compiled
def _alive(nodes: Nodes, state: Bits) -> Mask:
    alive = np.empty(len(nodes), dtype=np.bool_)
    for i in range(len(nodes)):
        alive[i] = state[nodes[i, 1], nodes[i, 0]] > 0
    return alive


@compiled
def _around(u: int, v: int, state: Bits) -> int:
    """The neighbours that are set, one bit each, from the right one on, turning."""
    return int(
        (state[v, u + 1] > 0)
        | (state[v - 1, u + 1] > 0) << 1
        | (state[v - 1, u] > 0) << 2
        | (state[v - 1, u - 1] > 0) << 3
        | (state[v, u - 1] > 0) << 4
        | (state[v + 1, u - 1] > 0) << 5
        | (state[v + 1, u] > 0) << 6
        | (state[v + 1, u + 1] > 0) << 7
    )


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
            if can_go[_around(u, v, state)]:
                state[v, u] = 0
            else:
                left[count, 0], left[count, 1] = u, v
                count += 1


def _thin(nodes: Nodes, anchors: Nodes, state: Bits) -> Nodes:
    """Clear places from all four sides in turn until what is left is one wide, ends and anchors kept; what is left."""
    _write(anchors, state, 2)
    left = _thin_all(nodes, state, _CAN_GO, _COUNT)
    _write(anchors, state, 1)
    return np.asarray(left)


@compiled
def _thin_all(nodes: Nodes, state: Bits, can_go: Mask, number: Bits) -> Nodes:
    left = nodes.copy()
    count = len(left)
    marked = np.empty(count, dtype=np.bool_)
    before = count + 1
    while count < before:
        before = count
        for du, dv in ((0, -1), (0, 1), (1, 0), (-1, 0)):
            for i in range(count):
                u, v = left[i, 0], left[i, 1]
                around = _around(u, v, state)
                marked[i] = state[v, u] == 1 and state[v + dv, u + du] == 0 and can_go[around] and number[around] > 1
            kept = 0
            for i in range(count):
                u, v = left[i, 0], left[i, 1]
                if marked[i]:
                    around = _around(u, v, state)
                    if can_go[around] and number[around] > 1:
                        state[v, u] = 0
                        continue
                left[kept, 0], left[kept, 1] = u, v
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
    beyond = ground.reach + UNREACHED
    found = _farthest(ground.nodes, ground.at, away, ground.scale, ground.reach + UNREACHED / 2, beyond)
    return np.asarray(ground.nodes[found])


@compiled
def _reaching(
    pixels: Nodes, at: NDArray[np.int32], far: NDArray[np.float32], reach: float, chosen: Mask
) -> NDArray[np.int64]:
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
def _walk_away(skeleton: Nodes, at: NDArray[np.int32], scale: int, away: NDArray[np.float32], count: int) -> None:
    """Write how far each of `count` places is from the place of the skeleton nearest over ink."""
    queue = np.empty((count, 4), dtype=np.int32)
    end = len(skeleton)
    for i in range(end):
        queue[i, 0] = queue[i, 2] = skeleton[i, 0]
        queue[i, 1] = queue[i, 3] = skeleton[i, 1]
        away[at[skeleton[i, 1], skeleton[i, 0]] - 1] = 0
    first = 0
    while first < end:
        u, v, x, y = queue[first]
        first += 1
        for du, dv in ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)):
            other = at[v + dv, u + du] - 1
            if other >= 0 and away[other] == np.inf:
                away[other] = np.hypot(u + du - x, v + dv - y) / scale
                queue[end, 0], queue[end, 1], queue[end, 2], queue[end, 3] = u + du, v + dv, x, y
                end += 1


@compiled
def _farthest(
    nodes: Nodes, at: NDArray[np.int32], away: NDArray[np.float32], scale: int, near: float, reached: float
) -> NDArray[np.int64]:
    """Of each connected piece of places farther away than `near` the farthest pixel, if it is not `reached`.

    Forgets how far they are.
    """
    stack = np.empty(len(nodes), dtype=np.int64)
    tips = np.empty(len(nodes), dtype=np.int64)
    count = 0
    for i in range(len(nodes)):
        if not near < away[i] < np.inf:
            continue
        best, farthest = -1, reached
        stack[0] = i
        waiting = 1
        while waiting > 0:
            waiting -= 1
            u, v = nodes[stack[waiting], 0], nodes[stack[waiting], 1]
            for dv in range(-1, 2):
                for du in range(-1, 2):
                    other = at[v + dv, u + du] - 1
                    if other >= 0 and near < away[other] < np.inf:
                        pixel = nodes[other, 0] % scale + nodes[other, 1] % scale == 0
                        if pixel and away[other] > farthest:
                            best, farthest = other, away[other]
                        away[other] = 0
                        stack[waiting] = other
                        waiting += 1
        if best >= 0:
            tips[count] = best
            count += 1
    return tips[:count].copy()


def _strokes(skeleton: Nodes, state: Bits, ground: Ground) -> Strokes:
    """Branches between places with three neighbours and more."""
    junctions = np.zeros(state.shape, dtype=np.int32)
    number = _name_junctions(skeleton, state, junctions, _COUNT)
    pixels = np.empty((len(skeleton), 2), dtype=np.int64)
    cuts, nodes = _follow(skeleton, state, junctions, pixels)
    nodes[(np.diff(cuts) == 1) & (nodes[:, 0] == nodes[:, 1]), 1] = -1
    places = pixels[: cuts[-1]] / ground.scale
    centres = _centres(skeleton, junctions, number) / ground.scale
    # Row -1 is none.
    points = [
        np.concatenate([centres[first : first + (first >= 0)], places[a:b], centres[last : last + (last >= 0)]])
        for (a, b), (first, last) in zip(pairwise(cuts.tolist()), nodes.tolist(), strict=True)
    ]
    return Strokes(points, nodes, np.full(len(points), 2 * ground.reach), number)


@compiled
def _centres(skeleton: Nodes, junctions: NDArray[np.int32], number: int) -> NDArray[np.int64]:
    """`(number, 2)`, the place in the middle of each junction."""
    sums = np.zeros((number, 3))
    for i in range(len(skeleton)):
        k = junctions[skeleton[i, 1], skeleton[i, 0]] - 1
        if k >= 0:
            sums[k, 0] += skeleton[i, 0]
            sums[k, 1] += skeleton[i, 1]
            sums[k, 2] += 1
    centres = np.zeros((number, 2), dtype=np.int64)
    least = np.full(number, np.inf)
    for i in range(len(skeleton)):
        u, v = skeleton[i, 0], skeleton[i, 1]
        k = junctions[v, u] - 1
        if k >= 0:
            away = np.hypot(u - sums[k, 0] / sums[k, 2], v - sums[k, 1] / sums[k, 2])
            if away < least[k]:
                least[k] = away
                centres[k, 0], centres[k, 1] = u, v
    return centres


@compiled
def _name_junctions(skeleton: Nodes, state: Bits, junctions: NDArray[np.int32], number: Bits) -> int:
    """Write the names of connected places with three neighbours and more, from 1; how many there are.

    In `state` they become 2.
    """
    for i in range(len(skeleton)):
        u, v = skeleton[i, 0], skeleton[i, 1]
        if number[_around(u, v, state)] >= 3:
            state[v, u] = 2
    count = 0
    stack = np.empty((len(skeleton), 2), dtype=np.int32)
    for i in range(len(skeleton)):
        u, v = skeleton[i, 0], skeleton[i, 1]
        if state[v, u] != 2 or junctions[v, u] > 0:
            continue
        count += 1
        stack[0, 0], stack[0, 1] = u, v
        junctions[v, u] = count
        waiting = 1
        while waiting > 0:
            waiting -= 1
            u, v = stack[waiting, 0], stack[waiting, 1]
            for dv in range(-1, 2):
                for du in range(-1, 2):
                    if state[v + dv, u + du] == 2 and junctions[v + dv, u + du] == 0:
                        junctions[v + dv, u + du] = count
                        stack[waiting, 0], stack[waiting, 1] = u + du, v + dv
                        waiting += 1
    return count


@compiled
def _follow(
    skeleton: Nodes, state: Bits, junctions: NDArray[np.int32], pixels: NDArray[np.int64]
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
            nodes[count, 0] = _junction_at(u, v, junctions, 0)
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
            nodes[count, 1] = _junction_at(u, v, junctions, nodes[count, 0] + 1 if single else 0)
            count += 1
            cuts[count] = n
    return cuts[: count + 1].copy(), nodes[:count].copy()


@compiled
def _junction_at(u: int, v: int, junctions: NDArray[np.int32], other: int) -> int:
    """The junction next to a place, from 0, another one than `other` (from 1) if there is one; -1 = none."""
    found = 0
    for dv in range(-1, 2):
        for du in range(-1, 2):
            near = junctions[v + dv, u + du]
            if near > 0 and (found == 0 or found == other):
                found = near
    return found - 1


def without_hairs(strokes: Strokes) -> Strokes:
    """Without short free strokes; where there are no others, all but the two longest."""
    if not strokes.junctions or not strokes.points:
        return strokes
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
    needed = np.zeros(len(lengths), dtype=np.bool_)
    for rank in (0, 1):
        there = order[np.minimum(first + rank, len(order) - 1)]
        alone = (ends[there] == np.arange(strokes.junctions)) & (longest <= HAIR)
        needed[there[alone] // 2] = True
    kept = np.flatnonzero(~short | needed)
    return replace(
        strokes,
        points=[strokes.points[k] for k in kept],
        nodes=strokes.nodes[kept],
        thickness=strokes.thickness[kept],
    )


def stroke_lengths(strokes: Strokes) -> NDArray[np.float64]:
    """`(s,)`, in pixels, from first to last point."""
    ends = np.cumsum([len(points) for points in strokes.points])
    points = np.concatenate(strokes.points)
    steps = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    along = np.cumsum(steps)
    return np.asarray(along[ends - 1] - along[np.append(0, ends[:-1])])
