"""Strokes without those whose ink others have inked: where two flanks part, the pen did not go across."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.strokes import Strokes
from linegroup.unions import unite
from linegroup.vectors.bands import BAND, between_flanks
from linegroup.vectors.branches import find_hairs
from linegroup.vectors.ground import Ground
from linegroup.vectors.places import Mask, Numbers
from linegroup.vectors.thinning import UNREACHED

ROUNDS = 3
"""So often it is looked for them: without one another may be a blind end."""


def without_needless(strokes: Strokes, ground: Ground) -> Strokes:
    """Without hairs, strokes at the edge of bands and blind ends in them that nothing hangs on.

    Neither ink nor the rest of the strokes hangs on them. Rings further inside of dense bands stay: that a line goes
    there is not seen in ink of its own.
    """
    for _ in range(ROUNDS):
        if not strokes.junctions or not len(strokes):
            break
        needed = _needed(strokes, ground)
        between = (strokes.nodes >= 0).all(axis=1)
        strokes = _select(strokes, needed)
        if needed[between].all():
            break
    return strokes


def _needed(strokes: Strokes, ground: Ground) -> Mask:
    """`(s,)`, all strokes but those whose ink others have inked."""
    starts = strokes.cuts
    places = np.rint(ground.scale * strokes.points).astype(np.int64)
    depth = ground.far[ground.at[places[:, 1], places[:, 0]] - 1] - ground.reach
    deepest = np.maximum.reduceat(depth, starts[:-1])
    # Junctions that one stroke is left at are free ends.
    met = np.append(np.bincount(strokes.nodes[strokes.nodes >= 0], minlength=strokes.junctions) > 1, False)
    ends = met[strokes.nodes].sum(axis=1)
    bars = (ends == 2) & (strokes.nodes[:, 0] != strokes.nodes[:, 1]) & (deepest <= BAND)
    blind = (ends == 1) & (deepest > BAND) & (deepest <= between_flanks(ground))
    asked = np.concatenate([np.flatnonzero(kind) for kind in (find_hairs(strokes), blind, bars)])
    needed = np.ones(len(strokes), dtype=np.bool_)
    if len(asked):
        _find_needed(places, starts, asked, ground.at, ground.scale, ground.reach + UNREACHED, needed)
        _hold_together(strokes.nodes, met, needed)
    return needed


def _select(strokes: Strokes, chosen: Mask) -> Strokes:
    """The strokes where `chosen (s,)`."""
    lengths = np.diff(strokes.cuts)
    points = strokes.points[np.repeat(chosen, lengths)]
    cuts = np.append(0, np.cumsum(lengths[chosen]))
    return replace(strokes, points=points, cuts=cuts, nodes=strokes.nodes[chosen], thickness=strokes.thickness[chosen])


@compiled
def _find_needed(
    places: NDArray[np.int64],
    starts: NDArray[np.int64],
    asked: NDArray[np.int64],
    at: Numbers,
    scale: int,
    reach: float,
    needed: Mask,
) -> None:
    """Clear those of the strokes asked for that have no pixel which they alone reach; one after another."""
    inked = np.zeros((at.shape[0] // scale, at.shape[1] // scale), dtype=np.int32)
    seen = np.zeros(inked.shape, dtype=np.int32)
    # Only what is near them counts: cells beside cells that they go through.
    cell = int(2 * reach * scale) + 1
    near = np.zeros((at.shape[0] // cell + 3, at.shape[1] // cell + 3), dtype=np.bool_)
    for k in asked:
        for i in range(starts[k], starts[k + 1]):
            x, y = places[i, 0] // cell, places[i, 1] // cell
            near[y : y + 3, x : x + 3] = True
    turn = 0
    for k in range(len(starts) - 1):
        turn += 1
        for i in range(starts[k], starts[k + 1]):
            if near[places[i, 1] // cell + 1, places[i, 0] // cell + 1]:
                _reach_pixels(places[i : i + 1], at, scale, reach, turn, seen, inked, 1)
    for k in asked:
        turn += 1
        alone = _reach_pixels(places[starts[k] : starts[k + 1]], at, scale, reach, turn, seen, inked, 0)
        if not alone:
            turn += 1
            _reach_pixels(places[starts[k] : starts[k + 1]], at, scale, reach, turn, seen, inked, -1)
            needed[k] = False


@compiled
def _reach_pixels(
    places: NDArray[np.int64],
    at: Numbers,
    scale: int,
    reach: float,
    turn: int,
    seen: Numbers,
    inked: Numbers,
    added: int,
) -> bool:
    """Add to how many strokes ink each pixel that one of the places reaches; whether it was 1 somewhere.

    Pixels that have been `seen` in this turn are not visited again.
    """
    alone = False
    for i in range(len(places)):
        x, y = places[i, 0] / scale, places[i, 1] / scale
        for v in range(max(0, int(np.ceil(y - reach))), min(inked.shape[0], int(y + reach) + 1)):
            for u in range(max(0, int(np.ceil(x - reach))), min(inked.shape[1], int(x + reach) + 1)):
                near = (u - x) * (u - x) + (v - y) * (v - y) <= reach * reach
                if near and seen[v, u] != turn and at[scale * v, scale * u] > 0:
                    seen[v, u] = turn
                    alone |= inked[v, u] == 1
                    inked[v, u] += added
    return alone


@compiled
def _hold_together(nodes: NDArray[np.int64], met: Mask, needed: Mask) -> None:
    """Set strokes as needed that alone connect others, at junctions `(j,)` where several have met."""
    parent = np.arange(len(met))
    for needed_ones in (True, False):
        for k in range(len(nodes)):
            between = met[nodes[k, 0]] and met[nodes[k, 1]]
            if between and needed[k] == needed_ones and unite(parent, nodes[k, 0], nodes[k, 1]):
                needed[k] = True
