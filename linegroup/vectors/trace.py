"""From a line's pixels to one ordered polyline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

TOLERANCE = 0.5
"""Largest distance in pixels of a dropped point from the simplified polyline."""

_CELL = 3.0
_NEIGHBOURS = 8


def trace(xs: NDArray[np.integer], ys: NDArray[np.integer], tolerance: float = TOLERANCE) -> NDArray[np.float32]:
    """One polyline through a line's pixels, in order from end to end, through gaps: `(n, 2) float32`, n ≥ 1.

    Pixels are averaged over small cells, which leaves points near the centre line; the minimum spanning
    tree of these follows the line and bridges the gaps of dashes; its longest path is the line, and what
    hangs off it (hairs, markers) is left out. A closed loop comes out open.

    Args:
        xs: `(m,)` columns, m ≥ 1.
        ys: `(m,)` rows.
        tolerance: In pixels, for leaving out points (Douglas and Peucker 1973).
    """
    points = _centres(np.stack([xs, ys], axis=1).astype(np.float64))
    if len(points) == 1:
        return points.astype(np.float32)
    path = _longest_path(_spanning_tree(points))
    # Averages of cells wobble about the centre line; three in a row wobble less. The ends stay.
    line = points[path]
    if len(line) > 2:
        line[1:-1] = (line[:-2] + line[1:-1] + line[2:]) / 3
    simple = cv2.approxPolyDP(line[:, None].astype(np.float32), tolerance, closed=False)
    return np.asarray(simple[:, 0], dtype=np.float32)


def _centres(points: NDArray[np.float64]) -> NDArray[np.float64]:
    cells = np.floor(points / _CELL).astype(np.int64)
    cells -= cells.min(axis=0)
    key = cells[:, 1] * (cells[:, 0].max() + 1) + cells[:, 0]
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    return np.stack([np.bincount(inverse, points[:, d]) / counts for d in range(2)], axis=1)


def _spanning_tree(points: NDArray[np.float64]) -> coo_matrix:
    """Minimum spanning tree; pieces that near neighbours leave apart are joined where they are nearest."""
    tree = cKDTree(points)
    distance, near = tree.query(points, k=min(_NEIGHBOURS + 1, len(points)))
    first = np.repeat(np.arange(len(points)), near.shape[1] - 1)
    edges = [(first, near[:, 1:].ravel(), distance[:, 1:].ravel())]
    while True:
        graph = _graph(edges, len(points))
        count, piece = connected_components(graph, directed=False)
        if count == 1:
            return minimum_spanning_tree(graph)
        edges.append(_bridges(points, piece, count))


def _bridges(
    points: NDArray[np.float64], piece: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For every piece the shortest edge that leaves it (Borůvka's step)."""
    found = []
    for p in range(count):
        inside, outside = np.flatnonzero(piece == p), np.flatnonzero(piece != p)
        distance, near = cKDTree(points[outside]).query(points[inside])
        best = int(np.argmin(distance))
        found.append((inside[best], outside[near[best]], distance[best]))
    a, b, length = zip(*found, strict=True)
    return np.array(a), np.array(b), np.array(length)


def _graph(edges: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]], count: int) -> coo_matrix:
    a, b, length = (np.concatenate(part) for part in zip(*edges, strict=True))
    low, high = np.minimum(a, b), np.maximum(a, b)
    # An edge found from both its ends counts once: sparse matrices add up what stands in one place.
    _, once = np.unique(low.astype(np.int64) * count + high, return_index=True)
    return coo_matrix((length[once], (low[once], high[once])), shape=(count, count)).tocsr()


def _longest_path(tree: coo_matrix) -> NDArray[np.int64]:
    """Nodes along the longest path of a tree: from any node to the farthest, and from there again."""
    end = _walk(tree, 0)[0]
    last, before = _walk(tree, end)
    path = [last]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return np.array(path)


def _walk(tree: coo_matrix, start: int) -> tuple[int, NDArray[np.int32]]:
    """The node farthest from `start`, and each node's predecessor (negative at the start)."""
    order, before = breadth_first_order(tree, start, directed=False)
    both = (tree + tree.T).tocsr()
    away = np.zeros(tree.shape[0])
    for node in order[1:]:
        away[node] = away[before[node]] + both[node, before[node]]
    return int(np.argmax(away)), before
