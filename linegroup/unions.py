"""Sets that are united step by step (union-find, Galler and Fischer 1964), for compiled loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled


@compiled
def find(parent: NDArray[np.int64], item: int) -> int:
    """The one that stands for the item's set: `parent` names for each item another one of its set, or itself.

    Shortens the way for those who ask next.
    """
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@compiled
def unite(parent: NDArray[np.int64], one: int, other: int) -> bool:
    """Make one set of those of two items, for which the smaller number stands; False where they were one."""
    one, other = find(parent, one), find(parent, other)
    parent[max(one, other)] = min(one, other)
    return one != other
