"""DBSCAN with SciPy alone, for machines where numba cannot run: the same labels, more slowly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_PAIRS = 2_000_000
"""Pairs of neighbours looked at together; this bounds the memory."""


def plain_dbscan(points: NDArray[Any], eps: float, min_samples: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels `(N,)` and core flags `(N,)` of points `(N, D)`, N ≥ 1, as `dbscan_core` has them."""
    exact = np.ascontiguousarray(points, dtype=np.float64)
    count = len(exact)
    tree = cKDTree(exact - exact.mean(axis=0))
    neighbours = np.zeros(count, dtype=np.int64)
    for a, _ in _pairs(tree, exact, eps):
        neighbours += np.bincount(a, minlength=count)
    core = neighbours >= min_samples
    part = np.arange(count)
    for a, b in _pairs(tree, exact, eps):
        both = core[a] & core[b]
        edges = coo_array((np.ones(int(both.sum())), (part[a[both]], part[b[both]])), shape=(count, count))
        part = connected_components(edges, directed=False)[1][part]
    where = np.flatnonzero(core)
    _, first, inverse = np.unique(part[where], return_index=True, return_inverse=True)
    labels = np.full(count, -1, dtype=np.int64)
    labels[where] = np.argsort(np.argsort(first))[inverse]
    border = np.full(count, count, dtype=np.int64)
    for a, b in _pairs(tree, exact, eps):
        outer = ~core[a] & core[b]
        np.minimum.at(border, a[outer], labels[b[outer]])
    return np.where(core, labels, np.where(border < count, border, -1)), core


def _pairs(
    tree: cKDTree, points: NDArray[np.float64], eps: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All ordered pairs within `eps`, each point with itself included, a part of them at a time."""
    places = tree.data
    # What the search takes for near is looked at again, so it may be generous.
    reach = min(eps, 1e151) * (1 + 1e-9) + 8 * np.finfo(np.float64).eps * float(np.abs(points).max())
    sizes = np.asarray(tree.query_ball_point(places, reach, return_length=True))
    first = 0
    while first < len(points):
        last = max(first + 1, int(np.searchsorted(np.cumsum(sizes[first:]), _PAIRS)) + first)
        found = tree.query_ball_point(places[first:last], reach)
        a = np.repeat(np.arange(first, last), sizes[first:last])
        b = np.concatenate([np.asarray(one, dtype=np.int64) for one in found])
        squared = np.zeros(len(a))
        for d in range(points.shape[1]):
            away = points[a, d] - points[b, d]
            squared += away * away
        near = squared <= eps * eps
        yield a[near], b[near]
        first = last
