"""Ways without hooks: where a skeleton turns into a corner of the ink's end, the line did not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.vectors.places import Numbers

Points = NDArray[np.float64]

CORNER = 1.2
"""Pixels from the end of a way to where it turns into a corner."""

BEFORE = 2.0
"""Pixels before that, from which it is seen where the way was going."""

BEYOND = 0.5
"""Corners of straight ends are up to so many pixels beyond the reach of a line that ends between them."""

TURN = 0.5
"""Cosine of the turn, at most."""


@compiled
def hook_length(scale: int) -> int:
    """So many places of a way are its hook, if it has one."""
    return int(np.rint(CORNER * scale))


@compiled
def is_hook(points: Points, scale: int, widest: Numbers, reach: float, reached: float) -> bool:
    """Whether a way turns just after its first point, and all ink that is near that is reached from further on.

    Args:
        points: `(n, 2)`, in order, pixels.
        scale: Places per pixel.
        widest: Of the ground, 0 = paper.
        reach: Of the pen, in pixels.
        reached: So far away in pixels ink is still of a way.
    """
    short, further = hook_length(scale), int(np.rint((CORNER + BEFORE) * scale))
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
