"""Points of a skeleton moved to the middle of the ink."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.vectors.ground import ROUNDING

Points = NDArray[np.float64]

MOST = 0.7
"""Places that a point moves at most."""

STRAIGHT = 0.9
"""Cosine of a turn that is none: in a corner, the middle of the ink is not where the line is."""

SPAN = 2
"""Pixels to both sides from which the direction at a point is taken."""


@compiled
def centred(
    points: Points,
    ink: NDArray[np.float32],
    at: NDArray[np.int32],
    far: NDArray[np.float32],
    scale: int,
    half: float,
    closed: bool,
) -> Points:
    """A way `(n, 2)` on the ground in the middle of its ink, its open ends where the line's are: `(n to n + 2, 2)`.

    A point moves across the way only, towards the centre of mass of the ink around it, as far as the ground goes.

    Args:
        points: In order, pixels.
        ink: `(h, w)`, how much ink each pixel holds.
        at: Of the ground, as the next two.
        far: From paper.
        scale: Places per pixel.
        half: Half the pen's thickness, the ground's reach.
        closed: Whether the last point is followed by the first.
    """
    count, span = len(points), SPAN * scale
    if count < 3:
        return points.copy()
    reach = max(1, int(np.rint(half + 0.5)))
    middle = np.empty((count, 2))
    for i in range(count):
        _middle(points[i], ink, reach, middle[i])
    placed = np.empty((count + 2, 2))
    for i in range(count):
        before, after = i - span, i + span
        before, after = (before % count, after % count) if closed else (max(before, 0), min(after, count - 1))
        dx, dy = points[after, 0] - points[before, 0], points[after, 1] - points[before, 1]
        length = max(np.hypot(dx, dy), 1e-9)
        straight = _cosine(points[before], points[i], points[after]) > STRAIGHT
        dx, dy = dx / length, dy / length
        mx, my = middle[i, 0] - points[i, 0], middle[i, 1] - points[i, 1]
        along = mx * dx + my * dy
        mx, my = mx - along * dx, my - along * dy
        away = np.hypot(mx, my)
        if away > MOST / scale:
            mx, my = mx * MOST / scale / away, my * MOST / scale / away
        if not straight:
            mx, my = 0.0, 0.0
        for part in (1.0, 0.5, 0.0):
            placed[i + 1, 0], placed[i + 1, 1] = points[i, 0] + part * mx, points[i, 1] + part * my
            place = at[int(np.rint(scale * placed[i + 1, 1])), int(np.rint(scale * placed[i + 1, 0]))]
            if place > 0 and far[place - 1] >= half - ROUNDING:
                break
    first, last = 1, count + 1
    if not closed:
        back = min(count - 1, int(scale * (half + 1.5)))
        if _reaches_on(placed[1], placed[1 + back], ink, 2 * half, placed[0]):
            first = 0
        if _reaches_on(placed[count], placed[count - back], ink, 2 * half, placed[count + 1]):
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
def _cosine(before: Points, here: Points, after: Points) -> float:
    """Of the angle that a way turns by; 1 at its ends."""
    ax, ay, bx, by = here[0] - before[0], here[1] - before[1], after[0] - here[0], after[1] - here[1]
    product = np.hypot(ax, ay) * np.hypot(bx, by)
    return (ax * bx + ay * by) / product if product > 0 else 1.0


@compiled
def _reaches_on(end: Points, back: Points, ink: NDArray[np.float32], thickness: float, further: Points) -> bool:
    """Write where the ink ends straight on from an end of a way; False where it goes on for next to nothing.

    The ground stops half a thickness before. Round and projecting ends of ink go half a thickness beyond the
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
