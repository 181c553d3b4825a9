"""Which ends are linked: a matching of the smallest total cost."""

from __future__ import annotations

import networkx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_EXACT = 24
"""Ends that depend on each other, up to which the best of all matchings is looked for."""


def match_ends(
    pairs: NDArray[np.int64], costs: NDArray[np.float64], unlinked: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Links of the smallest total cost, each end in one at most; ends without one cost `unlinked`.

    Ends that depend on each other are matched together: exactly (Edmonds 1965) where they are few, elsewhere
    by always taking the link that saves most of those left, which saves at least half as much.

    Args:
        pairs: `(P, 2)`, ends that may be linked.
        costs: `(P,)`.
        unlinked: `(E,)`.
    """
    gain = unlinked[pairs].sum(axis=1) - costs
    # Of a pair that stands twice the better one counts.
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -gain))
    order = order[gain[order] > 0]
    pairs, gain = pairs[order], gain[order]
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(unlinked), len(unlinked)))
    part = connected_components(graph, directed=False)[1]
    large = np.bincount(part, minlength=1) > _EXACT
    links: list[tuple[int, int]] = []
    taken = np.zeros(len(unlinked), dtype=np.bool_)
    for a, b in pairs[large[part[pairs[:, 0]]]].tolist():
        if not taken[a] and not taken[b]:
            taken[a] = taken[b] = True
            links.append((a, b))
    small = ~large[part[pairs[:, 0]]]
    exact = networkx.Graph()
    for (a, b), saved in zip(pairs[small][::-1].tolist(), gain[small][::-1].tolist(), strict=True):
        exact.add_edge(a, b, weight=saved)
    for component in networkx.connected_components(exact):
        links.extend(networkx.max_weight_matching(exact.subgraph(component)))
    return [(min(link), max(link)) for link in links]
