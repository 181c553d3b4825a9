"""The way of a pen: a walk over all strokes of connected ink, with as little as possible drawn twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra, minimum_spanning_tree

from linegroup.grouping.strokes import Strokes

Points = NDArray[np.float64]
Edges = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Graph:
    """Strokes as edges between places where they meet or end.

    Attributes:
        edges: `(s, 2)`, the places at each stroke's first and last point.
        lengths: `(s,)`, in pixels, > 0.
        places: Number of places.
    """

    edges: Edges
    lengths: NDArray[np.float64]
    places: int


def stroke_graph(strokes: Strokes) -> Graph:
    """Junctions are places, and so is every free end; a ring begins and ends in one place."""
    edges = strokes.nodes.copy()
    free = edges < 0
    rings = free.all(axis=1) & np.array([len(p) > 8 and np.hypot(*(p[0] - p[-1])) < 2 for p in strokes.points], bool)
    edges[free] = strokes.junctions + np.arange(int(free.sum()))
    edges[rings, 1] = edges[rings, 0]
    lengths = np.array([float(len(points)) for points in strokes.points])
    return Graph(edges, lengths, int(edges.max(initial=-1)) + 1)


def pen_ways(graph: Graph) -> list[list[tuple[int, bool]]]:
    """For each connected piece its strokes in the order of a walk over all of them, with whether each is turned round.

    The walk leads between the two places of the piece that are farthest apart; of strokes that have to be drawn
    twice it takes those of the minimum spanning tree (the route inspection problem, Kwan 1960; with a T-join in
    the tree in place of the shortest one, which keeps the work linear and the way local). A piece that is a ring,
    or several, ends where it begins.
    """
    if not graph.places:
        return []
    whole = _matrix(graph)
    count, piece = connected_components(whole, directed=False)
    of_edge = piece[graph.edges[:, 0]]
    ways = []
    for p in range(count):
        own = np.flatnonzero(of_edge == p)
        if len(own) == 1:
            ways.append([(int(own[0]), False)])
        elif len(own):
            ways.append(_way(graph, own))
    return ways


def _matrix(graph: Graph, own: NDArray[np.int64] | None = None) -> coo_array:
    """Shortest stroke between each two places, symmetric."""
    edges, lengths = (graph.edges, graph.lengths) if own is None else (graph.edges[own], graph.lengths[own])
    low, high = np.sort(edges, axis=1).T
    order = np.lexsort((lengths, high, low))
    key = low[order] * graph.places + high[order]
    once = order[np.unique(key, return_index=True)[1]]
    once = once[low[once] != high[once]]
    data, rows, columns = lengths[once], low[once], high[once]
    both = np.concatenate([data, data]), (np.concatenate([rows, columns]), np.concatenate([columns, rows]))
    return coo_array(both, shape=(graph.places, graph.places)).tocsr()


def _way(graph: Graph, own: NDArray[np.int64]) -> list[tuple[int, bool]]:
    matrix = _matrix(graph, own)
    edges = graph.edges[own]
    start, end = _farthest(matrix, int(edges[0, 0]))
    degree = np.bincount(edges.ravel(), minlength=graph.places)
    odd = degree % 2
    if odd[edges.ravel()].any():
        odd[start] ^= 1
        odd[end] ^= 1
    else:
        end = start
    twice = _drawn_twice(matrix, odd, start)
    # Of several strokes between two places the shortest one is in the tree.
    shortest: dict[tuple[int, int], int] = {}
    for k in own[np.argsort(-graph.lengths[own], kind="stable")].tolist():
        a, b = sorted(graph.edges[k].tolist())
        shortest[a, b] = k
    doubled = [shortest[min(a, b), max(a, b)] for a, b in twice]
    return _euler(graph, [*own.tolist(), *doubled], start)


def _farthest(matrix: coo_array, inside: int) -> tuple[int, int]:
    """Two places far from each other along the strokes: the end of the farthest way from anywhere, twice."""
    first = _end_of(matrix, inside)
    return first, _end_of(matrix, first)


def _end_of(matrix: coo_array, start: int) -> int:
    away = dijkstra(matrix, directed=False, indices=start)
    return int(np.argmax(np.where(np.isfinite(away), away, -1)))


def _drawn_twice(matrix: coo_array, odd: NDArray[np.int64], root: int) -> list[tuple[int, int]]:
    """Edges of the spanning tree below which the number of odd places is odd."""
    tree = minimum_spanning_tree(matrix)
    order, before = breadth_first_order(tree, root, directed=False)
    below = odd.copy()
    twice = []
    for place in order[:0:-1].tolist():
        parent = int(before[place])
        if below[place] % 2:
            twice.append((place, parent))
            below[parent] += below[place]
    return twice


def _euler(graph: Graph, strokes: list[int], start: int) -> list[tuple[int, bool]]:
    """A walk over every given stroke once, from `start` (Hierholzer 1873); longer strokes are left for later."""
    at: dict[int, list[int]] = {}
    for number in sorted(range(len(strokes)), key=lambda n: -graph.lengths[strokes[n]]):
        for place in set(graph.edges[strokes[number]].tolist()):
            at.setdefault(place, []).append(number)
    used = [False] * len(strokes)
    stack: list[tuple[int, tuple[int, bool] | None]] = [(start, None)]
    way: list[tuple[int, bool]] = []
    while stack:
        place, came = stack[-1]
        waiting = at.get(place, [])
        while waiting and used[waiting[-1]]:
            waiting.pop()
        if waiting:
            number = waiting.pop()
            used[number] = True
            stroke = strokes[number]
            first, last = graph.edges[stroke].tolist()
            turned = place != first
            stack.append((first if turned else last, (stroke, turned)))
        else:
            stack.pop()
            if came is not None:
                way.append(came)
    return way[::-1]
