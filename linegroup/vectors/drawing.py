"""Strokes drawn as a pen would: one way for each connected piece, in the middle of the ink."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.chain import Chain
from linegroup.grouping.strokes import Strokes
from linegroup.vectors.centring import centred
from linegroup.vectors.ground import Ground
from linegroup.vectors.hooks import BEYOND, hook_length, is_hook
from linegroup.vectors.pen import Ways, pen_ways, stroke_graph
from linegroup.vectors.places import Mask, Numbers

Points = NDArray[np.float64]

DOT = 1.2
"""Ways no longer than so many pixels have no direction."""

RING = 8
"""A stroke of more points whose ends meet is a ring."""


def draw(strokes: Strokes, ink: NDArray[np.float32], ground: Ground) -> list[Chain]:
    """Each connected piece of the strokes as a pen would draw it.

    Args:
        strokes: Of the ground.
        ink: `(h, w)`, how much ink each pixel holds.
        ground: Of the ink.
    """
    if not len(strokes):
        return []
    points, starts = strokes.points, strokes.cuts
    across = np.hypot(*(points[starts[:-1]] - points[starts[1:] - 1]).T)
    meets = (np.diff(starts) > RING) & (across < 2)
    ways = pen_ways(stroke_graph(strokes, meets & (strokes.nodes < 0).all(axis=1)))
    closed = _closed(ways, strokes.nodes, meets)
    sizes = np.diff(starts)[ways.strokes]
    room = np.append(0, np.cumsum(sizes))[ways.cuts] + 2 * np.arange(len(ways.cuts))
    drawn = np.empty((room[-1], 2))
    lengths = _draw_all(
        points,
        starts,
        ways.strokes,
        ways.turned,
        ways.cuts,
        closed,
        ink,
        ground.at,
        ground.far,
        ground.widest,
        ground.scale,
        ground.reach,
        ground.reach + BEYOND,
        room,
        drawn,
    )
    parts = [drawn[a : a + n] for (a, _), n in zip(pairwise(room.tolist()), lengths.tolist(), strict=True)]
    return [Chain(part, (), 2 * ground.reach, ring) for part, ring in zip(parts, closed.tolist(), strict=True)]


def _closed(ways: Ways, nodes: NDArray[np.int64], meets: Mask) -> Mask:
    """`(w,)`, the ways that end where they begin."""
    one, other = ways.cuts[:-1], ways.cuts[1:] - 1
    first = nodes[ways.strokes[one], ways.turned[one].astype(np.int64)]
    last = nodes[ways.strokes[other], 1 - ways.turned[other].astype(np.int64)]
    return np.asarray(((one == other) & meets[ways.strokes[one]]) | ((first == last) & (first >= 0)))


@compiled
def _draw_all(
    points: Points,
    starts: NDArray[np.int64],
    strokes: NDArray[np.int64],
    turned: Mask,
    cuts: NDArray[np.int64],
    closed: Mask,
    ink: NDArray[np.float32],
    at: Numbers,
    far: NDArray[np.float32],
    widest: Numbers,
    scale: int,
    reach: float,
    reached: float,
    room: NDArray[np.int64],
    drawn: Points,
) -> NDArray[np.int64]:
    """Write the points of each way from where there is room for it; how many `(w,)`. Dots are not closed."""
    lengths = np.empty(len(cuts) - 1, dtype=np.int64)
    short = hook_length(scale)
    for w in range(len(cuts) - 1):
        way = np.empty((room[w + 1] - room[w] - 2, 2))
        n = 0
        for k in range(cuts[w], cuts[w + 1]):
            first, size = starts[strokes[k]], starts[strokes[k] + 1] - starts[strokes[k]]
            for i in range(size):
                way[n] = points[first + size - 1 - i] if turned[k] else points[first + i]
                n += 1
        wide = max(way[:, 0].max() - way[:, 0].min(), way[:, 1].max() - way[:, 1].min())
        if wide <= DOT:
            way[0, 0], way[0, 1] = way[:, 0].sum() / n, way[:, 1].sum() / n
            way, closed[w] = way[:1].copy(), False
        if not closed[w]:
            for _ in range(2):
                if is_hook(way, scale, widest, reach, reached):
                    way = way[short:]
                way = way[::-1].copy()
        placed = centred(way, ink, at, far, scale, reach, closed[w])
        lengths[w] = len(placed)
        drawn[room[w] : room[w] + len(placed)] = placed
    return lengths
