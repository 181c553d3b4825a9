"""Ways without hooks: where a skeleton turns into a corner of the ink's end, the line did not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.vectors.ground import Ground
from linegroup.vectors.places import Numbers
from linegroup.vectors.thinning import UNREACHED

Points = NDArray[np.float64]

CORNER = 1.2
"""Pixels from the end of a way to where it turns into a corner."""

BEFORE = 2.0
"""Pixels before that, from which it is seen where the way was going."""

TURN = 0.5
"""Cosine of the turn, at most."""


def without_hooks(points: Points, ground: Ground) -> Points:
    """A way `(n, 2)` on the ground without hooks at its ends, but for those that reach ink which nothing else reaches.

    Args:
        points: In order, pixels.
        ground: Of the ink.
    """
    short, further = round(CORNER * ground.scale), round((CORNER + BEFORE) * ground.scale)
    reach = ground.reach
    for _ in range(2):
        if _is_hook(np.ascontiguousarray(points), short, further, ground.widest, reach, reach + UNREACHED):
            points = points[short:]
        points = points[::-1]
    return points


@compiled
def _is_hook(points: Points, short: int, further: int, widest: Numbers, reach: float, reached: float) -> bool:
    """Whether the way turns just after its first point, and all ink near that is reached from further on."""
    if len(points) <= further:
        return False
    ax, ay = points[0, 0] - points[short, 0], points[0, 1] - points[short, 1]
    bx, by = points[short, 0] - points[further, 0], points[short, 1] - points[further, 1]
    if ax * bx + ay * by >= TURN * np.hypot(ax, ay) * np.hypot(bx, by):
        return False
    x, y = points[0, 0], points[0, 1]
    for v in range(max(0, int(np.ceil(y - reach))), min(widest.shape[0], int(y + reach) + 1)):
        for u in range(max(0, int(np.ceil(x - reach))), min(widest.shape[1], int(x + reach) + 1)):
            if widest[v, u] == 0 or np.hypot(u - x, v - y) > reach:
                continue
            near = False
            for i in range(short, further):
                near |= np.hypot(u - points[i, 0], v - points[i, 1]) <= reached
            if not near:
                return False
    return True
