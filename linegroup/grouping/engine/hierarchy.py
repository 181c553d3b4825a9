"""From a spanning tree to clusters: what persists over the densities (Campello, Moulavi and Sander 2013).

Merges at the same distance happen at once, however many there are. So equal distances leave no choice, and
the clusters do not depend on the order of the points; libraries that merge in pairs answer the same wherever
distances differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled, inlined

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Condensed:
    """The condensed tree: which clusters of at least some size part from which, while distances shrink.

    λ is the inverse of a distance. Cluster 0 is all points; a cluster has a higher number than its parent.

    Attributes:
        parent: `(C,) int64`, -1 for cluster 0.
        birth: `(C,)`, λ at which each parted from its parent; 0 for cluster 0.
        death: `(C,)`, largest λ at which anything leaves it.
        stability: `(C,)`, sum over its points of the λ they stay for.
        cluster: `(N,) int64`, the cluster that each point leaves last.
        leaves: `(N,)`, λ at which it does.
    """

    parent: NDArray[np.int64]
    birth: NDArray[np.float64]
    death: NDArray[np.float64]
    stability: NDArray[np.float64]
    cluster: NDArray[np.int64]
    leaves: NDArray[np.float64]


def condense(ends: Array, lengths: Array, min_cluster_size: int) -> Condensed:
    """The condensed tree of a spanning tree.

    Args:
        ends: `(N - 1, 2) int64`, N ≥ 2, points from 0 on.
        lengths: `(N - 1,)`, ascending.
        min_cluster_size: At least 2.
    """
    children, sizes = _merge(ends)
    return Condensed(*_condense(children, sizes, lengths, min_cluster_size))


@compiled
def _merge(ends: Array) -> tuple[Array, Array]:
    """Children `(N - 1, 2)` and sizes `(2N - 1,)` of the merges; merge i is number N + i, points are below N."""
    count = len(ends) + 1
    children = np.empty((count - 1, 2), dtype=np.int64)
    sizes = np.ones(2 * count - 1, dtype=np.int64)
    above = np.arange(2 * count - 1)
    for i in range(count - 1):
        for side in range(2):
            node = ends[i, side]
            while above[node] != node:
                above[node] = above[above[node]]
                node = above[node]
            children[i, side] = node
        for side in range(2):
            above[children[i, side]] = count + i
        sizes[count + i] = sizes[children[i, 0]] + sizes[children[i, 1]]
    return children, sizes


@compiled
def _condense(
    children: Array, sizes: Array, lengths: Array, min_cluster_size: int
) -> tuple[Array, Array, Array, Array, Array, Array]:
    count = len(lengths) + 1
    most = 2 * (count // min_cluster_size) + 2
    parent = np.full(most, -1, dtype=np.int64)
    birth, death, stability = np.zeros(most), np.zeros(most), np.zeros(most)
    cluster, leaves = np.zeros(count, dtype=np.int64), np.zeros(count)
    number = np.full(2 * count - 1, -1, dtype=np.int64)  # cluster of each merge that is still one; -1: seen to
    number[2 * count - 2] = 0
    parts, stack = np.empty(count, dtype=np.int64), np.empty(count + 1, dtype=np.int64)
    made = 1
    for node in range(2 * count - 2, count - 1, -1):
        own = number[node]
        if own < 0:
            continue
        length = lengths[node - count]
        density = 1 / length if length > 0 else np.inf
        found = _parts(node, children, lengths, parts, stack)
        large = 0
        for part in parts[:found]:
            large += sizes[part] >= min_cluster_size
        gone = 0
        for part in parts[:found]:
            if sizes[part] >= min_cluster_size and large == 1:
                number[part] = own
            elif sizes[part] >= min_cluster_size:
                number[part] = made
                parent[made], birth[made] = own, density
                made += 1
                gone += sizes[part]
            else:
                _leave(part, children, count, own, density, cluster, leaves, stack)
                gone += sizes[part]
        if gone:
            stability[own] += (density - birth[own]) * gone
            death[own] = max(death[own], density)
    return parent[:made], birth[:made], death[:made], stability[:made], cluster, leaves


@inlined
def _parts(node: int, children: Array, lengths: Array, parts: Array, stack: Array) -> int:
    """What a merge and those at the same distance below it put together; how many."""
    count = len(lengths) + 1
    length = lengths[node - count]
    stack[0] = node
    size, found = 1, 0
    while size:
        size -= 1
        one = stack[size]
        for side in range(2):
            child = children[one - count, side]
            if child >= count and lengths[child - count] == length:
                stack[size] = child
                size += 1
            else:
                parts[found] = child
                found += 1
    return found


@inlined
def _leave(
    node: int, children: Array, count: int, own: int, density: float, cluster: Array, leaves: Array, stack: Array
) -> None:
    """All points of a merge leave a cluster."""
    stack[0] = node
    size = 1
    while size:
        size -= 1
        one = stack[size]
        if one < count:
            cluster[one], leaves[one] = own, density
        else:
            stack[size], stack[size + 1] = children[one - count, 0], children[one - count, 1]
            size += 2


def select_stable(tree: Condensed, *, allow_single_cluster: bool) -> NDArray[np.bool_]:
    """`(C,)`, the clusters of the largest total stability, none within another ("excess of mass")."""
    count = len(tree.parent)
    chosen = np.ones(count, dtype=np.bool_)
    below = np.zeros(count)
    best = tree.stability.copy()
    for c in range(count - 1, 0 if not allow_single_cluster else -1, -1):
        if below[c] > best[c]:
            best[c], chosen[c] = below[c], False
        if c:
            below[tree.parent[c]] += best[c]
    chosen[0] &= allow_single_cluster
    return _without_inner(tree, chosen)


def select_leaves(tree: Condensed) -> NDArray[np.bool_]:
    """`(C,)`, the clusters that never part; none if there are no parts at all."""
    chosen = np.ones(len(tree.parent), dtype=np.bool_)
    chosen[tree.parent[1:]] = False
    chosen[0] = False
    return chosen


def join_near(
    tree: Condensed, chosen: NDArray[np.bool_], epsilon: float, *, allow_single_cluster: bool
) -> NDArray[np.bool_]:
    """Replace clusters that parted at less than `epsilon` by the ancestor that did not (Malzer and Baum 2020)."""
    if not len(tree.parent[1:]) or (chosen[0] and chosen.sum() == 1):
        return chosen
    answer = np.zeros_like(chosen)
    with np.errstate(divide="ignore"):
        parted = 1 / tree.birth
    for c in np.flatnonzero(chosen):
        while c and parted[c] < epsilon:
            above = tree.parent[c]
            if above == 0 and not allow_single_cluster:
                break
            c = above
        answer[c] = True
    # Below cluster 0 others may remain; of two nested ones elsewhere the outer one holds.
    inner = _without_inner(tree, np.where(np.arange(len(answer)) > 0, answer, False))
    inner[0] = answer[0]
    return inner


def _without_inner(tree: Condensed, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    answer = chosen.copy()
    covered = np.zeros_like(chosen)
    for c in range(1, len(chosen)):
        above = tree.parent[c]
        covered[c] = covered[above] or chosen[above]
        answer[c] &= not covered[c]
    return answer


def label_points(
    tree: Condensed, chosen: NDArray[np.bool_], epsilon: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels `(N,)` and membership probabilities `(N,)` in [0, 1].

    Clusters are numbered by their first point; -1 is noise. A point's probability is the λ up to which it
    stays, as a share of the longest that any point stays. Of cluster 0, if it is chosen alone, only the
    points that stay to its end (or to the density of `epsilon`) are members.
    """
    owner = np.full(len(tree.parent), -1, dtype=np.int64)
    for c in range(len(owner)):
        if chosen[c] and (c > 0 or chosen.sum() == 1):
            owner[c] = c
        elif c and not (chosen[0] and chosen.sum() == 1):
            owner[c] = owner[tree.parent[c]]
        elif c:
            owner[c] = 0
    mine = owner[tree.cluster]
    if chosen[0] and chosen.sum() == 1:
        least = 1 / epsilon if epsilon > 0 else tree.death[0]
        mine = np.where(tree.leaves >= least, mine, -1)
    names, first, inverse = np.unique(mine, return_index=True, return_inverse=True)
    rank = np.full(len(names), -1, dtype=np.int64)
    real = np.flatnonzero(names >= 0)
    rank[real[np.argsort(first[real])]] = np.arange(len(real))
    death = np.where(mine >= 0, tree.death[np.maximum(mine, 0)], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.minimum(tree.leaves, death) / death
    share[(death == 0) | ~np.isfinite(tree.leaves)] = 1
    return rank[inverse.ravel()], np.where(mine >= 0, share, 0.0)
