"""The order of ways joined end to end, with less to go between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled

Points = NDArray[np.float64]
Numbers = NDArray[np.int64]

MOST = 1_000
"""Of more ways the order stays as it is: the work grows with the square of their number."""

ROUNDS, EFFORT = 20, 2_000_000
"""So often all of them are gone through; with many, less often: so many pairs of ways at most, and once in any case."""

_GAIN = 1e-6


def shortened(ends: Points, order: Numbers, turned: NDArray[np.bool_]) -> tuple[Numbers, NDArray[np.bool_]]:
    """Order and directions of ways with less to go from each to the next in sum, as far as single changes lead.

    A change turns a stretch of the row round (2-opt, Croes 1958), or puts one way elsewhere, either way round.

    Args:
        ends: `(n, 2, 2)`, first and last point of each way.
        order: `(n,)`, the ways as they stand.
        turned: `(n,)`, by place in the row: whether that way is gone backwards.
    """
    order, turned = order.copy(), turned.copy()
    if 2 < len(order) <= MOST:
        for _ in range(max(1, min(ROUNDS, EFFORT // len(order) ** 2))):
            if not (_turn_stretches(ends, order, turned) | _move_ways(ends, order, turned)):
                break
    return order, turned


@compiled
def _between(ends: Points, one: int, one_turned: bool, other: int, other_turned: bool) -> float:
    """From where one way ends to where the other begins; 0 where there is no way (-1)."""
    if one < 0 or other < 0:
        return 0.0
    a, b = ends[one, 0 if one_turned else 1], ends[other, 1 if other_turned else 0]
    return float(np.hypot(b[0] - a[0], b[1] - a[1]))


@compiled
def _turn_stretches(ends: Points, order: Numbers, turned: NDArray[np.bool_]) -> bool:
    """Turn stretches round where that is shorter; whether there was one."""
    n = len(order)
    better = False
    for i in range(n):
        for j in range(i, n):
            before, after = order[i - 1] if i > 0 else -1, order[j + 1] if j + 1 < n else -1
            before_turned, after_turned = i > 0 and turned[i - 1], j + 1 < n and turned[j + 1]
            now = _between(ends, before, before_turned, order[i], turned[i])
            now += _between(ends, order[j], turned[j], after, after_turned)
            then = _between(ends, before, before_turned, order[j], not turned[j])
            then += _between(ends, order[i], not turned[i], after, after_turned)
            if then < now - _GAIN:
                order[i : j + 1] = order[i : j + 1][::-1].copy()
                turned[i : j + 1] = ~turned[i : j + 1][::-1]
                better = True
    return better


@compiled
def _move_ways(ends: Points, order: Numbers, turned: NDArray[np.bool_]) -> bool:
    """Put single ways elsewhere where that is shorter; whether there was one."""
    n = len(order)
    better = False
    for i in range(n):
        way, way_turned = order[i], turned[i]
        before, after = order[i - 1] if i > 0 else -1, order[i + 1] if i + 1 < n else -1
        before_turned, after_turned = i > 0 and turned[i - 1], i + 1 < n and turned[i + 1]
        saved = _between(ends, before, before_turned, way, way_turned)
        saved += _between(ends, way, way_turned, after, after_turned)
        saved -= _between(ends, before, before_turned, after, after_turned)
        best, place, direction = _GAIN, -1, way_turned
        # Gap k lies before the way at k; those beside the way are where it is.
        for k in range(n + 1):
            if k in (i, i + 1):
                continue
            one, other = order[k - 1] if k > 0 else -1, order[k] if k < n else -1
            one_turned, other_turned = k > 0 and turned[k - 1], k < n and turned[k]
            gap = _between(ends, one, one_turned, other, other_turned)
            for back in (False, True):
                spent = _between(ends, one, one_turned, way, back) + _between(ends, way, back, other, other_turned)
                if saved - spent + gap > best:
                    best, place, direction = saved - spent + gap, k, back
        if place >= 0:
            better = True
            if place > i:
                order[i : place - 1], turned[i : place - 1] = order[i + 1 : place].copy(), turned[i + 1 : place].copy()
                order[place - 1], turned[place - 1] = way, direction
            else:
                order[place + 1 : i + 1], turned[place + 1 : i + 1] = order[place:i].copy(), turned[place:i].copy()
                order[place], turned[place] = way, direction
    return better
