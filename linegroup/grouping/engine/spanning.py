"""The minimum spanning tree of mutual reachability, by Borůvka's rounds on a kd-tree (March et al. 2010)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled, inlined, threads
from linegroup.grouping.engine.density import find
from linegroup.grouping.engine.neighbours import WORTH_THREADS
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


_SHARES = 4
"""Parts that a round's searches are cut into; each knows only what it found itself and what was known before."""


class _Forest(NamedTuple):
    """The trees so far and what each point knows; `best` and `edge` are a thread's own.

    Attributes:
        joined: Union-find of the positions.
        part: Root of each position, as the round found it.
        near: Nearest point outside the own component, -1 where a search is due.
        least: How near that is; without it, no edge out is shorter.
        best: Shortest length known out of each component, by root.
        edge: Its ends, the inner one first.
        lowest: Smallest core distance in each node.
        alike: The component of each node whose points are all of one, else -1.
    """

    joined: Array
    part: Array
    near: Array
    least: Array
    best: Array
    edge: Array
    lowest: Array
    alike: Array


def spanning_tree(tree: PointTree, reach: Array, work: Array) -> tuple[Array, Array]:
    """Edges `(N - 1, 2) int64`, as positions, and their squared lengths `(N - 1,)`, shortest first.

    The length of an edge is the mutual reachability of its ends: the largest of their distance and the two
    core distances (Campello et al. 2013). Each round joins every component but the largest to the one nearest
    to it: the largest would search most and is found by the others. What a point's search finds stays true
    until that neighbour joins its own component, so most points search but a few times. Edges of one round
    are taken shortest first and left out if they would close a ring, so that equal lengths do no harm.
    Searches are spread over threads, always in the same shares: their number decides nothing.

    Args:
        tree: N points.
        reach: `(N,) float64` by position, squared core distances.
        work: Spent and allowed; with too little of it edges are missing.
    """
    count = len(tree.order)
    forest = _Forest(
        np.arange(count),
        np.arange(count),
        np.full(count, -1, dtype=np.int64),
        reach.copy(),
        np.empty(count, dtype=np.float64),
        np.empty((count, 2), dtype=np.int64),
        _lowest(tree, reach),
        np.empty(len(tree.after), dtype=np.int64),
    )
    ends = np.empty((count - 1, 2), dtype=np.int64)
    lengths = np.empty(count - 1, dtype=np.float64)
    parts = _SHARES if count >= WORTH_THREADS else 1
    cuts = np.linspace(0, len(tree.leaf), parts + 1).astype(np.int64).tolist()
    shares = [forest]
    shares += [forest._replace(best=np.empty_like(forest.best), edge=np.empty_like(forest.edge)) for _ in cuts[2:]]
    made = 0
    with ThreadPoolExecutor(threads()) as pool:
        while made < count - 1 and work[0] <= work[1]:
            largest = _begin_round(tree, forest)
            spent = [np.array([work[0], work[1]], dtype=np.int64) for _ in shares]
            for share in shares[1:]:
                share.best[:], share.edge[:] = forest.best, forest.edge
            list(
                pool.map(
                    _search,
                    repeat(tree),
                    repeat(reach),
                    repeat(tree.band),
                    shares,
                    cuts,
                    cuts[1:],
                    repeat(largest),
                    spent,
                )
            )
            for share in shares[1:]:
                better = share.best < forest.best
                forest.best[better], forest.edge[better] = share.best[better], share.edge[better]
            work[0] += sum(int(one[0]) - int(work[0]) for one in spent)
            made = _join_nearest(forest, largest, ends, lengths, made)
    order = np.argsort(lengths[:made], kind="stable")
    return ends[order], lengths[order]


@compiled
def _begin_round(tree: PointTree, forest: _Forest) -> int:
    """Find out which points are together by now, and what is known already of the edges out; the largest."""
    sizes = np.zeros(len(forest.part), dtype=np.int64)
    for p in range(len(forest.part)):
        forest.part[p] = find(forest.joined, p)
        sizes[forest.part[p]] += 1
    _mark_alike(tree, forest.part, forest.alike)
    forest.best[:] = np.inf
    for p in range(len(forest.part)):
        own = forest.part[p]
        if forest.near[p] >= 0 and forest.part[forest.near[p]] == own:
            forest.near[p] = -1
        if forest.near[p] >= 0 and forest.least[p] < forest.best[own]:
            forest.best[own] = forest.least[p]
            forest.edge[own, 0], forest.edge[own, 1] = p, forest.near[p]
    return int(np.argmax(sizes))


@compiled
def _join_nearest(forest: _Forest, largest: int, ends: Array, lengths: Array, made: int) -> int:
    """Take the shortest edge out of each component but the largest, shortest first; how many edges there are now."""
    roots = np.flatnonzero((forest.part == np.arange(len(forest.part))) & (forest.best < np.inf))
    for root in roots[np.argsort(forest.best[roots], kind="mergesort")]:
        if root == largest:
            continue
        a, b = find(forest.joined, forest.edge[root, 0]), find(forest.joined, forest.edge[root, 1])
        if a != b:
            forest.joined[max(a, b)] = min(a, b)
            ends[made, 0], ends[made, 1] = forest.edge[root, 0], forest.edge[root, 1]
            lengths[made] = forest.best[root]
            made += 1
    return made


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
    tree: PointTree, reach: Array, band: float, forest: _Forest, first: int, last: int, largest: int, work: Array
) -> None:
    """Find the shortest edges that lead from some blocks out of every component but the largest."""
    distances = np.empty(LANES, dtype=tree.blocks.dtype)
    query = np.empty(tree.blocks.shape[1], dtype=tree.blocks.dtype)
    for leaf in tree.leaf[first:last]:
        if forest.alike[leaf] == largest:
            continue
        for p in range(tree.start[leaf], tree.stop[leaf]):
            own = forest.part[p]
            if own == largest or forest.near[p] >= 0 or forest.least[p] >= forest.best[own]:
                continue
            for d in range(len(query)):
                query[d] = tree.points[p, d]
            found, length = _nearest_outside(tree, reach, band, forest, p, query, distances, work)
            forest.near[p], forest.least[p] = found, length
            if found >= 0:
                forest.best[own] = length
                forest.edge[own, 0], forest.edge[own, 1] = p, found
                other = forest.part[found]  # the same edge leads out of that component, too
                if length < forest.best[other]:
                    forest.best[other] = length
                    forest.edge[other, 0], forest.edge[other, 1] = found, p
        if work[0] > work[1]:
            return


@inlined
def _nearest_outside(
    tree: PointTree, reach: Array, band: float, forest: _Forest, p: int, query: Array, distances: Array, work: Array
) -> tuple[int, float]:
    """The point of another component that is nearest and nearer than any known for its own, or -1; how near."""
    part, alike, lowest = forest.part, forest.alike, forest.lowest
    found, own = -1, part[p]
    bound, least = forest.best[own], forest.least[p]
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
