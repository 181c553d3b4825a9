"""A kd-tree (Bentley 1975) over blocks of 32 points: what every clustering here walks.

The leaves are full blocks, stored feature by feature, so that one point against a block is one short loop
over vector registers. Nodes are numbered in preorder: the left child of `v` is `v + 1`, and `after[v]` is
the first node that is not below `v`. A walk is therefore a loop over numbers and needs no stack.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled, inlined, inlined_freely
from linegroup.errors import UserError

Array = NDArray[Any]

LANES = 32
"""Points in a block."""

_SAMPLE = 128
"""Points looked at to place a split."""

_BINS = 32
"""Steps between which a split is placed."""

_TOGETHER = 8192
"""Points of a node that are copied to one place, which the processor's own memory holds."""

_LARGEST_SINGLE = 1e15
"""Coordinates beyond this are kept in double precision: their squares would leave the range of floats."""

_LARGEST = 1e150


class PointTree(NamedTuple):
    """Points in a kd-tree. A named tuple, because compiled code takes it as it is.

    Attributes:
        points: `(N, D)`, by position in the tree.
        order: `(N,) int64`, which of the given points lies at each position; position = 32 · block + lane.
        blocks: `(M, D, 32)`, the coordinates again; lanes without a point are infinite.
        parent: `(2M - 1,) int64`, node above, -1 for the root.
        after: `(2M - 1,) int64`, first node not below this one.
        leaf: `(M,) int64`, node of each block.
        start: `(2M - 1,) int64`, first position of each node.
        stop: `(2M - 1,) int64`, position after its last.
        lower: `(2M - 1, D)`, the box around each node's points.
        upper: `(2M - 1, D)`.
        centre: `(2M - 1, D)`, and the ball around them.
        radius: `(2M - 1,)`.
    """

    points: Array
    order: Array
    blocks: Array
    parent: Array
    after: Array
    leaf: Array
    start: Array
    stop: Array
    lower: Array
    upper: Array
    centre: Array
    radius: Array

    @property
    def band(self) -> Any:
        """Relative error of a squared distance that was summed in the blocks' precision, four times over."""
        return float(4 * (self.points.shape[1] + 4) * np.finfo(self.blocks.dtype).eps)


TINY = 1e-36
"""Absolute error of a squared distance in single precision where squares underflow, with room to spare."""


def build_tree(features: Array) -> PointTree:
    """The tree of points `(N, D)`, N ≥ 1, D ≥ 1.

    Blocks are in single precision where that holds the points exactly, in double precision elsewhere.

    Raises:
        UserError: another shape, or coordinates that are NaN, infinite or beyond 1e150.
    """
    points = checked_points(features)
    with np.errstate(over="ignore"):  # what does not fit is not kept in single precision
        single = points.astype(np.float32, copy=False)
    exact = points.dtype == np.float32 or bool((single == points).all())
    blocks = single if exact and float(np.abs(points).max()) <= _LARGEST_SINGLE else points.astype(np.float64)
    count, dimensions = blocks.shape
    leaves = -(-count // LANES)
    order = np.arange(count)
    nodes = 2 * leaves - 1
    together = np.empty_like(blocks)
    parent, after, start, stop = (np.empty(nodes, dtype=np.int64) for _ in range(4))
    _split_points(blocks, order, together, parent, after, start, stop)
    packed = np.full((leaves, dimensions, LANES), np.inf, dtype=blocks.dtype)
    lower, upper, centre = (np.empty((nodes, dimensions), dtype=blocks.dtype) for _ in range(3))
    radius = np.empty(nodes, dtype=blocks.dtype)
    leaf = np.empty(leaves, dtype=np.int64)
    _pack(together, after, start, stop, packed, leaf)
    _bound(packed, after, start, stop, lower, upper, centre, radius)
    return PointTree(together, order, packed, parent, after, leaf, start, stop, lower, upper, centre, radius)


def checked_points(features: Array) -> Array:
    """Points as a contiguous array of floats `(N, D)`.

    Raises:
        UserError: another shape, no dimension, or coordinates that are NaN, infinite or beyond 1e150.
    """
    points = np.asarray(features)
    if points.dtype != np.float32:
        points = points.astype(np.float64)
    if points.ndim != 2 or points.shape[1] == 0:
        raise UserError(f"Points to cluster must have shape (N, D) with D >= 1; got {points.shape}.")
    if points.size and not float(np.abs(points).max()) <= _LARGEST:  # NaN is not, either
        raise UserError("Points to cluster must be finite and below 1e150.")
    return np.ascontiguousarray(points)


class _Scratch(NamedTuple):
    """Room to work in, made once: keys, keys and members of the other side, a sample, a histogram."""

    keys: Array
    other_keys: Array
    others: Array
    sample: Array
    bins: Array


@compiled
def _split_points(
    points: Array, order: Array, together: Array, parent: Array, after: Array, start: Array, stop: Array
) -> None:
    """Order the points so that every node's are together, and number the nodes.

    Large nodes find their points all over the memory; the points of a smaller one are brought together first.
    """
    scratch = _Scratch(
        np.empty(len(points), dtype=points.dtype),
        np.empty(len(points), dtype=points.dtype),
        np.empty(len(points), dtype=np.int64),
        np.empty(_SAMPLE, dtype=points.dtype),
        np.empty(_BINS, dtype=np.int64),
    )
    near = np.empty((min(_TOGETHER, len(points)), points.shape[1]), dtype=points.dtype)
    rows, names = np.empty(len(near), dtype=np.int64), np.empty(len(near), dtype=np.int64)
    gathered, end = 0, 0
    parent[0], start[0], stop[0] = -1, 0, len(points)
    for node in range(len(parent)):
        first, last = start[node], stop[node]
        leaves = -(-(last - first) // LANES)
        after[node] = node + 2 * leaves - 1
        if first >= end and last - first <= len(near):
            gathered, end = first, last
            for i in range(last - first):
                rows[i], names[i] = i, order[first + i]
                for d in range(points.shape[1]):
                    near[i, d] = points[order[first + i], d]
        if leaves > 1:
            if last <= end:
                members = rows[first - gathered : last - gathered]
                left = _split_node(near, members, leaves, scratch)
            else:
                left = _split_node(points, order[first:last], leaves, scratch)
            right = node + 2 * left
            parent[node + 1] = parent[right] = node
            start[node + 1], stop[node + 1] = first, first + left * LANES
            start[right], stop[right] = first + left * LANES, last
        elif last <= end:
            for i in range(first, last):
                row = rows[i - gathered]
                order[i] = names[row]
                for d in range(points.shape[1]):
                    together[i, d] = near[row, d]


@inlined
def _split_node(points: Array, members: Array, leaves: int, scratch: _Scratch) -> int:
    """Bring the members of the left child to the front; how many blocks they fill."""
    axis = _widest_axis(points, members)
    keys = scratch.keys[: len(members)]
    for i in range(len(members)):
        keys[i] = points[members[i], axis]
    if leaves == 2:
        _select(keys, members, LANES)
        return 1
    below = _divide(keys, members, _two_means(points, members, axis, scratch.sample, scratch.bins), scratch)
    # Whole blocks on the left, and no side too thin: the tree stays shallow.
    left = (below + LANES // 2) // LANES
    left = min(max(left, 1, leaves // 16), leaves - 1 - leaves // 16)
    rank = left * LANES
    if rank < below:
        _bring_largest_back(keys[:below], members[:below], below - rank)
    elif rank > below:
        _bring_smallest_forward(keys[below:], members[below:], rank - below)
    return left


@inlined
def _divide(keys: Array, members: Array, threshold: float, scratch: _Scratch) -> int:
    """Bring the keys up to a threshold to the front, without a branch to be guessed; how many they are."""
    below, above = 0, 0
    for i in range(len(keys)):
        key, member = keys[i], members[i]
        keys[below], members[below] = key, member
        scratch.other_keys[above], scratch.others[above] = key, member
        inside = int(key <= threshold)
        below += inside
        above += 1 - inside
    for i in range(above):
        keys[below + i], members[below + i] = scratch.other_keys[i], scratch.others[i]
    return below


@inlined
def _bring_smallest_forward(keys: Array, members: Array, count: int) -> None:
    """Bring the `count` smallest keys to the front; made for few of many."""
    if count > LANES:
        _select(keys, members, count)
        return
    for i in range(1, count):
        _sink(keys, members, i)
    for i in range(count, len(keys)):
        if keys[i] < keys[count - 1]:  # the largest of those in front gives way
            keys[i], keys[count - 1] = keys[count - 1], keys[i]
            members[i], members[count - 1] = members[count - 1], members[i]
            _sink(keys, members, count - 1)


@inlined
def _sink(keys: Array, members: Array, a: int) -> None:
    """Move one key forward to its place among the ascending ones before it."""
    while a > 0 and keys[a] < keys[a - 1]:
        keys[a], keys[a - 1] = keys[a - 1], keys[a]
        members[a], members[a - 1] = members[a - 1], members[a]
        a -= 1


@inlined
def _bring_largest_back(keys: Array, members: Array, count: int) -> None:
    """Bring the `count` largest keys to the back."""
    for i in range(len(keys)):
        keys[i] = -keys[i]
    keys, members = keys[::-1], members[::-1]
    _bring_smallest_forward(keys, members, count)


@inlined
def _widest_axis(points: Array, members: Array) -> int:
    """The axis along which a sample varies most."""
    taken = min(max(len(members) // 4, 16), _SAMPLE // 2)
    axis, most = 0, -1.0
    for d in range(points.shape[1]):
        total, square = 0.0, 0.0
        origin = points[members[0], d]
        for s in range(taken):
            value = np.float64(points[members[s * len(members) // taken], d] - origin)
            total += value
            square += value * value
        spread = square - total * total / taken
        if spread > most:
            axis, most = d, spread
    return axis


@inlined
def _two_means(points: Array, members: Array, axis: int, sample: Array, bins: Array) -> float:
    """The threshold between the two means of a sample along an axis (Otsu 1979)."""
    taken = min(max(len(members) // 4, 16), _SAMPLE)
    for s in range(taken):
        sample[s] = points[members[s * len(members) // taken], axis]
    low, high = sample[:taken].min(), sample[:taken].max()
    if not low < high:
        return np.float64(low)
    bins[:] = 0
    scale = len(bins) / (high - low)
    total = 0
    for s in range(taken):
        step = min(int((sample[s] - low) * scale), len(bins) - 1)
        bins[step] += 1
        total += step
    best, cut, left, below = -1.0, 0, 0, 0
    for step in range(len(bins) - 1):
        below += bins[step]
        left += bins[step] * step
        apart = float(left) * taken - float(total) * below
        score = apart * apart / (float(below) * (taken - below)) if 0 < below < taken else -1.0
        if score > best:
            best, cut = score, step
    return np.float64(low + (cut + 1) / scale)


@compiled
def _select(keys: Array, order: Array, rank: int) -> None:
    """Reorder so that the `rank` smallest keys come first (Hoare 1961)."""
    low, high = 0, len(keys) - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            return


@compiled
def _pack(points: Array, after: Array, start: Array, stop: Array, blocks: Array, leaf: Array) -> None:
    """Blocks `(M, D, 32)` from points `(N, D)` by position."""
    for node in range(len(after)):
        if after[node] == node + 1:
            block = start[node] // LANES
            leaf[block] = node
            for d in range(points.shape[1]):
                for lane in range(stop[node] - start[node]):
                    blocks[block, d, lane] = points[start[node] + lane, d]


@compiled
def _bound(
    blocks: Array, after: Array, start: Array, stop: Array, lower: Array, upper: Array, centre: Array, radius: Array
) -> None:
    """Boxes and balls, from the leaves upwards: children have higher numbers than their parents."""
    dimensions = blocks.shape[1]
    for node in range(len(after) - 1, -1, -1):
        first, count = start[node] // LANES, stop[node] - start[node]
        if after[node] == node + 1:
            for d in range(dimensions):
                low = high = blocks[first, d, 0]
                for lane in range(1, count):
                    low, high = min(low, blocks[first, d, lane]), max(high, blocks[first, d, lane])
                lower[node, d], upper[node, d] = low, high
        else:
            right = after[node + 1]
            for d in range(dimensions):
                lower[node, d] = min(lower[node + 1, d], lower[right, d])
                upper[node, d] = max(upper[node + 1, d], upper[right, d])
        for d in range(dimensions):
            centre[node, d] = (lower[node, d] + upper[node, d]) / 2
        furthest = 0.0
        if after[node] == node + 1:
            for lane in range(count):
                total = 0.0
                for d in range(dimensions):
                    away = np.float64(blocks[first, d, lane]) - centre[node, d]
                    total += away * away
                furthest = max(furthest, total)
            furthest = np.sqrt(furthest)
        else:
            for child in (node + 1, after[node + 1]):
                total = 0.0
                for d in range(dimensions):
                    away = np.float64(centre[child, d]) - centre[node, d]
                    total += away * away
                furthest = max(furthest, np.sqrt(total) + radius[child])
        radius[node] = furthest * (1 + 1e-6)


@inlined_freely
def block_distances(blocks: Array, block: int, query: Array, out: Array) -> None:
    """Squared distances of a point `(D,)` to the 32 of a block, to within `band`, into `out` `(32,)`."""
    # Four dimensions at a time: `out` is read and written a quarter as often.
    dimensions = len(query)
    whole = dimensions // 4 * 4
    for lane in range(LANES):
        out[lane] = 0
    for d in range(0, whole, 4):
        q0, q1, q2, q3 = query[d], query[d + 1], query[d + 2], query[d + 3]
        b0, b1, b2, b3 = blocks[block, d], blocks[block, d + 1], blocks[block, d + 2], blocks[block, d + 3]
        for lane in range(LANES):
            a0, a1, a2, a3 = q0 - b0[lane], q1 - b1[lane], q2 - b2[lane], q3 - b3[lane]
            out[lane] += a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3
    for d in range(whole, dimensions):
        q0 = query[d]
        b0 = blocks[block, d]
        for lane in range(LANES):
            a0 = q0 - b0[lane]
            out[lane] += a0 * a0


@inlined_freely
def smallest(distances: Array) -> Any:
    """The smallest of the 32."""
    least = distances[0]
    for lane in range(1, LANES):
        least = min(least, distances[lane])
    return least


@inlined
def exact_distance(points: Array, i: int, j: int) -> Any:
    """Squared distance of two points `(N, D)` in double precision, summed dimension by dimension."""
    total = 0.0
    for d in range(points.shape[1]):
        away = np.float64(points[i, d]) - np.float64(points[j, d])
        total += away * away
    return total


@inlined_freely
def point_to_box(query: Array, lower: Array, upper: Array, node: int) -> Any:
    """Squared distance from a point `(D,)` to a node's box, 0 inside."""
    total = query[0] * 0
    for d in range(len(query)):
        away = max(lower[node, d] - query[d], query[d] - upper[node, d], query[0] * 0)
        total += away * away
    return total


@inlined_freely
def box_to_box(lower: Array, upper: Array, a: int, b: int) -> Any:
    """Squared distance between the boxes of two nodes, 0 where they touch."""
    total = lower[a, 0] * 0
    for d in range(lower.shape[1]):
        away = max(lower[b, d] - upper[a, d], lower[a, d] - upper[b, d], lower[a, 0] * 0)
        total += away * away
    return total


@inlined_freely
def between(centre: Array, node: int, query: Array) -> Any:
    """Distance from a point `(D,)` to the centre of a node's ball."""
    total = query[0] * 0
    for d in range(len(query)):
        away = query[d] - centre[node, d]
        total += away * away
    return np.sqrt(total)
