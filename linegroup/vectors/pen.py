"""The way of a pen: a walk over all strokes of connected ink, with as little as possible drawn twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.strokes import Strokes
from linegroup.unions import unite

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


@dataclass(frozen=True, eq=False)
class Ways:
    """Walks over strokes.

    Attributes:
        strokes: `(n,)`, the strokes of all walks, in order.
        turned: `(n,)`, whether each is gone from its last point to its first.
        cuts: `(w + 1,)`, where each walk begins, and the end.
    """

    strokes: Edges
    turned: NDArray[np.bool_]
    cuts: Edges


def stroke_graph(strokes: Strokes, rings: NDArray[np.bool_]) -> Graph:
    """Junctions are places, and so is every free end; a stroke that is a ring `(s,)` begins and ends in one place."""
    edges = strokes.nodes.copy()
    free = edges < 0
    edges[free] = strokes.junctions + np.arange(int(free.sum()))
    edges[rings, 1] = edges[rings, 0]
    lengths = np.diff(strokes.cuts).astype(np.float64)
    return Graph(edges, lengths, int(edges.max(initial=-1)) + 1)


def pen_ways(graph: Graph) -> Ways:
    """For each connected piece a walk over all of its strokes.

    The walk leads between two places of the piece that are far apart; of strokes that have to be drawn twice it takes
    those of the minimum spanning tree (the route inspection problem, Kwan 1960; with a T-join in the tree in place of
    the shortest one, which keeps the work linear and the way local). A piece that is a ring, or several, ends where
    it begins.
    """
    edges = np.ascontiguousarray(graph.edges)
    order = np.argsort(graph.lengths, kind="stable")
    in_tree = _spanning(edges, order, graph.places)
    trees = order[in_tree[order]]
    twice, starts = _drawn_twice(edges, graph.lengths, trees, graph.places)
    copies = np.repeat(order, 1 + twice[order])
    return Ways(*_walks(edges, copies, starts, graph.places))


@compiled
def _spanning(edges: Edges, order: Edges, places: int) -> NDArray[np.bool_]:
    """`(s,)`, the strokes of a spanning forest: in the given order, those that join what is not yet (Kruskal 1956)."""
    root = np.arange(places)
    chosen = np.zeros(len(edges), dtype=np.bool_)
    for k in order:
        chosen[k] = unite(root, edges[k, 0], edges[k, 1])
    return chosen


@compiled
def _at_places(edges: Edges, numbers: Edges, places: int) -> tuple[Edges, Edges]:
    """Where each place's entries begin `(places + 1,)`, and by place the positions in `numbers` of its strokes."""
    first = np.zeros(places + 1, dtype=np.int64)
    for k in numbers:
        first[edges[k, 0] + 1] += 1
        if edges[k, 0] != edges[k, 1]:
            first[edges[k, 1] + 1] += 1
    first = np.cumsum(first)
    free = first[:-1].copy()
    entries = np.empty(first[-1], dtype=np.int64)
    for i in range(len(numbers)):
        a, b = edges[numbers[i], 0], edges[numbers[i], 1]
        entries[free[a]] = i
        free[a] += 1
        if a != b:
            entries[free[b]] = i
            free[b] += 1
    return first, entries


@compiled
def _drawn_twice(edges: Edges, lengths: NDArray[np.float64], trees: Edges, places: int) -> tuple[Edges, Edges]:
    """How often more than once each stroke is drawn `(s,)`, and where the walk over each piece begins.

    Strokes of a spanning tree below which the number of odd places is odd are drawn twice.
    """
    first, entries = _at_places(edges, trees, places)
    odd = np.zeros(places, dtype=np.int64)
    touched = np.zeros(places, dtype=np.bool_)
    for k in range(len(edges)):
        for side in range(2):
            odd[edges[k, side]] ^= 1
            touched[edges[k, side]] = True
    twice = np.zeros(len(edges), dtype=np.int64)
    starts = np.empty(places, dtype=np.int64)
    seen = np.zeros(places, dtype=np.bool_)
    row, through = np.empty(places, dtype=np.int64), np.empty(places, dtype=np.int64)
    away = np.empty(places)
    count = 0
    for place in range(places):
        if seen[place] or not touched[place]:
            continue
        start = place
        for _ in range(2):
            n = _spread(edges, lengths, trees, first, entries, start, row, through, away)
            end = row[0]
            for i in range(n):
                if away[row[i]] > away[end]:
                    end = row[i]
            begin, start = start, end
        # From `begin`, an end of the longest way in the tree, to `end`, its other one.
        any_odd = False
        for i in range(n):
            seen[row[i]] = True
            any_odd |= odd[row[i]] == 1
        if any_odd:
            odd[begin] ^= 1
            odd[end] ^= 1
        for i in range(n - 1, 0, -1):
            if odd[row[i]]:
                stroke = through[row[i]]
                twice[stroke] += 1
                parent = edges[stroke, 0] if edges[stroke, 0] != row[i] else edges[stroke, 1]
                odd[parent] ^= 1
        starts[count] = begin
        count += 1
    return twice, starts[:count].copy()


@compiled
def _spread(
    edges: Edges,
    lengths: NDArray[np.float64],
    trees: Edges,
    first: Edges,
    entries: Edges,
    start: int,
    row: Edges,
    through: Edges,
    away: NDArray[np.float64],
) -> int:
    """Write the places of a tree from `start` on, the strokes that lead to them and how far they are; how many."""
    row[0] = start
    through[start] = -1
    away[start] = 0.0
    count, at = 1, 0
    while at < count:
        place = row[at]
        at += 1
        for e in range(first[place], first[place + 1]):
            stroke = trees[entries[e]]
            if stroke == through[place]:
                continue
            other = edges[stroke, 0] if edges[stroke, 0] != place else edges[stroke, 1]
            through[other] = stroke
            away[other] = away[place] + lengths[stroke]
            row[count] = other
            count += 1
    return count


@compiled
def _walks(edges: Edges, copies: Edges, starts: Edges, places: int) -> tuple[Edges, NDArray[np.bool_], Edges]:
    """Walks over every copy of a stroke once, from each start (Hierholzer 1873); earlier copies are taken first.

    Returns:
        The strokes of all walks, whether each is turned round, and where each walk begins, and the end.
    """
    at, entries = _at_places(edges, copies, places)
    used = np.zeros(len(copies), dtype=np.bool_)
    strokes, turned = np.empty(len(copies), dtype=np.int64), np.empty(len(copies), dtype=np.bool_)
    cuts = np.zeros(len(starts) + 1, dtype=np.int64)
    free = at[:-1].copy()
    stack, came = np.empty(len(copies) + 1, dtype=np.int64), np.empty(len(copies) + 1, dtype=np.int64)
    n = 0
    for k in range(len(starts)):
        stack[0], came[0] = starts[k], -1
        depth = 1
        while depth > 0:
            place = stack[depth - 1]
            while free[place] < at[place + 1] and used[entries[free[place]]]:
                free[place] += 1
            if free[place] < at[place + 1]:
                copy = entries[free[place]]
                used[copy] = True
                ends = edges[copies[copy]]
                stack[depth] = ends[0] if ends[0] != place else ends[1]
                came[depth] = 2 * copies[copy] + (ends[0] != place)
                depth += 1
            else:
                depth -= 1
                if came[depth] >= 0:
                    strokes[n], turned[n] = came[depth] // 2, came[depth] % 2 == 1
                    n += 1
        cuts[k + 1] = n
        # Walks are found from their ends.
        strokes[cuts[k] : n] = strokes[cuts[k] : n][::-1].copy()
        turned[cuts[k] : n] = turned[cuts[k] : n][::-1].copy()
    return strokes[:n].copy(), turned[:n].copy(), cuts
