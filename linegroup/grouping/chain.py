"""Strokes in a row, and how rows are put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled

Points = NDArray[np.float64]
Numbers = NDArray[np.int64]

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


@dataclass(frozen=True, eq=False)
class Chains:
    """Many chains in a few long arrays, as compiled loops want them; what each means is said at `Chain`.

    Ends are numbered: 2k is the first point of chain k, 2k + 1 its last.

    Attributes:
        points: `(n, 2) float64`, those of chain k in the rows `cuts[k]` to `cuts[k + 1]`.
        cuts: `(c + 1,) int64`.
        gaps: `(g,) float64`, those of chain k from `gap_cuts[k]` to `gap_cuts[k + 1]`.
        gap_cuts: `(c + 1,) int64`.
        dashes: `(g + c,) float64`, one more for each chain than it has gaps.
        joins: `(j,) int64`, those of chain k from `join_cuts[k]` to `join_cuts[k + 1]`; counted from its first point.
        join_cuts: `(c + 1,) int64`.
        widths: `(j + c,) float64`, one more for each chain than it has joins.
        thickness: `(c,) float64`.
        closed: `(c,) bool`.
    """

    points: Points
    cuts: Numbers
    gaps: Points
    gap_cuts: Numbers
    dashes: Points
    joins: Numbers
    join_cuts: Numbers
    widths: Points
    thickness: Points
    closed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.thickness)

    @classmethod
    def of_strokes(cls, strokes: Sequence[Points], thickness: Points, closed: NDArray[np.bool_]) -> Chains:
        """One chain for each stroke `(n, 2)`."""
        cuts = _cuts([len(points) for points in strokes])
        none = np.zeros(len(cuts), dtype=np.int64)
        points = np.concatenate(strokes) if strokes else np.zeros((0, 2))
        dashes = np.diff(cuts).astype(np.float64)
        nothing = np.zeros(0, dtype=np.int64)
        return cls(points, cuts, np.zeros(0), none, dashes, nothing, none, thickness, thickness, closed)

    @classmethod
    def of(cls, chains: Sequence[Chain]) -> Chains:
        """The same chains."""
        return cls(
            np.concatenate([chain.points for chain in chains]) if chains else np.zeros((0, 2)),
            _cuts([len(chain.points) for chain in chains]),
            _row([chain.gaps for chain in chains], np.float64),
            _cuts([len(chain.gaps) for chain in chains]),
            _row([chain.dashes for chain in chains], np.float64),
            _row([chain.joins for chain in chains], np.int64),
            _cuts([len(chain.joins) for chain in chains]),
            _row([chain.widths for chain in chains], np.float64),
            np.array([chain.thickness for chain in chains], dtype=np.float64),
            np.array([chain.closed for chain in chains], dtype=np.bool_),
        )

    def single(self) -> list[Chain]:
        """The same chains, one by one."""
        gaps, dashes, joins, widths = (v.tolist() for v in (self.gaps, self.dashes, self.joins, self.widths))
        found = []
        ranges = zip(*(pairwise(v.tolist()) for v in (self.cuts, self.gap_cuts, self.join_cuts)), strict=True)
        thickness, closed = self.thickness.tolist(), self.closed.tolist()
        for k, ((a, b), (first, last), (begin, end)) in enumerate(ranges):
            found.append(
                Chain(
                    self.points[a:b],
                    tuple(gaps[first:last]),
                    thickness[k],
                    closed[k],
                    tuple(dashes[first + k : last + k + 1]),
                    tuple(joins[begin:end]),
                    tuple(widths[begin + k : end + k + 1]),
                )
            )
        return found

    @cached_property
    def places(self) -> Points:
        """`(2c, 2)`, of the ends."""
        return np.asarray(self.points[np.stack([self.cuts[:-1], self.cuts[1:] - 1], axis=1).ravel()])

    def usual(self) -> tuple[Points, Points]:
        """The usual gap of each chain and its usual dash, `(c,)` each.

        The usual gap is the median, NaN where there are too few to tell. Half of a chain's ink is in pieces at least as
        long as its usual dash; NaN for a short one without gaps, which may be anything.
        """
        return _usual(self.gaps, self.gap_cuts, self.dashes)

    def joined(self, links: Numbers, without: Iterable[int] = (), met: NDArray[np.bool_] | None = None) -> Chains:
        """Chains of chains, in the order of their first ones; some are left out, unlinked as they are.

        Args:
            links: `(L, 2)`, ends that are linked; each is in one at most.
            without: Numbers of chains.
            met: `(L,)`, links that have no gap.
        """
        mate = np.full(2 * len(self), -1, dtype=np.int64)
        mate[links] = links[:, ::-1]
        gapless = np.zeros(2 * len(self), dtype=np.bool_)
        if met is not None:
            gapless[links[met]] = True
        seen = np.zeros(len(self), dtype=np.bool_)
        seen[list(without)] = True
        entered, row_cuts, rings = in_rows(mate, seen)
        arrays = _concatenate(
            entered,
            row_cuts,
            gapless,
            *(self.points, self.cuts, self.gaps, self.gap_cuts, self.dashes),
            *(self.joins, self.join_cuts, self.widths, self.thickness),
        )
        # Two marks linked at both ends are no ring.
        alone = np.diff(row_cuts) == 1
        closed = np.where(alone, self.closed[entered[row_cuts[:-1]] // 2] | rings, rings & (np.diff(row_cuts) > 2))
        return Chains(*arrays, closed)


def join_chains(
    chains: Sequence[Chain], links: Sequence[tuple[int, int]], meeting: Iterable[tuple[int, int]] = ()
) -> list[Chain]:
    """As `Chains.joined`; those of the links that are also in `meeting` have no gap."""
    without_gap = set(meeting)
    met = np.array([link in without_gap for link in links], dtype=np.bool_)
    return Chains.of(chains).joined(np.array(links, dtype=np.int64).reshape(-1, 2), met=met).single()


def _cuts(counts: Sequence[int]) -> Numbers:
    """Where each of some ranges of such lengths begins, and the end."""
    cuts = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=cuts[1:])
    return cuts


def _row(parts: Sequence[Sequence[Any]], kind: type[Any]) -> NDArray[Any]:
    return np.array([value for part in parts for value in part], dtype=kind)


@compiled
def _usual(gaps: Points, cuts: Numbers, dashes: Points) -> tuple[Points, Points]:
    usual_gap, usual_dash = np.full(len(cuts) - 1, np.nan), np.full(len(cuts) - 1, np.nan)
    for k in range(len(cuts) - 1):
        own = gaps[cuts[k] : cuts[k + 1]]
        pieces = np.sort(dashes[cuts[k] + k : cuts[k + 1] + k + 1])
        if len(own) >= 2:
            usual_gap[k] = np.median(own)
        if len(own) >= 2 or pieces[-1] >= LONG:
            total, reached, at = 0.0, 0.0, len(pieces)
            for piece in pieces[::-1]:
                total += piece
            while reached < total / 2:
                at -= 1
                reached += pieces[at]
            usual_dash[k] = pieces[at]
    return usual_gap, usual_dash


@compiled
def in_rows(mate: Numbers, seen: NDArray[np.bool_]) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """The ends at which chains are entered, row by row, where each row begins, and which rows are rings.

    Args:
        mate: `(2c,)`, the end that each is linked to, -1 = none.
        seen: `(c,)`, chains that are left out.
    """
    count = len(seen)
    seen = seen.copy()
    entered, cuts, rings = np.empty(count, np.int64), np.zeros(count + 1, np.int64), np.zeros(count, np.bool_)
    after, before = np.empty(count, np.int64), np.empty(count, np.int64)
    rows, at = 0, 0
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        following = _walk(2 * start + 1, mate, seen, after)
        leading = _walk(2 * start, mate, seen, before)
        for k in range(leading):
            entered[at] = before[leading - 1 - k] ^ 1
            at += 1
        entered[at] = 2 * start
        at += 1
        for k in range(following):
            entered[at] = after[k]
            at += 1
        rings[rows] = mate[entered[cuts[rows]]] == entered[at - 1] ^ 1
        rows += 1
        cuts[rows] = at
    return entered[:at], cuts[: rows + 1], rings[:rows]


@compiled
def _walk(leaving: int, mate: Numbers, seen: NDArray[np.bool_], entered: Numbers) -> int:
    """How many chains follow one that is left at an end; they are marked, and `entered` says where each begins."""
    count = 0
    while mate[leaving] >= 0 and not seen[mate[leaving] // 2]:
        entered[count] = mate[leaving]
        seen[mate[leaving] // 2] = True
        leaving = mate[leaving] ^ 1
        count += 1
    return count


@compiled
def _concatenate(
    entered: Numbers,
    rows: Numbers,
    gapless: NDArray[np.bool_],
    points: Points,
    cuts: Numbers,
    gaps: Points,
    gap_cuts: Numbers,
    dashes: Points,
    joins: Numbers,
    join_cuts: Numbers,
    widths: Points,
    thickness: Points,
) -> tuple[Points, Numbers, Points, Numbers, Points, Numbers, Numbers, Points, Points]:
    """The first attributes of `Chains`, one for each row of chains that are entered at such ends."""
    number = len(rows) - 1
    total, most_gaps, most_joins = 0, len(entered), len(entered)
    for end in entered:
        k = end // 2
        total += cuts[k + 1] - cuts[k]
        most_gaps += gap_cuts[k + 1] - gap_cuts[k]
        most_joins += join_cuts[k + 1] - join_cuts[k]
    new_points, new_cuts = np.empty((total, 2)), np.zeros(number + 1, np.int64)
    new_gaps, new_gap_cuts = np.empty(most_gaps), np.zeros(number + 1, np.int64)
    new_dashes = np.empty(most_gaps + number)
    new_joins, new_join_cuts = np.empty(most_joins, np.int64), np.zeros(number + 1, np.int64)
    new_widths, new_thickness = np.empty(most_joins + number), np.empty(number)
    at, gap, dash, join, wide = 0, 0, 0, 0, 0
    for row in range(number):
        begin = at
        mass = 0.0
        for place in range(rows[row], rows[row + 1]):
            end = entered[place]
            k, turned = end // 2, end % 2 == 1
            first, last = cuts[k], cuts[k + 1]
            own_gaps, own_joins = gap_cuts[k + 1] - gap_cuts[k], join_cuts[k + 1] - join_cuts[k]
            meets = False
            if at > begin:
                new_joins[join] = at - begin
                join += 1
                meets = gapless[end]
                if not meets:
                    outer = last - 1 if turned else first
                    x, y = points[outer, 0] - new_points[at - 1, 0], points[outer, 1] - new_points[at - 1, 1]
                    new_gaps[gap] = np.hypot(x, y)
                    gap += 1
            for i in range(own_joins):
                new_joins[join] = (
                    at - begin + (last - first - joins[join_cuts[k + 1] - 1 - i] if turned else joins[join_cuts[k] + i])
                )
                join += 1
            for i in range(own_gaps):
                new_gaps[gap] = gaps[gap_cuts[k + 1] - 1 - i] if turned else gaps[gap_cuts[k] + i]
                gap += 1
            for i in range(own_gaps + 1):
                value = dashes[gap_cuts[k + 1] + k - i] if turned else dashes[gap_cuts[k] + k + i]
                if i == 0 and meets:
                    new_dashes[dash - 1] += value
                else:
                    new_dashes[dash] = value
                    dash += 1
            for i in range(own_joins + 1):
                new_widths[wide] = widths[join_cuts[k + 1] + k - i] if turned else widths[join_cuts[k] + k + i]
                wide += 1
            if turned:
                new_points[at : at + last - first] = points[first:last][::-1]
            else:
                new_points[at : at + last - first] = points[first:last]
            at += last - first
            mass += thickness[k] * (last - first)
        alone = rows[row + 1] == rows[row] + 1
        new_thickness[row] = thickness[entered[rows[row]] // 2] if alone else mass / (at - begin)
        new_cuts[row + 1], new_gap_cuts[row + 1], new_join_cuts[row + 1] = at, gap, join
    return (
        new_points,
        new_cuts,
        new_gaps[:gap],
        new_gap_cuts,
        new_dashes[:dash],
        new_joins[:join],
        new_join_cuts,
        new_widths[:wide],
        new_thickness,
    )
