"""Curves as functions of x: stretches on which x only rises or only falls, spurs left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Leg = tuple[Points, Points]

SPUR = 0.05
"""What turns back in x by no more than this share of the line's width is a spur, and no run of its own."""


ROUNDING = 1e-9
"""Of a line's width: closer x are the same."""


@dataclass(frozen=True, eq=False)
class Run:
    """A stretch of a curve with one point for each x.

    Attributes:
        curve: Which curve it is of.
        along: `(n,)`, x, rising or falling.
        points: `(n, k)`, what is known there.
        others: Stretches of x, both ends included, that are read on a longer run.
    """

    curve: int
    along: Points
    points: Points
    others: list[tuple[float, float]] = field(default_factory=list)

    @property
    def low(self) -> float:
        """Smallest x."""
        return float(min(self.along[0], self.along[-1]))

    @property
    def high(self) -> float:
        """Largest x."""
        return float(max(self.along[0], self.along[-1]))

    @property
    def width(self) -> float:
        """How much of x it has."""
        return self.high - self.low

    def at(self, x: Points) -> Points:
        """`(m, k)`, straight between its points, at x `(m,)` from `low` to `high`."""
        rising = self.along[0] <= self.along[-1]
        along, points = (self.along, self.points) if rising else (self.along[::-1], self.points[::-1])
        return np.stack([np.interp(x, along, column) for column in points.T], axis=1)

    def is_read(self, x: Points) -> NDArray[np.bool_]:
        """`(m,)`, where this run has x and no longer one is read in its place."""
        chosen = (x >= self.low) & (x <= self.high)
        for low, high in self.others:
            chosen &= (x < low) | (x > high)
        return chosen


def runs_of(curves: Sequence[Leg]) -> list[Run]:
    """The runs of a line, curve by curve, each in the order of its curve.

    Where two runs share no more of x than a spur is wide, the longer one is read there (of equal ones the first).
    Where they share more, the line turns back, and both are read.

    Args:
        curves: Of each part x `(n,)`, n ≥ 1, and what is known there `(n, k)`.
    """
    width = max(float(x.max()) for x, _ in curves) - min(float(x.min()) for x, _ in curves)
    runs = [Run(k, *leg) for k, curve in enumerate(curves) for leg in _without_spurs(*curve, SPUR * width)]
    ranked = by_width(runs)
    for rank, run in enumerate(ranked):
        for longer in ranked[:rank]:
            shared = min(run.high, longer.high) - max(run.low, longer.low)
            if 0 <= shared <= SPUR * width:
                run.others.append((longer.low - ROUNDING * width, longer.high + ROUNDING * width))
    return runs


def by_width(runs: Sequence[Run]) -> list[Run]:
    """The longest in x first; of equal ones the first."""
    return sorted(runs, key=lambda run: -run.width)


def _without_spurs(x: Points, points: Points, spur: float) -> list[Leg]:
    """A curve as runs: the smallest turn there and back goes first, until none is as small as a spur."""
    legs = _legs(x, points)
    before: list[Leg] = []
    after: list[Leg] = []
    while len(legs) > 1:
        widths = [abs(float(leg[0][-1] - leg[0][0])) for leg in legs]
        k = int(np.argmin(widths))
        if widths[k] > spur:
            break
        if k == 0:
            before.append(legs.pop(0))
        elif k == len(legs) - 1:
            after.append(legs.pop())
        else:
            legs[k - 1 : k + 2] = [_straightened(*legs[k - 1 : k + 2])]
    return [*before, *legs, *reversed(after)]


def _legs(x: Points, points: Points) -> list[Leg]:
    """From turn to turn; a turn is the end of one and the beginning of the next."""
    signs = np.sign(np.diff(x))
    moving = np.flatnonzero(signs)
    turns = moving[:-1][signs[moving][1:] != signs[moving][:-1]] + 1
    cuts = [0, *turns.tolist(), len(x) - 1]
    return [(x[a : b + 1], points[a : b + 1]) for a, b in pairwise(cuts)]


def _straightened(there: Leg, back: Leg, again: Leg) -> Leg:
    """One run of three, of which the middle one is the smallest: it and the one that runs closer to it are a spur."""
    middle = np.array([(back[0][0] + back[0][-1]) / 2])
    one, two, three = (Run(0, *leg).at(middle)[0] for leg in (there, back, again))
    sign = 1 if there[0][0] <= there[0][-1] else -1
    if np.hypot.reduce(one - two) < np.hypot.reduce(two - three):
        kept = sign * there[0] < sign * again[0][0]
        there = there[0][kept], there[1][kept]
    else:
        kept = sign * again[0] > sign * there[0][-1]
        again = again[0][kept], again[1][kept]
    return np.concatenate([there[0], again[0]]), np.concatenate([there[1], again[1]])
