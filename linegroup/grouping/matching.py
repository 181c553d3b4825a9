"""Which ends are linked: a matching of the smallest total cost."""

from __future__ import annotations

import numpy as np
import rustworkx
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.unions import unite

_FEW = 14
"""Ends that depend on each other, up to which all matchings are gone through."""

_EXACT = 24
"""Up to which the best of all matchings is looked for."""

_FINE = 1e9
"""Savings are compared in whole parts of one, so many, so that their order is exact."""


def match_ends(
    pairs: NDArray[np.int64], costs: NDArray[np.float64], unlinked: NDArray[np.float64]
) -> NDArray[np.int64]:
    """`(L, 2)`, the links of the smallest total cost, each end in one at most; ends without one cost `unlinked`.

    Ends that depend on each other are matched together: exactly (Edmonds 1965) where they are few, elsewhere
    by always taking the link that saves most of those left, which saves at least half as much.

    Args:
        pairs: `(P, 2)`, ends that may be linked.
        costs: `(P,)`.
        unlinked: `(E,)`.
    """
    gain = unlinked[pairs].sum(axis=1) - costs
    pairs, gain = pairs[gain > 0], gain[gain > 0]
    if not len(pairs):
        return pairs
    # Of a pair that stands twice the better one counts.
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -gain))
    pairs, gain = pairs[order], gain[order]
    part = connected(pairs, len(unlinked))
    size = np.bincount(part)[part[pairs[:, 0]]]
    few = size <= _FEW
    order = np.flatnonzero(few)
    order = order[np.argsort(part[pairs[order, 0]], kind="stable")]
    links = [pairs[order][_best_of_few(pairs[order], gain[order], part[pairs[order, 0]])]]
    if not few.all():
        links.append(pairs[size > _EXACT][_greedy(pairs[size > _EXACT], len(unlinked))])
        several = _components(part[pairs[:, 0]], ~few & (size <= _EXACT))
        links.extend(_best_of_many(pairs[component], gain[component]) for component in several)
    return np.sort(np.concatenate(links), axis=1)


@compiled
def connected(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`(count,)`, one of those that each hangs together with by pairs `(P, 2)`: the same for all, the first."""
    parent = np.arange(count)
    for k in range(len(pairs)):
        unite(parent, pairs[k, 0], pairs[k, 1])
    for k in range(count):
        parent[k] = parent[parent[k]]
    return parent


def _best_of_many(pairs: NDArray[np.int64], gain: NDArray[np.float64]) -> NDArray[np.int64]:
    """`(L, 2)`, links that save most in total (Edmonds 1965; rustworkx); the better one of a pair that stands twice."""
    names, ends = np.unique(pairs, return_inverse=True)
    graph = rustworkx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(len(names)))
    weights = np.rint(gain * _FINE).astype(np.int64)
    # Of an edge that is added twice the last one counts.
    graph.add_edges_from(
        [(a, b, w) for (a, b), w in zip(ends.reshape(-1, 2)[::-1].tolist(), weights[::-1].tolist(), strict=True)]
    )
    chosen = rustworkx.max_weight_matching(graph, weight_fn=int)
    return np.asarray(names[np.array(sorted(chosen), dtype=np.int64).reshape(-1, 2)])


@compiled
def _greedy(pairs: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """`(P,)`, links from the best on; of so many ends."""
    taken, chosen = np.zeros(count, dtype=np.bool_), np.zeros(len(pairs), dtype=np.bool_)
    for k in range(len(pairs)):
        if not taken[pairs[k, 0]] and not taken[pairs[k, 1]]:
            taken[pairs[k, 0]] = taken[pairs[k, 1]] = chosen[k] = True
    return chosen


def _components(part: NDArray[np.int64], chosen: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The chosen pairs' numbers, part by part."""
    numbers = np.flatnonzero(chosen)
    numbers = numbers[np.argsort(part[numbers], kind="stable")]
    return [n for n in np.split(numbers, np.flatnonzero(np.diff(part[numbers])) + 1) if len(n)]


@compiled
def _best_of_few(pairs: NDArray[np.int64], gain: NDArray[np.float64], part: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs `(P,)`, sorted by part, each with at most `_FEW` ends, are linked: the best of all ways."""
    chosen = np.zeros(len(pairs), dtype=np.bool_)
    first = 0
    while first < len(pairs):
        last = first
        while last < len(pairs) and part[last] == part[first]:
            last += 1
        if last == first + 1:
            chosen[first] = True
        else:
            _best_of_part(pairs[first:last], gain[first:last], chosen[first:last])
        first = last
    return chosen


@compiled
def _best_of_part(pairs: NDArray[np.int64], gain: NDArray[np.float64], chosen: NDArray[np.bool_]) -> None:
    """Best saving for every set of ends that are still free, from the empty set on."""
    names = np.unique(pairs.ravel())
    count = len(names)
    ends = np.searchsorted(names, pairs.ravel()).reshape(pairs.shape)
    best = np.zeros(1 << count)
    link = np.full(1 << count, -1, dtype=np.int64)
    for free in range(1, 1 << count):
        end = 0
        while not free >> end & 1:
            end += 1
        best[free] = best[free & ~(1 << end)]
        for p in range(len(pairs)):
            a, b = ends[p, 0], ends[p, 1]
            if (a == end or b == end) and free >> a & 1 and free >> b & 1 and a != b:
                saved = gain[p] + best[free & ~(1 << a) & ~(1 << b)]
                if saved > best[free]:
                    best[free] = saved
                    link[free] = p
    free = (1 << count) - 1
    while free:
        if link[free] >= 0:
            chosen[link[free]] = True
            free &= ~(1 << ends[link[free], 0]) & ~(1 << ends[link[free], 1])
        else:
            end = 0
            while not free >> end & 1:
                end += 1
            free &= ~(1 << end)
