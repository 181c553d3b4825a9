"""Ways joined end to end to one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.compiling import compiled
from linegroup.grouping.chain import Chain, in_rows
from linegroup.vectors.shortening import shortened

FEW = 300
"""Of no more ends all pairs are looked at: a tree takes longer to be made."""

Points = NDArray[np.float64]
Row = list[tuple[int, bool]]


def end_to_end(chains: list[Chain]) -> Chain:
    """One chain of all: in rounds, ends that are each other's nearest are joined; an open one is made shorter then.

    A closed one begins after its widest gap.
    """
    rows: list[Row] = [[(k, False)] for k in range(len(chains))]
    ends = np.array([(*chain.points[0], *chain.points[-1]) for chain in chains]).reshape(-1, 2, 2)
    places = ends.reshape(-1, 2)
    closed = chains[0].closed
    while len(rows) > 1:
        links = _nearest(places)
        rows, kept, closed = _join(rows, links)
        places = places[kept]
    row = rows[0] if closed else _shortened(ends, rows[0])
    turned = [chains[k].points[::-1] if back else chains[k].points for k, back in row]
    if closed:
        gaps = [np.hypot(*(way[0] - turned[k - 1][-1])) for k, way in enumerate(turned)]
        first = int(np.argmax(gaps))
        turned = [*turned[first:], *turned[:first]]
    return Chain(np.concatenate(turned), (), chains[0].thickness, closed)


def _shortened(ends: Points, row: Row) -> Row:
    """Joining the nearest first leaves long ways back to what was passed by; `ends (n, 2, 2)`."""
    order, turned = np.array([k for k, _ in row]), np.array([back for _, back in row])
    order, turned = shortened(ends, order, turned)
    return list(zip(order.tolist(), turned.tolist(), strict=True))


def _nearest(places: Points) -> list[tuple[int, int]]:
    """Ends `(2n, 2)`, two of each row, that are each other's nearest; if there are none, those nearest of all."""
    numbers = np.arange(len(places))
    nearest = _nearest_of_few(places) if len(places) <= FEW else _nearest_of_many(places)
    # Of a row only the end that is nearer to another one counts, or rounds would make rings.
    first = np.flatnonzero((nearest > numbers) & (nearest[nearest] == numbers))
    if not len(first):
        distance = np.where(nearest >= 0, np.hypot(*(places - places[nearest]).T), np.inf)
        first = np.array([np.argmin(distance)])
    return list(zip(first.tolist(), nearest[first].tolist(), strict=True))


@compiled
def _nearest_of_few(places: Points) -> NDArray[np.int64]:
    """`(2n,)`, for each end the nearest one of another row, n ≥ 2."""
    nearest = np.full(len(places), -1)
    for i in range(len(places)):
        least = np.inf
        for k in range(len(places)):
            right, down = places[k, 0] - places[i, 0], places[k, 1] - places[i, 1]
            away = right * right + down * down
            if away < least and k // 2 != i // 2:
                least = away
                nearest[i] = k
    return nearest


def _nearest_of_many(places: Points) -> NDArray[np.int64]:
    """See `_nearest_of_few`; -1 where many ends lie in one place."""
    nearest = np.full(len(places), -1)
    # A row's own other end, and ends in the same place, may be nearer.
    near = cKDTree(places).query(places, k=min(len(places), 4))[1]
    other = near // 2 != (np.arange(len(places)) // 2)[:, None]
    found = other.any(axis=1)
    nearest[found] = near[found, np.argmax(other[found], axis=1)]
    return nearest


def _join(rows: list[Row], links: list[tuple[int, int]]) -> tuple[list[Row], list[int], bool]:
    """Rows of rows, in the order of their first ones; the two ends that each keeps; whether the last one is a ring."""
    mate = np.full(2 * len(rows), -1, dtype=np.int64)
    for a, b in links:
        mate[a], mate[b] = b, a
    entered, cuts, rings = in_rows(mate, np.zeros(len(rows), dtype=np.bool_))
    joined: list[Row] = []
    kept: list[int] = []
    for first, last in pairwise(cuts.tolist()):
        ends = entered[first:last].tolist()
        row: Row = []
        for end in ends:
            row += [(k, not back) for k, back in reversed(rows[end // 2])] if end % 2 else rows[end // 2]
        joined.append(row)
        kept += [ends[0], ends[-1] ^ 1]
    # Two linked at both ends are no ring.
    return joined, kept, bool(rings[-1]) and int(cuts[-1] - cuts[-2]) > 2
