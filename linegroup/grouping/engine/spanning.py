"""The minimum spanning tree of mutual reachability, by Borůvka's rounds on a kd-tree (March et al. 2010)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled, inlined
from linegroup.grouping.engine.density import find
from linegroup.grouping.engine.tree import (
    LANES,
    TINY,
    PointTree,
    block_distances,
    exact_distance,
    point_to_box,
    smallest,
)

Array = NDArray[Any]


@compiled
def spanning_tree(tree: PointTree, reach: Array, band: float, work: Array) -> tuple[Array, Array]:
    """Edges `(N - 1, 2) int64`, as positions, and their squared lengths `(N - 1,)`, shortest first.

    The length of an edge is the mutual reachability of its ends: the largest of their distance and the two
    core distances (Campello et al. 2013). Each round joins every component but the largest to the one nearest
    to it: the largest would search most and is found by the others. What a point's search finds stays true
    until that neighbour joins its own component, so most points search but a few times. Edges of one round
    are taken shortest first and left out if they would close a ring, so that equal lengths do no harm.

    Args:
        tree: N points.
        reach: `(N,) float64` by position, squared core distances.
        band: The tree's rounding band.
        work: Spent and allowed; with too little of it edges are missing.
    """
    count = len(tree.order)
    ends = np.empty((count - 1, 2), dtype=np.int64)
    lengths = np.empty(count - 1, dtype=np.float64)
    joined = np.arange(count)
    part = np.arange(count)
    near = np.full(count, -1, dtype=np.int64)
    least = reach.copy()  # no edge that leads out of a point's component is shorter
    best = np.empty(count, dtype=np.float64)
    edge = np.empty((count, 2), dtype=np.int64)
    lowest = _lowest(tree, reach)
    alike = np.empty(len(tree.after), dtype=np.int64)
    sizes = np.empty(count, dtype=np.int64)
    made = 0
    while made < count - 1 and work[0] <= work[1]:
        sizes[:] = 0
        for p in range(count):
            part[p] = find(joined, p)
            sizes[part[p]] += 1
        largest = int(np.argmax(sizes))
        _mark_alike(tree, part, alike)
        best[:] = np.inf
        for p in range(count):
            if near[p] >= 0 and part[near[p]] == part[p]:
                near[p] = -1
            if near[p] >= 0 and least[p] < best[part[p]]:
                best[part[p]] = least[p]
                edge[part[p], 0], edge[part[p], 1] = p, near[p]
        _search(tree, reach, band, part, alike, lowest, near, least, best, edge, largest, work)
        roots = np.flatnonzero((part == np.arange(count)) & (best < np.inf))
        for root in roots[np.argsort(best[roots], kind="mergesort")]:
            if root == largest:
                continue
            a, b = find(joined, edge[root, 0]), find(joined, edge[root, 1])
            if a != b:
                joined[max(a, b)] = min(a, b)
                ends[made, 0], ends[made, 1] = edge[root, 0], edge[root, 1]
                lengths[made] = best[root]
                made += 1
    order = np.argsort(lengths[:made], kind="mergesort")
    return ends[order], lengths[order]


@compiled
def _lowest(tree: PointTree, reach: Array) -> Array:
    """Smallest core distance in each node."""
    lowest = np.empty(len(tree.after), dtype=np.float64)
    for node in range(len(lowest) - 1, -1, -1):
        if tree.after[node] == node + 1:
            lowest[node] = reach[tree.start[node] : tree.stop[node]].min()
        else:
            lowest[node] = min(lowest[node + 1], lowest[tree.after[node + 1]])
    return lowest


@compiled
def _mark_alike(tree: PointTree, part: Array, alike: Array) -> None:
    """The component of each node whose points are all of one, else -1."""
    for node in range(len(alike) - 1, -1, -1):
        if tree.after[node] == node + 1:
            alike[node] = part[tree.start[node]]
            for position in range(tree.start[node] + 1, tree.stop[node]):
                if part[position] != alike[node]:
                    alike[node] = -1
                    break
        else:
            left, right = alike[node + 1], alike[tree.after[node + 1]]
            alike[node] = left if left == right else -1


@compiled
def _search(
    tree: PointTree,
    reach: Array,
    band: float,
    part: Array,
    alike: Array,
    lowest: Array,
    near: Array,
    least: Array,
    best: Array,
    edge: Array,
    largest: int,
    work: Array,
) -> None:
    """Find the shortest edge out of every component but the largest, into `best` and `edge`."""
    distances = np.empty(LANES, dtype=tree.blocks.dtype)
    query = np.empty(tree.blocks.shape[1], dtype=tree.blocks.dtype)
    for leaf in tree.leaf:
        first, stop = tree.start[leaf], tree.stop[leaf]
        if alike[leaf] == largest:
            continue
        for p in range(first, stop):
            own = part[p]
            if own == largest or near[p] >= 0 or least[p] >= best[own]:
                continue
            for d in range(len(query)):
                query[d] = tree.points[p, d]
            near[p], least[p] = _nearest_outside(
                tree, reach, band, part, alike, lowest, p, query, least[p], best[own], distances, work
            )
            if near[p] >= 0:
                best[own] = least[p]
                edge[own, 0], edge[own, 1] = p, near[p]
                other = part[near[p]]  # the same edge leads out of that component, too
                if least[p] < best[other]:
                    best[other] = least[p]
                    edge[other, 0], edge[other, 1] = near[p], p
        if work[0] > work[1]:
            return


@inlined
def _nearest_outside(
    tree: PointTree,
    reach: Array,
    band: float,
    part: Array,
    alike: Array,
    lowest: Array,
    p: int,
    query: Array,
    least: float,
    bound: float,
    distances: Array,
    work: Array,
) -> tuple[int, float]:
    """The nearest point of another component nearer than `bound`, or -1, and how near; at best `least`."""
    found, own = -1, part[p]
    node = tree.leaf[p // LANES]
    v, end = node, node + 1
    while bound > least:
        while v < end and bound > least:
            work[0] += 1
            if (
                alike[v] == own
                or lowest[v] >= bound
                or point_to_box(query, tree.lower, tree.upper, v) * (1 - band) - TINY >= bound
            ):
                v = tree.after[v]
                continue
            if tree.after[v] == v + 1:
                first = tree.start[v]
                block_distances(tree.blocks, first // LANES, query, distances)
                if smallest(distances) * (1 - band) - TINY < bound:
                    for lane in range(tree.stop[v] - first):
                        q = first + lane
                        if distances[lane] * (1 - band) - TINY < bound and part[q] != own and reach[q] < bound:
                            length = max(exact_distance(tree.points, p, q), reach[p], reach[q])
                            if length < bound:
                                bound, found = length, q
            v += 1
        above = tree.parent[node]
        if above < 0:
            break
        v = tree.after[node] if node == above + 1 else above + 1
        end = tree.after[v]
        node = above
    return found, bound
