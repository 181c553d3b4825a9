"""Which points lie in dense neighbourhoods, which of those hang together, and which border on them.

The three steps of DBSCAN on a `PointTree`. Every decision equals `sum((double)x - (double)y)² <= eps²`:
squared distances that fall within rounding of `eps²` are summed again in double precision.
Each step takes a `work` array `(2,) int64` (spent, allowed), counts the nodes and blocks it looks at, and
stops when more is spent than allowed; the caller looks at it afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled, inlined
from linegroup.grouping.engine.tree import (
    LANES,
    PointTree,
    between,
    block_distances,
    box_to_box,
    exact_distance,
    point_to_box,
)

Array = NDArray[Any]

NONE = -1
"""A node without core points."""

MIXED = -2
"""A node whose core points are not known to hang together."""


@compiled
def core_points(tree: PointTree, eps: float, limits: Array, min_samples: int, work: Array) -> Array:
    """`(N,) bool` by position: which points have `min_samples` points within `eps`, themselves included.

    Args:
        tree: The points.
        eps: The radius.
        limits: `(3,)` in the blocks' precision: squared distances up to the first are surely within `eps`,
            beyond the second surely not; balls up to the third apart lie surely within it.
        min_samples: The number.
        work: Spent and allowed.
    """
    core = np.zeros(len(tree.order), dtype=np.bool_)
    distances = np.empty(LANES, dtype=tree.blocks.dtype)
    query = np.empty(tree.blocks.shape[1], dtype=tree.blocks.dtype)
    for leaf in tree.leaf:
        first, stop = tree.start[leaf], tree.stop[leaf]
        if _all_dense(tree, leaf, limits, min_samples, work):
            core[first:stop] = True
            continue
        for position in range(first, stop):
            lane = position - first
            for d in range(len(query)):
                query[d] = tree.blocks[first // LANES, d, lane]
            core[position] = _dense(tree, leaf, position, query, eps, limits, min_samples, distances, work)
        if work[0] > work[1]:
            break
    return core


@compiled
def _all_dense(tree: PointTree, leaf: int, limits: Array, min_samples: int, work: Array) -> bool:
    """Whether whole nodes near by lie within `eps` of all of a block and hold enough points between them."""
    if 2 * tree.radius[leaf] > limits[2]:
        return False
    found = tree.stop[leaf] - tree.start[leaf]
    node, looks = leaf, 0
    while found < min_samples and tree.parent[node] >= 0 and looks < 64:
        sibling = _sibling(tree, node)
        node = tree.parent[node]
        v, end = sibling, tree.after[sibling]
        while v < end and found < min_samples and looks < 64:
            looks += 1
            away = between(tree.centre, v, tree.centre[leaf])
            if away + tree.radius[leaf] + tree.radius[v] <= limits[2]:
                found += tree.stop[v] - tree.start[v]
                v = tree.after[v]
            elif away - tree.radius[leaf] >= limits[2]:
                v = tree.after[v]
            else:
                v += 1
    work[0] += looks
    return bool(found >= min_samples)


@inlined
def _sibling(tree: PointTree, node: int) -> int:
    above = tree.parent[node]
    return int(tree.after[node] if node == above + 1 else above + 1)


@inlined
def _dense(
    tree: PointTree,
    leaf: int,
    position: int,
    query: Array,
    eps: float,
    limits: Array,
    min_samples: int,
    distances: Array,
    work: Array,
) -> bool:
    """Whether a point has enough neighbours: its own block first, then subtrees further and further away."""
    found = _count(tree, leaf, position, query, eps, limits, distances)
    node = leaf
    looks = 1
    while found < min_samples and tree.parent[node] >= 0:
        v = _sibling(tree, node)
        node = tree.parent[node]
        end = tree.after[v]
        while v < end and found < min_samples:
            looks += 1
            if point_to_box(query, tree.lower, tree.upper, v) > limits[1]:
                v = tree.after[v]
            elif between(tree.centre, v, query) + tree.radius[v] <= limits[2]:
                found += tree.stop[v] - tree.start[v]
                v = tree.after[v]
            else:
                if tree.after[v] == v + 1:
                    found += _count(tree, v, position, query, eps, limits, distances)
                v += 1
    work[0] += looks
    return bool(found >= min_samples)


@inlined
def _count(tree: PointTree, leaf: int, position: int, query: Array, eps: float, limits: Array, distances: Array) -> int:
    """How many points of a block lie within `eps` of a point."""
    first = tree.start[leaf]
    block_distances(tree.blocks, first // LANES, query, distances)
    sure, possible = 0, 0
    for lane in range(LANES):
        sure += distances[lane] <= limits[0]
        possible += distances[lane] <= limits[1]
    if possible > sure:
        for lane in range(LANES):
            if limits[0] < distances[lane] <= limits[1]:
                sure += _within(tree, position, first + lane, eps)
    return sure


@inlined
def _within(tree: PointTree, a: int, b: int, eps: float) -> bool:
    return bool(exact_distance(tree.points, a, b) <= eps * eps)


@compiled
def join_core(tree: PointTree, core: Array, eps: float, limits: Array, work: Array) -> Array:
    """`(N,) int64` by position: a root for each core point, the same for those that hang together.

    A walk over pairs of nodes. Pairs that hang together already, or lie further apart than `eps`, are
    passed over; of two nodes that each hang together, one edge is enough.
    """
    count = len(tree.order)
    joined = np.arange(count)
    nodes = len(tree.after)
    lower, upper = np.empty_like(tree.lower), np.empty_like(tree.upper)
    hangs = np.full(nodes, NONE, dtype=np.int64)  # one of the node's core points if all hang together
    distances = np.empty(LANES, dtype=tree.blocks.dtype)
    query = np.empty(tree.blocks.shape[1], dtype=tree.blocks.dtype)
    stack = np.empty((4096, 2), dtype=np.int64)
    for node in range(nodes - 1, -1, -1):
        if tree.after[node] == node + 1:
            _core_box(tree, core, node, lower, upper, hangs)
        else:
            _join_boxes(tree, node, lower, upper, hangs)
        if hangs[node] == NONE:
            continue
        hangs[node] = MIXED
        if 2 * tree.radius[node] <= limits[2]:
            _join_all(tree, core, node, node, joined, hangs)
        elif tree.after[node] == node + 1:
            pieces = core[tree.start[node] : tree.stop[node]].sum()
            if _join_blocks(tree, core, node, node, pieces, eps, limits, joined, query, distances) == 1:
                hangs[node] = _any_core(core, tree.start[node])
            work[0] += LANES
        else:
            stack[0, 0], stack[0, 1] = node + 1, tree.after[node + 1]
            _join_pairs(tree, core, eps, limits, joined, hangs, lower, upper, stack, query, distances, work)
            _look_again(tree, core, node, joined, hangs)
        if work[0] > work[1]:
            break
    for position in range(count):
        joined[position] = find(joined, position)
    return joined


@inlined
def find(joined: Array, i: int) -> int:
    """Root of `i` in a union-find, the way to it shortened."""
    root = i
    while joined[root] != root:
        root = joined[root]
    while joined[i] != root:
        joined[i], i = root, joined[i]
    return int(root)


@inlined
def _join(joined: Array, a: int, b: int) -> None:
    a, b = find(joined, a), find(joined, b)
    joined[max(a, b)] = min(a, b)


@compiled
def _core_box(tree: PointTree, core: Array, leaf: int, lower: Array, upper: Array, hangs: Array) -> None:
    first = tree.start[leaf]
    hangs[leaf] = NONE
    for position in range(first, tree.stop[leaf]):
        if core[position]:
            for d in range(lower.shape[1]):
                value = tree.blocks[first // LANES, d, position - first]
                if hangs[leaf] == NONE:
                    lower[leaf, d] = upper[leaf, d] = value
                else:
                    lower[leaf, d], upper[leaf, d] = min(lower[leaf, d], value), max(upper[leaf, d], value)
            hangs[leaf] = position


@compiled
def _any_core(core: Array, position: int) -> int:
    """The first core point from a position on; there is one."""
    while not core[position]:
        position += 1
    return position


@compiled
def _join_boxes(tree: PointTree, node: int, lower: Array, upper: Array, hangs: Array) -> None:
    left, right = node + 1, tree.after[node + 1]
    hangs[node] = NONE
    for child in (left, right):
        if hangs[child] != NONE:
            for d in range(lower.shape[1]):
                if hangs[node] == NONE:
                    lower[node, d], upper[node, d] = lower[child, d], upper[child, d]
                else:
                    lower[node, d] = min(lower[node, d], lower[child, d])
                    upper[node, d] = max(upper[node, d], upper[child, d])
            hangs[node] = MIXED


@compiled
def _join_all(tree: PointTree, core: Array, a: int, b: int, joined: Array, hangs: Array) -> None:
    """Join every core point of two nodes."""
    one = NONE
    for node in (a, b):
        if hangs[node] >= 0:
            if one == NONE:
                one = hangs[node]
            _join(joined, one, hangs[node])
            continue
        for position in range(tree.start[node], tree.stop[node]):
            if core[position]:
                if one == NONE:
                    one = position
                _join(joined, one, position)
    hangs[a] = hangs[b] = one


@compiled
def _look_again(tree: PointTree, core: Array, node: int, joined: Array, hangs: Array) -> None:
    """See whether a mixed node hangs together by now."""
    if hangs[node] != MIXED:
        return
    if tree.after[node] == node + 1:
        root, one = NONE, NONE
        for position in range(tree.start[node], tree.stop[node]):
            if core[position]:
                other = find(joined, position)
                if root >= 0 and other != root:
                    return
                root, one = other, position
        hangs[node] = one
        return
    left, right = node + 1, tree.after[node + 1]
    if hangs[left] == NONE or hangs[right] == NONE:
        hangs[node] = max(hangs[left], hangs[right]) if hangs[left] != MIXED and hangs[right] != MIXED else MIXED
    elif hangs[left] >= 0 and hangs[right] >= 0 and find(joined, hangs[left]) == find(joined, hangs[right]):
        hangs[node] = hangs[left]


@compiled
def _join_pairs(
    tree: PointTree,
    core: Array,
    eps: float,
    limits: Array,
    joined: Array,
    hangs: Array,
    lower: Array,
    upper: Array,
    stack: Array,
    query: Array,
    distances: Array,
    work: Array,
) -> None:
    """Join the core points on the two sides of the pair that lies on the stack."""
    size = 1
    while size:
        size -= 1
        a, b = stack[size, 0], stack[size, 1]
        work[0] += 1
        if hangs[a] == NONE or hangs[b] == NONE:
            continue
        _look_again(tree, core, a, joined, hangs)
        _look_again(tree, core, b, joined, hangs)
        if hangs[a] >= 0 and hangs[b] >= 0 and find(joined, hangs[a]) == find(joined, hangs[b]):
            continue
        if box_to_box(lower, upper, a, b) > limits[1]:
            continue
        if between(tree.centre, a, tree.centre[b]) + tree.radius[a] + tree.radius[b] <= limits[2]:
            _join_all(tree, core, a, b, joined, hangs)
            continue
        a_leaf, b_leaf = tree.after[a] == a + 1, tree.after[b] == b + 1
        if a_leaf and b_leaf:
            pieces = 2 if hangs[a] >= 0 and hangs[b] >= 0 else 2 * LANES
            _join_blocks(tree, core, a, b, pieces, eps, limits, joined, query, distances)
            work[0] += LANES
            if work[0] > work[1]:
                return
            continue
        if b_leaf or (not a_leaf and tree.radius[a] > tree.radius[b]):
            a, b = b, a  # the larger one is parted
        near, far = b + 1, tree.after[b + 1]
        if between(tree.centre, far, tree.centre[a]) < between(tree.centre, near, tree.centre[a]):
            near, far = far, near
        stack[size, 0], stack[size, 1] = a, far
        stack[size + 1, 0], stack[size + 1, 1] = a, near
        size += 2


@compiled
def _join_blocks(
    tree: PointTree,
    core: Array,
    a: int,
    b: int,
    pieces: int,
    eps: float,
    limits: Array,
    joined: Array,
    query: Array,
    distances: Array,
) -> int:
    """Join the core points of two blocks (or of one with itself) that lie within `eps` of each other.

    Of `pieces` that do not hang together at most, so many are left in the end; at one there is no more to do.
    """
    first, other = tree.start[a], tree.start[b]
    for p in range(first, tree.stop[a]):
        if not core[p]:
            continue
        for d in range(len(query)):
            query[d] = tree.points[p, d]
        block_distances(tree.blocks, other // LANES, query, distances)
        root = find(joined, p)
        for lane in range(tree.stop[b] - other):
            if distances[lane] <= limits[1]:
                q = other + lane
                if core[q] and find(joined, q) != root and (distances[lane] <= limits[0] or _within(tree, p, q, eps)):
                    _join(joined, p, q)
                    root = find(joined, p)
                    pieces -= 1
        if pieces == 1:
            break
    return pieces


@compiled
def label_border(tree: PointTree, core: Array, labels: Array, eps: float, limits: Array, work: Array) -> None:
    """Give each point that is not core the smallest label of the core points within `eps`, in place.

    Args:
        tree: The points.
        core: `(N,) bool` by position.
        labels: `(N,) int64` by position, those of core points filled in, -1 elsewhere.
        eps: The radius.
        limits: As for `core_points`.
        work: Spent and allowed.
    """
    large = np.iinfo(np.int64).max
    smallest = np.full(len(tree.after), large, dtype=np.int64)
    for node in range(len(tree.after) - 1, -1, -1):
        if tree.after[node] == node + 1:
            for position in range(tree.start[node], tree.stop[node]):
                if core[position]:
                    smallest[node] = min(smallest[node], labels[position])
        else:
            smallest[node] = min(smallest[node + 1], smallest[tree.after[node + 1]])
    distances = np.empty(LANES, dtype=tree.blocks.dtype)
    query = np.empty(tree.blocks.shape[1], dtype=tree.blocks.dtype)
    for position in range(len(labels)):
        if core[position]:
            continue
        for d in range(len(query)):
            query[d] = tree.blocks[position // LANES, d, position % LANES]
        best = large
        v = 0
        while v < len(tree.after):
            work[0] += 1
            if smallest[v] >= best or point_to_box(query, tree.lower, tree.upper, v) > limits[1]:
                v = tree.after[v]
                continue
            if tree.after[v] == v + 1:
                first = tree.start[v]
                block_distances(tree.blocks, first // LANES, query, distances)
                for lane in range(tree.stop[v] - first):
                    q = first + lane
                    if (
                        core[q]
                        and labels[q] < best
                        and distances[lane] <= limits[1]
                        and (distances[lane] <= limits[0] or _within(tree, position, q, eps))
                    ):
                        best = labels[q]
            v += 1
        if best < large:
            labels[position] = best
        if work[0] > work[1]:
            return
