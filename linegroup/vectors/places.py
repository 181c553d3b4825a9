"""Places of a ground in a picture of them: written, read, with what is around them, in connected pieces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled

Mask = NDArray[np.bool_]
Bits = NDArray[np.uint8]
Nodes = NDArray[np.int32]
Numbers = NDArray[np.int32]


def _neighbour_table() -> NDArray[np.bool_]:
    """`(256,)`, by the neighbours that are set, from the right one on, turning: whether a place can go.

    Without it the same is connected as before, in the set as in its surroundings (Yokoi 1975).
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    clear = 1 - bits
    number = sum(clear[:, k] - clear[:, k] * clear[:, k + 1] * clear[:, (k + 2) % 8] for k in (0, 2, 4, 6))
    return np.asarray(number == 1)


CAN_GO = _neighbour_table()
"""`(256,)`, by the neighbours that are set (see `around`): whether a place can be cleared and nothing comes apart."""

COUNT = np.asarray(((np.arange(256)[:, None] >> np.arange(8)) & 1).sum(axis=1), dtype=np.uint8)
"""`(256,)`, how many neighbours are set."""


@compiled
def write(nodes: Nodes, state: Bits, value: int) -> None:
    """Set the places `(k, 2)`, x first, of a picture to a value."""
    for i in range(len(nodes)):
        state[nodes[i, 1], nodes[i, 0]] = value


@compiled
def alive(nodes: Nodes, state: Bits) -> Mask:
    """`(k,)`, which of the places are not 0."""
    found = np.empty(len(nodes), dtype=np.bool_)
    for i in range(len(nodes)):
        found[i] = state[nodes[i, 1], nodes[i, 0]] > 0
    return found


@compiled
def around(u: int, v: int, state: Bits) -> int:
    """The neighbours that are not 0, one bit each, from the right one on, turning."""
    return int(
        (state[v, u + 1] > 0)
        | (state[v - 1, u + 1] > 0) << 1
        | (state[v - 1, u] > 0) << 2
        | (state[v - 1, u - 1] > 0) << 3
        | (state[v, u - 1] > 0) << 4
        | (state[v + 1, u - 1] > 0) << 5
        | (state[v + 1, u] > 0) << 6
        | (state[v + 1, u + 1] > 0) << 7
    )


@compiled
def name_pieces(nodes: Nodes, at: Numbers, chosen: Mask, piece: NDArray[np.int64]) -> int:
    """Write the names of the 8-connected pieces of the chosen places, from 1, in the order of their first places.

    Args:
        nodes: `(k, 2)`, x first.
        at: Picture with the number of each place, from 1; 0 = none. Places do not lie at its rim.
        chosen: `(k,)`.
        piece: `(k,)`, zeros.

    Returns:
        How many pieces there are.
    """
    stack = np.empty(len(nodes), dtype=np.int64)
    count = 0
    for i in range(len(nodes)):
        if not chosen[i] or piece[i] > 0:
            continue
        count += 1
        piece[i] = count
        stack[0] = i
        waiting = 1
        while waiting > 0:
            waiting -= 1
            u, v = nodes[stack[waiting], 0], nodes[stack[waiting], 1]
            for dv in range(-1, 2):
                for du in range(-1, 2):
                    other = at[v + dv, u + du] - 1
                    if other >= 0 and chosen[other] and piece[other] == 0:
                        piece[other] = count
                        stack[waiting] = other
                        waiting += 1
    return count
