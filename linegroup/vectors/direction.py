"""In which direction a line is told, and where it begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

UPRIGHT = 0.1
"""Ends no further apart in x than this share of their distance in y lie above each other."""


def runs_backwards(first: Points, last: Points) -> bool:
    """Whether an open line from one point `(2,)` to the other is told the other way round.

    It begins at its left end; where its ends lie above each other (within 6 degrees), at the upper one.
    """
    dx, dy = (last - first).tolist()
    return bool(dy < 0 if abs(dx) <= UPRIGHT * abs(dy) else dx < 0)


def ring_from_left(points: Points) -> Points:
    """A ring `(n, 2)`, n ≥ 3, from its leftmost point on (the upper of several), clockwise as one sees it."""
    x, y = points.T
    if np.dot(x, np.roll(y, -1)) < np.dot(y, np.roll(x, -1)):
        points = points[::-1]
    return np.roll(points, -int(np.lexsort(points.T[::-1])[0]), axis=0)
