"""Points of a skeleton moved to the middle of the ink, and on to where the ink ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled

Points = NDArray[np.float64]

SPAN = 2
"""Points to both sides from which the direction at a point is taken."""


@compiled
def centred(points: Points, ink: NDArray[np.float32], thickness: float, closed: bool) -> Points:
    """A way `(n, 2)` of pixels in the middle of its ink, with its open ends where the ink ends: `(n to n + 2, 2)`.

    A point moves across the way only, to the centre of mass of the ink around it, and not further than half a
    thickness and a pixel.

    Args:
        points: In order, pixels.
        ink: `(h, w)`, how much ink each pixel holds.
        thickness: Of the ink, in pixels.
        closed: Whether the last point is followed by the first.
    """
    count = len(points)
    if count < 3:
        return points.copy()
    reach = max(1, int(np.rint(thickness / 2 + 0.5)))
    middle = np.empty((count, 2))
    for i in range(count):
        _middle(points[i], ink, reach, middle[i])
    placed = np.empty((count + 2, 2))
    for i in range(count):
        before, after = i - SPAN, i + SPAN
        before, after = (before % count, after % count) if closed else (max(before, 0), min(after, count - 1))
        dx, dy = middle[after, 0] - middle[before, 0], middle[after, 1] - middle[before, 1]
        length = max(np.hypot(dx, dy), 1e-9)
        dx, dy = dx / length, dy / length
        mx, my = middle[i, 0] - points[i, 0], middle[i, 1] - points[i, 1]
        along = mx * dx + my * dy
        mx, my = mx - along * dx, my - along * dy
        if np.hypot(mx, my) > thickness / 2 + 1:
            mx, my = 0.0, 0.0
        placed[i + 1, 0], placed[i + 1, 1] = points[i, 0] + mx, points[i, 1] + my
    first, last = 1, count + 1
    if not closed:
        back = min(count - 1, int(thickness) + 3)
        if _reaches_on(placed[1], placed[1 + back], ink, thickness, placed[0]):
            first = 0
        if _reaches_on(placed[count], placed[count - back], ink, thickness, placed[count + 1]):
            last = count + 2
    return placed[first:last].copy()


@compiled
def _middle(point: Points, ink: NDArray[np.float32], reach: int, middle: Points) -> None:
    """Write the centre of mass of the ink within a square of 2 reach + 1 pixels around a pixel."""
    height, width = ink.shape
    x, y = int(point[0]), int(point[1])
    total, sum_x, sum_y = 0.0, 0.0, 0.0
    for v in range(max(0, y - reach), min(height, y + reach + 1)):
        for u in range(max(0, x - reach), min(width, x + reach + 1)):
            total += ink[v, u]
            sum_x += ink[v, u] * u
            sum_y += ink[v, u] * v
    middle[0] = sum_x / total if total > 0 else point[0]
    middle[1] = sum_y / total if total > 0 else point[1]


@compiled
def _reaches_on(end: Points, back: Points, ink: NDArray[np.float32], thickness: float, further: Points) -> bool:
    """Write where the ink ends straight on from an end of a way; False where it goes on for next to nothing.

    Skeletons stop half a thickness before. Round and projecting ends of ink go half a thickness beyond the
    line's own, butt ones do not: an eighth of the thickness lies between the two.
    """
    dx, dy = end[0] - back[0], end[1] - back[1]
    length = np.hypot(dx, dy)
    if length < 1:
        return False
    dx, dy = dx / length, dy / length
    step = 0.0
    while step < thickness + 0.5:
        x, y = int(np.rint(end[0] + (step + 0.5) * dx)), int(np.rint(end[1] + (step + 0.5) * dy))
        if x < 0 or y < 0 or x >= ink.shape[1] or y >= ink.shape[0] or ink[y, x] <= 0:
            break
        step += 0.5
    reached = step - 3 * thickness / 8
    if step <= 0 or reached <= 0.25:
        return False
    further[0], further[1] = end[0] + reached * dx, end[1] + reached * dy
    return True
