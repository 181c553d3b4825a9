"""The order of ways joined end to end, with less to go between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled, inlined

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
        # Where each way begins and ends, by place in the row.
        begins, stops = ends[order, turned.astype(np.int64)], ends[order, 1 - turned.astype(np.int64)]
        for _ in range(max(1, min(ROUNDS, EFFORT // len(order) ** 2))):
            if not (_turn_stretches(begins, stops, order, turned) | _move_ways(begins, stops, order, turned)):
                break
    return order, turned


@inlined
def _far(a: Points, i: int, b: Points, j: int) -> float:
    """From one of some points `(n, 2)` to one of others."""
    # Numbers, not rows: what takes a part of an array takes longer than the rest of this.
    right, down = b[j, 0] - a[i, 0], b[j, 1] - a[i, 1]
    return float(np.sqrt(right * right + down * down))


@compiled
def _gaps(begins: Points, stops: Points) -> Points:
    """`(n + 1,)`, from each way to the next; 0 before the first and after the last."""
    gaps = np.zeros(len(begins) + 1)
    for k in range(1, len(begins)):
        gaps[k] = _far(stops, k - 1, begins, k)
    return gaps


@compiled
def _turn_stretches(begins: Points, stops: Points, order: Numbers, turned: NDArray[np.bool_]) -> bool:
    """Turn stretches round where that is shorter; whether there was one."""
    n = len(order)
    better = False
    gaps = _gaps(begins, stops)
    for i in range(n):
        for j in range(i, n):
            then = _far(stops, i - 1, stops, j) if i > 0 else 0.0
            if j + 1 < n:
                then += _far(begins, i, begins, j + 1)
            if then < gaps[i] + gaps[j + 1] - _GAIN:
                order[i : j + 1] = order[i : j + 1][::-1].copy()
                turned[i : j + 1] = ~turned[i : j + 1][::-1]
                kept = begins[i : j + 1].copy()
                begins[i : j + 1] = stops[i : j + 1][::-1].copy()
                stops[i : j + 1] = kept[::-1]
                gaps = _gaps(begins, stops)
                better = True
    return better


@compiled
def _move_ways(begins: Points, stops: Points, order: Numbers, turned: NDArray[np.bool_]) -> bool:
    """Put single ways elsewhere where that is shorter; whether there was one."""
    n = len(order)
    better = False
    gaps = _gaps(begins, stops)
    for i in range(n):
        saved = gaps[i] + gaps[i + 1]
        if 0 < i < n - 1:
            saved -= _far(stops, i - 1, begins, i + 1)
        best, place, back = _GAIN, -1, False
        # Gap k lies before the way at k; those beside the way are where it is.
        for k in range(n + 1):
            if k in (i, i + 1):
                continue
            forth, reverse = 0.0, 0.0
            if k > 0:
                forth += _far(stops, k - 1, begins, i)
                reverse += _far(stops, k - 1, stops, i)
            if k < n:
                forth += _far(stops, i, begins, k)
                reverse += _far(begins, i, begins, k)
            gain = saved + gaps[k] - min(forth, reverse)
            if gain > best:
                best, place, back = gain, k, reverse < forth
        if place >= 0:
            better = True
            way, direction = order[i], turned[i] != back
            begin, stop = begins[i].copy(), stops[i].copy()
            if back:
                begin, stop = stop, begin
            if place > i:
                place -= 1
                order[i:place], turned[i:place] = order[i + 1 : place + 1].copy(), turned[i + 1 : place + 1].copy()
                begins[i:place], stops[i:place] = begins[i + 1 : place + 1].copy(), stops[i + 1 : place + 1].copy()
            else:
                order[place + 1 : i + 1], turned[place + 1 : i + 1] = order[place:i].copy(), turned[place:i].copy()
                begins[place + 1 : i + 1], stops[place + 1 : i + 1] = begins[place:i].copy(), stops[place:i].copy()
            order[place], turned[place] = way, direction
            begins[place], stops[place] = begin, stop
            gaps = _gaps(begins, stops)
    return better
