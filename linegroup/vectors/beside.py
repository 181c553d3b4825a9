"""Which ways lie beside the course of a line: leftovers of what it crosses or touches, not places on its way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.grouping.chain import Chain

Mask = NDArray[np.bool_]

SHORT = 0.25
"""A way beside another one is at most so long, measured by it."""


def beside(chains: Sequence[Chain]) -> Mask:
    """`(n,)`, the short ways that a long one passes.

    The long way goes on in both directions from the place nearest to them, at least as far as they are away: in the
    order of the line there is no place for them. What lies in a gap, or goes on beyond an end, is not beside.
    """
    answer = np.zeros(len(chains), dtype=np.bool_)
    if len(chains) < 2:
        return answer
    sizes = np.array([len(chain.points) for chain in chains])
    stops = np.cumsum(sizes)
    whole = np.concatenate([chain.points for chain in chains])
    steps = np.hypot(*np.diff(whole, axis=0, append=whole[-1:]).T)
    steps[stops - 1] = 0
    lengths = np.add.reduceat(steps, stops - sizes)
    is_long = (lengths >= SHORT * lengths.max()) & (lengths > 0)
    long, others = np.flatnonzero(is_long).tolist(), np.flatnonzero(~is_long).tolist()
    if not long or not others:
        return answer
    owner = np.repeat(long, sizes[long])
    points = whole[np.repeat(is_long, sizes)]
    ends = np.stack([whole[stops - sizes], whole[stops - 1]], axis=1)
    closed = np.array([chain.closed for chain in chains])
    middles = whole[(stops - sizes + sizes // 2)[others]]
    looked_at = np.stack([ends[others, 0], middles, ends[others, 1]], axis=1)
    away, nearest = cKDTree(points).query(looked_at)
    passed = owner[nearest]
    to_end = np.hypot(*np.moveaxis(ends[passed] - points[nearest][:, :, None], -1, 0)).min(axis=-1)
    to_end[closed[passed]] = np.inf
    short = lengths[others, None] <= SHORT * lengths[passed]
    answer[others] = ((to_end > away) & short).all(axis=1)
    return answer
