"""Nearest neighbours on a `PointTree`, exact: distances are summed in double precision before they count."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled, inlined, threads
from linegroup.grouping.engine.tree import (
    LANES,
    TINY,
    PointTree,
    between,
    block_distances,
    box_to_box,
    exact_distance,
    point_to_box,
    smallest,
)

Array = NDArray[Any]

WORTH_THREADS = 2000
"""Fewer points are done before threads have started."""

_PARTS = 16
"""Parts of the work for each thread, between which is looked whether all that is allowed is spent."""


def kth_distances(tree: PointTree, k: int, work: Array, step: int = 1) -> Array:
    """`(N,) float64` by position: squared distance from each point to its k-th nearest other point.

    The points of a block share one list of the blocks near them, nearest centre first. Blocks are spread
    over threads; the answer does not depend on their number.

    Args:
        tree: The points.
        k: Which neighbour, 1 ≤ k < N.
        work: Spent and allowed, as everywhere in the engine.
        step: Only each so-manieth point of a block is measured, at least one; the others are NaN.
    """
    answer = np.full(len(tree.order), np.nan)
    cuts = np.linspace(0, len(tree.leaf), min(_PARTS * threads(), len(tree.leaf)) + 1).astype(np.int64).tolist()
    spent: list[int] = []

    def measure(part: tuple[int, int]) -> None:
        share = work.copy()
        # What was allowed to all is spent: nobody will look at the answer.
        if work[0] + sum(spent) <= work[1]:
            _kth_distances(tree, k, tree.band, *part, step, answer, share)
        spent.append(int(share[0] - work[0]))

    parts = list(itertools.pairwise(cuts))
    if len(tree.order) < WORTH_THREADS or threads() == 1:
        for part in parts:
            measure(part)
    else:
        with ThreadPoolExecutor(threads()) as pool:
            list(pool.map(measure, parts))
    work[0] += sum(spent)
    return answer


@compiled
def _kth_distances(
    tree: PointTree, k: int, band: float, begin: int, end: int, step: int, answer: Array, work: Array
) -> None:
    """`kth_distances` of the points in some blocks, into `answer`."""
    distances = np.empty(LANES, dtype=tree.blocks.dtype)
    query = np.empty(tree.blocks.shape[1], dtype=tree.blocks.dtype)
    heaps = np.empty((LANES, k), dtype=np.float64)
    near = np.empty(len(tree.leaf), dtype=np.int64)
    apart = np.empty(len(tree.leaf), dtype=np.float64)
    centres = np.empty(len(tree.leaf), dtype=np.float64)
    for leaf in tree.leaf[begin:end]:
        first, stop = tree.start[leaf], tree.stop[leaf]
        heaps[:] = np.inf
        begun = _begin(tree, leaf, k, band, step, heaps, query, distances, work)
        furthest = heaps[: stop - first : step, 0].max()
        found = _blocks_near(tree, leaf, begun, furthest / (1 - band) + 2 * TINY, near, apart, centres, work)
        turn = np.argsort(centres[:found])
        for position in range(first, stop, step):
            heap = heaps[position - first]
            for d in range(len(query)):
                query[d] = tree.points[position, d]
            for i in turn:
                if apart[i] * (1 - band) - TINY > heap[0]:
                    continue
                work[0] += 1
                if point_to_box(query, tree.lower, tree.upper, near[i]) * (1 - band) - TINY <= heap[0]:
                    _keep_nearest(tree, near[i], position, query, band, distances, heap, work)
            answer[position] = heap[0]
        if work[0] > work[1]:
            return


@compiled
def _begin(
    tree: PointTree,
    leaf: int,
    k: int,
    band: float,
    step: int,
    heaps: Array,
    query: Array,
    distances: Array,
    work: Array,
) -> int:
    """Fill the heaps of a block's points, by steps, from the smallest node around it that holds enough; that node."""
    node = leaf
    while tree.parent[node] >= 0 and tree.stop[node] - tree.start[node] <= max(k, LANES):
        node = tree.parent[node]
    for position in range(tree.start[leaf], tree.stop[leaf], step):
        for d in range(len(query)):
            query[d] = tree.points[position, d]
        for v in range(node, tree.after[node]):
            if tree.after[v] == v + 1:
                work[0] += 1
                _keep_nearest(tree, v, position, query, band, distances, heaps[position - tree.start[leaf]], work)
    return int(node)


@compiled
def _blocks_near(
    tree: PointTree, leaf: int, without: int, reach: float, near: Array, apart: Array, centres: Array, work: Array
) -> int:
    """The blocks within a squared distance of a block, their distances, and those of their centres; how many."""
    found, v = 0, 0
    while v < len(tree.after):
        work[0] += 1
        if v == without:
            v = tree.after[v]
            continue
        away = box_to_box(tree.lower, tree.upper, leaf, v)
        if away > reach:
            v = tree.after[v]
            continue
        if tree.after[v] == v + 1:
            near[found], apart[found] = v, away
            centres[found] = between(tree.centre, v, tree.centre[leaf])
            found += 1
        v += 1
    return found


@inlined
def _keep_nearest(
    tree: PointTree, leaf: int, position: int, query: Array, band: float, distances: Array, heap: Array, work: Array
) -> None:
    """Take the points of a block into the heap of the nearest so far; its top is the furthest of them.

    Each that is taken is a step, too: of hundreds of neighbours that is most of the time.
    """
    first = tree.start[leaf]
    block_distances(tree.blocks, first // LANES, query, distances)
    if smallest(distances) * (1 - band) - TINY >= heap[0]:
        return
    for lane in range(tree.stop[leaf] - first):
        if distances[lane] * (1 - band) - TINY < heap[0] and first + lane != position:
            exact = exact_distance(tree.points, position, first + lane)
            if exact < heap[0]:
                work[0] += 1
                _replace_top(heap, exact)


@inlined
def _replace_top(heap: Array, value: float) -> None:
    i = 0
    while True:
        child = 2 * i + 1
        if child >= len(heap):
            break
        if child + 1 < len(heap) and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = value


def nearest_labels(tree: PointTree, labels: Array, queries: Array) -> Array:
    """`(Q,) int64`, for each query `(Q, D)` the label of the nearest point that has one; the smallest in a tie.

    Args:
        tree: The points.
        labels: `(N,) int64` in the points' given order, -1 = none; at least one point has one.
        queries: Finite.
    """
    return _nearest_labels(tree, labels[tree.order], np.asarray(queries), tree.band)


@compiled
def _nearest_labels(tree: PointTree, labels: Array, queries: Array, band: float) -> Array:
    """`nearest_labels`, with labels `(N,)` by position."""
    nodes, none = len(tree.after), np.iinfo(np.int64).max
    lowest = np.full(nodes, none, dtype=np.int64)
    for node in range(nodes - 1, -1, -1):
        if tree.after[node] == node + 1:
            for position in range(tree.start[node], tree.stop[node]):
                if labels[position] >= 0:
                    lowest[node] = min(lowest[node], labels[position])
        else:
            lowest[node] = min(lowest[node + 1], lowest[tree.after[node + 1]])
    answer = np.empty(len(queries), dtype=np.int64)
    stack = np.empty(4096, dtype=np.int64)
    query = np.empty(tree.blocks.shape[1], dtype=np.float64)
    for i in range(len(queries)):
        for d in range(len(query)):
            query[d] = queries[i, d]
        best, label = np.inf, none
        stack[0] = 0
        size = 1
        while size:
            size -= 1
            v = stack[size]
            if lowest[v] == none or point_to_box(query, tree.lower, tree.upper, v) * (1 - band) - TINY > best:
                continue
            # In a page of one colour most points are in one place, and equally near: their smallest label will do.
            if lowest[v] >= label and _least_distance(query, tree.lower, tree.upper, v) >= best:
                continue
            if tree.after[v] == v + 1:
                for position in range(tree.start[v], tree.stop[v]):
                    if labels[position] < 0:
                        continue
                    total = 0.0
                    for d in range(len(query)):
                        away = query[d] - tree.points[position, d]
                        total += away * away
                    if total < best or (total == best and labels[position] < label):
                        best, label = total, labels[position]
                continue
            near, far = v + 1, tree.after[v + 1]
            if point_to_box(query, tree.lower, tree.upper, far) < point_to_box(query, tree.lower, tree.upper, near):
                near, far = far, near
            stack[size], stack[size + 1] = far, near
            size += 2
        answer[i] = label
    return answer


@inlined
def _least_distance(query: Array, lower: Array, upper: Array, node: int) -> float:
    """Squared distance from a box: summed as that of a point, so that no point in it is found to be nearer."""
    total = 0.0
    for d in range(len(query)):
        away = max(lower[node, d] - query[d], query[d] - upper[node, d], 0.0)
        total += away * away
    return total
