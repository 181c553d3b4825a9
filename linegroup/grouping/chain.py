"""Strokes in a row, and how rows are put together."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

LONG = 60.0
"""Pixels; no dash is longer than this."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Strokes in a row.

    Attributes:
        points: `(n, 2)`, from end to end, pixels.
        gaps: Lengths of the gaps in it, in pixels, from its first point on.
        thickness: Mean over its length.
        closed: Whether its ends are linked to each other.
        dashes: Lengths of its pieces from gap to gap, in pixels; by default it is one piece.
        joins: Numbers of the points that begin another stroke, ascending.
        widths: Thickness of each stroke; by default it is one stroke.
    """

    points: Points
    gaps: tuple[float, ...]
    thickness: float
    closed: bool = False
    dashes: tuple[float, ...] = ()
    joins: tuple[int, ...] = ()
    widths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.widths:
            object.__setattr__(self, "widths", (self.thickness,))
        if not self.dashes:
            object.__setattr__(self, "dashes", (float(len(self.points)),))

    @cached_property
    def usual_gap(self) -> float:
        """NaN where there are too few to tell."""
        return median(self.gaps) if len(self.gaps) >= 2 else np.nan

    @cached_property
    def usual_dash(self) -> float:
        """Half of its ink is in pieces at least as long; NaN for a short one without gaps, which may be anything."""
        if len(self.gaps) < 2 and max(self.dashes) < LONG:
            return np.nan
        longest = sorted(self.dashes, reverse=True)
        return longest[int(np.searchsorted(np.cumsum(longest), sum(longest) / 2))]

    def cut(self, at: int) -> tuple[Chain, Chain]:
        """Two chains, one of the points before number `at`, where a stroke begins, and one of the others.

        A gap that is there is of neither.
        """
        begins = np.cumsum([0, *self.dashes])[:-1]
        strokes = np.array([0, *self.joins, len(self.points)])
        number = self.joins.index(at) + 1
        parts = []
        for first, last, part in ((0, at, slice(number)), (at, len(self.points), slice(number, None))):
            own = begins[(begins > first) & (begins < last)]
            gaps = tuple(self.gaps[k - 1] for k in np.searchsorted(begins, own))
            dashes = tuple(np.diff([first, *own, last]).tolist())
            joins = tuple(k - first for k in self.joins if first < k < last)
            thickness = float(np.average(self.widths[part], weights=np.diff(strokes)[part]))
            points = self.points[first:last]
            parts.append(Chain(points, gaps, thickness, dashes=dashes, joins=joins, widths=self.widths[part]))
        return parts[0], parts[1]


def join_chains(
    chains: Sequence[Chain],
    links: Iterable[tuple[int, int]],
    without: Iterable[int] = (),
    meeting: Container[frozenset[int]] = (),
) -> list[Chain]:
    """Chains of chains, in the order of their first ones; some are left out, unlinked as they are.

    Links in `meeting` have no gap.
    """
    mate: dict[int, int] = {}
    for a, b in links:
        mate[a], mate[b] = b, a
    seen = [False] * len(chains)
    for k in without:
        seen[k] = True
    joined = []
    for start, chain in enumerate(chains):
        if seen[start]:
            continue
        seen[start] = True
        if 2 * start not in mate and 2 * start + 1 not in mate:
            joined.append(chain)
            continue
        forward, backward = walk(2 * start + 1, mate, seen), walk(2 * start, mate, seen)
        row = [end ^ 1 for end in reversed(backward)] + [2 * start, *forward]
        ring = mate.get(row[0]) == row[-1] ^ 1
        met = [frozenset((a ^ 1, b)) in meeting for a, b in pairwise(row)]
        joined.append(_concatenate([(chains[end // 2], bool(end % 2)) for end in row], met, closed=ring))
    return joined


def walk(leaving: int, mate: dict[int, int], seen: list[bool]) -> list[int]:
    """The ends at which one chain after the other is entered, leaving the first at `leaving`.

    Args:
        leaving: An end: 2k is the first one of number k, 2k + 1 its last.
        mate: The end that each linked one is linked to.
        seen: By number; those that are entered are marked.
    """
    entered = []
    while leaving in mate and not seen[mate[leaving] // 2]:
        entered.append(mate[leaving])
        seen[entered[-1] // 2] = True
        leaving = entered[-1] ^ 1
    return entered


def _concatenate(row: list[tuple[Chain, bool]], meets: Sequence[bool], *, closed: bool) -> Chain:
    """One chain from several, those marked turned round; `meets`: which meet the next one without a gap."""
    if len(row) == 1:
        chain = row[0][0]
        return replace(chain, closed=chain.closed or closed)
    points = [chain.points[::-1] if turned else chain.points for chain, turned in row]
    between = np.hypot(*np.array([b[0] - a[-1] for a, b in pairwise(points)]).T).tolist()
    lengths = np.array([len(p) for p in points])
    thickness = float((np.array([chain.thickness for chain, _ in row]) * lengths).sum() / lengths.sum())
    gaps: list[float] = []
    dashes = [0.0]
    for k, (chain, turned) in enumerate(row):
        own = chain.dashes[::-1] if turned else chain.dashes
        if k == 0 or meets[k - 1]:
            dashes[-1] += own[0]
        else:
            gaps.append(between[k - 1])
            dashes.append(own[0])
        gaps.extend(chain.gaps[::-1] if turned else chain.gaps)
        dashes.extend(own[1:])
    begins = np.cumsum([0, *lengths])
    joins = [int(begin) for begin in begins[1:-1]]
    for (chain, turned), begin, length in zip(row, begins, lengths, strict=False):
        joins.extend(int(begin + (length - at if turned else at)) for at in chain.joins)
    widths = tuple(width for chain, turned in row for width in (chain.widths[::-1] if turned else chain.widths))
    # Two marks linked at both ends are no ring.
    ring = closed and len(row) > 2
    return Chain(np.concatenate(points), tuple(gaps), thickness, ring, tuple(dashes), tuple(sorted(joins)), widths)
