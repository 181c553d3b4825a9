"""Which ways lie beside the course of a line: leftovers of what it crosses or touches, not places on its way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.grouping.chains import Chain

Mask = NDArray[np.bool_]

SHORT = 0.25
"""A way beside another one is at most so long, measured by it."""


def beside(chains: Sequence[Chain]) -> Mask:
    """`(n,)`, the short ways that a long one passes.

    The long way goes on in both directions from the place nearest to them, at least as far as they are away: in the
    order of the line there is no place for them. What lies in a gap, or goes on beyond an end, is not beside.
    """
    answer = np.zeros(len(chains), dtype=np.bool_)
    lengths = np.array([float(np.hypot(*np.diff(chain.points, axis=0).T).sum()) for chain in chains])
    is_long = (lengths >= SHORT * lengths.max()) & (lengths > 0)
    long, others = np.flatnonzero(is_long).tolist(), np.flatnonzero(~is_long).tolist()
    if not long or not others:
        return answer
    owner = np.repeat(long, [len(chains[k].points) for k in long])
    points = np.concatenate([chains[k].points for k in long])
    tree = cKDTree(points)
    for k in others:
        way = chains[k].points
        away, nearest = tree.query(way[[0, len(way) // 2, -1]])
        passed = owner[nearest]
        ends = np.array([(chains[j].points[0], chains[j].points[-1]) for j in passed])
        to_end = np.hypot(*(ends - points[nearest][:, None]).transpose(2, 0, 1)).min(axis=1)
        to_end[[chains[j].closed for j in passed]] = np.inf
        answer[k] = bool((to_end > away).all() and (lengths[k] <= SHORT * lengths[passed]).all())
    return answer
