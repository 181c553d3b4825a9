"""Strokes that go on in each other, through crossings and over gaps, as chains.

Strokes are linked at their ends, each end to one other at most, so that the links cost least in total: a
matching. What a link costs is what is known at the ends: how much the line would turn, how far each end lies
from the straight way on of the other, whether they are equally thick, how wide the gap is and whether the gaps
already seen were like it, and whether both chains are interrupted as often; with a model also how far apart their
embeddings are, and in which direction a mark too short to have one goes on. Linked strokes are longer, so their
directions are better known: this is done again with wider and wider gaps. A chain that turns out to be of two styles
is cut where they meet, and all is linked once more.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.compiling import compiled
from linegroup.grouping.chain import Chain, Chains, Points
from linegroup.grouping.marks import Marks
from linegroup.grouping.matching import connected, match_ends
from linegroup.grouping.strokes import Strokes
from linegroup.grouping.style import cut_at_changes, mend, nats_apart

Mask = NDArray[np.bool_]

SHORT = 3.0
"""Strokes between two junctions shorter than this many times the line's thickness are part of one crossing."""

STEM, UPRIGHT = 3.0, 0.3
"""How many times as long as `SHORT` strokes a peak's stem may be; the greatest horizontal part of what is upright."""

FORCED = 3.4
"""A link across a junction costs no more: lines seldom end in each other, however sharply they turn."""

AT_JUNCTION, FREE = 1.8, 1.0
"""What an end costs that is linked to none."""

BEHIND = 1.5
"""What a link costs more if one end lies behind the other."""

RHYTHM, STEADY = 1.5, 0.3
"""What a link costs less whose gap is as usual in both chains, and by how much the gap's logarithm may differ."""

RING = 8
"""A stroke of more points whose ends meet is a ring."""

FEW_PLACES = 1_000
"""Up to so many all pairs of ends are gone through, column by column, which is faster than a tree."""

BACK, BACK_SLACK, BACK_FULL = 2.5, 4.0, 20.0
"""What a link costs more that turns back over columns it has had, in full from so many columns on beyond the slack."""

BEND, WEDGE = 0.7, 12
"""Cosine of a turn that is no turning back, or is one; over how many pixels of a stroke that is seen."""

STYLE = 0.5
"""How much it costs to go from dashes into others twice as long and more, or into none."""

UNLIKE, UNLIKE_SLACK, UNLIKE_MOST = 0.2, 2.0, 20.0
"""What a nat costs by which two chains are not of one style, beyond the slack, and up to so many nats."""

MARKED, FOR, AGAINST = 1.0, 1.0, 6.0
"""What a nat costs by which the marks of two chains are of two lines; so many are counted at most, for and against."""

MOST_PAIRS, NEAREST = 400_000, 16
"""Of more pairs of ends than that only those are looked at in which one is among the nearest of the other."""

MOST_CHAINS = 1_000
"""Of more chains none is asked for its style: an ink with as many is no line."""

MOST_AT_JUNCTION = 100
"""The same for the ends at one crossing: a grid is one, a line's is not."""

_SURE = 0.3
"""Length of a tangent vector from which it is believed."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What is known of the ink at its pixels beside its strokes: what a model says, and marks.

    Attributes:
        where: `(h, w) int32`, row of each pixel in what a model says, -1 = nothing known.
        features: `(N, D) float32`, embeddings.
        tangent: `(N, 2) float32`, as in `Field`.
        apart: Distance of embeddings from which on they are of two lines.
        unalike: What embeddings add to a link's cost at most.
        marks: Where lines of one ink have different ones.
    """

    where: NDArray[np.int32]
    features: NDArray[np.float32]
    tangent: NDArray[np.float32]
    apart: float
    unalike: float
    marks: Marks | None = None

    @property
    def told(self) -> bool:
        """Whether a model says something."""
        return len(self.tangent) > 0

    def mean(self, points: Points) -> Points:
        """Mean embedding `(D,)` along points `(n, 2)` that are pixels; NaN where unknown."""
        ends = np.array([0, len(points)])
        return np.asarray(_means(np.ascontiguousarray(points), ends[:1], ends[1:], self.where, self.features)[0])

    def cost(self, one: Points, other: Points) -> Points:
        """`(n,)`, what two lots of embeddings `(n, D)` add to the cost of being one line; 0 where unknown."""
        if not one.shape[1]:
            return np.zeros(len(one))
        away = np.nan_to_num(np.linalg.norm(one - other, axis=1)) / self.apart
        return np.asarray(self.unalike * np.clip(away - 0.25, 0, 1))


@dataclass(frozen=True)
class Level:
    """How far links reach, in pixels.

    Attributes:
        reach: Widest gap.
        window: Length at the ends from which directions are taken.
        turn: Usual change of direction across a gap, in radians.
        unlinked: What an end costs that is linked to none.
    """

    reach: float
    window: float
    turn: float
    unlinked: float


@dataclass(frozen=True, eq=False)
class _Ends:
    """What is known of the ends of chains, and of the chains.

    Attributes:
        places: `(E, 2)`.
        directions: `(E, 2)`, outwards, unit length; 0 where a chain is a point.
        thickness: `(E,)`.
        features: `(E, D)`, mean embedding; D = 0 where they cost nothing.
        marks: `(c, K)`, what `Marks.counts` says of each chain; K = 0 where there are none.
        gaps: `(c,)`, the usual gap of each chain; NaN where it has none.
        columns: `(c, 2)`, its first and last column.
        dashes: `(c,)`, the logarithm of its usual dash; NaN where it has none.
        lengths: `(c,)`, its pixels.
        interruptions: `(c,)`, the number of its gaps.
    """

    places: Points
    directions: Points
    thickness: Points
    features: Points
    marks: Points
    gaps: Points
    columns: Points
    dashes: Points
    lengths: Points
    interruptions: Points


def link_strokes(strokes: Strokes, width: float, looks: Looks | None = None, *, alone: bool = True) -> list[Chain]:
    """Chains of strokes, through junctions first, then over gaps of growing width, up to 6 % of the plot's width.

    Args:
        strokes: Of one ink.
        width: Of the plot, in pixels.
        looks: What a model says of the ink.
        alone: Whether the ink may well be several lines: then what turns back over its own columns is doubtful.
    """
    if not len(strokes):
        return []
    if alone:
        strokes = _cut_at_wedges(strokes)
    thick = float(np.median(strokes.thickness)) + 1  # with its soft edges
    back = BACK if alone else 0.0
    chains = _through_junctions(strokes, thick, looks, back)
    levels = (
        Level(8 + 3 * thick, 10 + 2 * thick, 0.5, FREE),
        Level(14 + 5 * thick, 20 + 3 * thick, 0.6, FREE),
        Level(20 + 8 * thick, 30 + 4 * thick, 0.7, FREE),
        Level(0.06 * width + 8 * thick, 40 + 4 * thick, 0.8, 0.8 * FREE),
    )
    linked = _over_all_gaps(chains, levels, looks, back).single()
    if len(linked) > MOST_CHAINS:
        return linked
    marks = looks.marks if looks is not None else None
    cuts = [cut_at_changes(chain, marks) for chain in linked]
    if any(len(parts) > 1 for parts in cuts):
        # Where two lines met, ends that were too short to tell have the style of long chains now.
        parts = Chains.of(list(itertools.chain.from_iterable(cuts)))
        anew = _over_all_gaps(parts, levels, looks, back).single()
        linked = mend(anew, list(zip(linked, cuts, strict=True)))
    return linked


def _over_all_gaps(chains: Chains, levels: Sequence[Level], looks: Looks | None, back: float) -> Chains:
    for level in levels:
        for _ in range(2):
            before = len(chains)
            if before == 0:
                return chains
            chains = _over_gaps(chains, level, looks, back)
            if len(chains) == before:
                break
    return chains


def _cut_at_wedges(strokes: Strokes) -> Strokes:
    """Strokes that turn back sharply at their first or last column are cut there: two lines begin in one point."""
    cuts, of = _wedges(strokes.points, strokes.cuts, strokes.nodes)
    if len(of) == len(strokes):
        return strokes
    nodes = strokes.nodes[of]
    nodes[np.flatnonzero(of[1:] == of[:-1]) + 1, 0] = -1
    nodes[np.flatnonzero(of[1:] == of[:-1]), 1] = -1
    return Strokes(strokes.points, cuts, nodes, strokes.thickness[of], strokes.junctions, strokes.marks)


@compiled
def _wedges(
    points: Points, cuts: NDArray[np.int64], nodes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where strokes begin that are cut at their first and at their last column, if they turn back sharply there.

    Returns:
        As `Strokes.cuts`; which stroke each part is of.
    """
    new, of = np.zeros(3 * len(nodes) + 1, dtype=np.int64), np.empty(3 * len(nodes), dtype=np.int64)
    count = 0
    for k in range(len(nodes)):
        first, last = cuts[k], cuts[k + 1]
        found = np.full(2, -1, dtype=np.int64)
        # A point for each column at least: others are too short for what is asked of both arms.
        if last - first >= 2 * BACK_FULL and (nodes[k, 0] != nodes[k, 1] or nodes[k, 0] < 0):
            for side in range(2):
                sign = 1.0 if side == 0 else -1.0
                outermost, times = np.inf, 0
                for i in range(first, last):
                    x = sign * points[i, 0]
                    if x < outermost:
                        outermost, times = x, 0
                    times += x == outermost
                # The middle one of those in that column.
                seen, at = 0, first
                for i in range(first, last):
                    if sign * points[i, 0] == outermost:
                        if seen == times // 2:
                            at = i
                        seen += 1
                if min(sign * points[first, 0], sign * points[last - 1, 0]) - outermost < BACK_FULL:
                    continue
                one, other = max(first, at - WEDGE), min(last - 1, at + WEDGE)
                ax, ay = points[one, 0] - points[at, 0], points[one, 1] - points[at, 1]
                bx, by = points[other, 0] - points[at, 0], points[other, 1] - points[at, 1]
                if ax * bx + ay * by > BEND * max(np.hypot(ax, ay), 1e-9) * max(np.hypot(bx, by), 1e-9):
                    found[side] = at
        of[count] = k
        for at in np.unique(found):
            if at > first:
                count += 1
                new[count], of[count] = at, k
        count += 1
        new[count] = last
    return new[: count + 1], of[:count]


def _through_junctions(strokes: Strokes, thick: float, looks: Looks | None, back: float) -> Chains:
    """Link strokes that meet. Very short ones between junctions belong to the crossing, free ones are hairs.

    A longer stroke between two junctions may carry two lines, which run in each other there: it is offered
    twice, and the second one is taken only if lines go on in it at both its ends.
    """
    short = max(SHORT * thick, 8.0)
    lengths = np.diff(strokes.cuts)
    first, last = strokes.nodes.T
    crossings = strokes.junctions - strokes.marks
    marked = strokes.nodes.max(axis=1) >= crossings
    bridge = (first >= 0) & (last >= 0) & (lengths <= short) & ~marked
    hair = ((first >= 0) != (last >= 0)) & (lengths <= 0.75 * short) & ~marked
    crossing = np.append(connected(strokes.nodes[bridge], strokes.junctions), -1)
    hair |= _spikes(strokes, np.flatnonzero(~bridge & ~hair), crossing, STEM * short)
    kept = np.flatnonzero(~bridge & ~hair)
    degree = np.bincount(crossing[strokes.nodes[kept]].ravel() + 1, minlength=2)[1:]
    between = (first[kept] >= 0) & (last[kept] >= 0)
    ends_at = crossing[strokes.nodes[kept]]
    double = between & (degree[ends_at] >= 3).all(axis=1) & (ends_at[:, 0] != ends_at[:, 1])
    number = np.concatenate([kept, kept[double]])
    across = np.hypot(*(strokes.points[strokes.cuts[:-1]] - strokes.points[strokes.cuts[1:] - 1]).T)
    rings = (strokes.nodes.max(axis=1) < 0) & (lengths > RING) & (across < 2)
    chains = Chains.of_strokes([strokes.each[k] for k in number.tolist()], strokes.thickness[number], rings[number])
    if not len(kept):
        return chains
    level = Level(max(14.0, 6 * thick), 6 + 4 * thick, 0.6, FREE)
    ends = _ends(chains, level.window, looks)
    node = crossing[strokes.nodes[number]].ravel()
    near = _near_pairs(ends.places, level.reach)
    near = near[(node[near[:, 0]] != node[near[:, 1]]) | (node[near[:, 0]] < 0)]
    twin = near >= 2 * len(kept)
    near = near[(number[near[:, 0] // 2] != number[near[:, 1] // 2]) & ~twin.any(axis=1)]
    meeting = _meeting(node, ends.places)
    own = number[meeting[:, 0] // 2] == number[meeting[:, 1] // 2]
    ring = (lengths[number][meeting[:, 0] // 2] >= 2 * short) & (meeting[:, 0] // 2 == meeting[:, 1] // 2)
    meeting = meeting[~own | ring]
    twin = (meeting >= 2 * len(kept)).any(axis=1)
    cost, turning = _costs(ends, meeting, level, looks)
    cost = np.where(twin, cost, np.minimum(cost, FORCED)) + back * turning + _marked(ends, meeting, looks)
    gap_cost, gap_turning = _costs(ends, near, level, looks)
    gap_cost += _marked(ends, near, looks)
    unlinked = np.where(node >= 0, AT_JUNCTION, FREE)
    unlinked[2 * len(kept) :] = 0
    pairs = np.concatenate([near, meeting])
    links = match_ends(pairs, np.concatenate([gap_cost + back * gap_turning, cost]), unlinked)
    taken = np.bincount(links.ravel() // 2, minlength=len(chains))
    spare = (np.arange(len(chains)) >= len(kept)) & (taken < 2)
    links = links[~spare[links // 2].any(axis=1)]
    met = (node[links[:, 0]] >= 0) & (node[links[:, 0]] == node[links[:, 1]])
    return chains.joined(links, np.flatnonzero(spare), met)


def _spikes(strokes: Strokes, kept: NDArray[np.int64], crossing: NDArray[np.int64], longest: float) -> Mask:
    """`(n,)`, strokes in which a thick line runs up to a narrow peak and back down: no way of their own.

    Such a stem ends free where just two other strokes meet. Either it goes straight on in both of these, which leave on
    both sides of the upright: what begins in one point and goes the same way is two lines. Or several stems end there,
    upwards and downwards, where a line turns more than once within its thickness.

    Args:
        strokes: Of one ink.
        kept: Numbers of those that are looked at.
        crossing: The crossing of each junction, and -1.
        longest: In pixels, of a stem.
    """
    found = np.zeros(len(strokes), dtype=np.bool_)
    meetings: dict[int, list[tuple[int, int]]] = {}
    for k in kept.tolist():
        for side in (0, 1):
            node = int(crossing[strokes.nodes[k, side]])
            if node >= 0:
                meetings.setdefault(node, []).append((k, side))
    for meeting in meetings.values():
        stems = [(k, s) for k, s in meeting if strokes.nodes[k, 1 - s] < 0 and len(strokes.each[k]) <= longest]
        ways = {end: _way(strokes.each[end[0]], end[1]) for end in meeting} if stems else {}
        if len(meeting) == 3:
            for stem in stems:
                one, other = (ways[end] for end in meeting if end != stem)
                straight = max(ways[stem] @ one, ways[stem] @ other) < -BEND
                apart = one[0] * other[0] <= 0 or max(abs(one[0]), abs(other[0])) < UPRIGHT
                found[stem[0]] |= straight and apart
        if len(stems) > 1 and len(meeting) == len(stems) + 2:
            for stem in stems:
                found[stem[0]] |= bool(abs(ways[stem][0]) < UPRIGHT)
    return found


def _way(points: Points, side: int) -> Points:
    """Unit vector along a stroke, from its first (0) or last (1) point; 0 for a single one."""
    points = points[::-1] if side else points
    way = points[min(len(points) - 1, WEDGE)] - points[0]
    return np.asarray(way / max(float(np.hypot(*way)), 1e-9))


def _meeting(node: NDArray[np.int64], places: Points) -> NDArray[np.int64]:
    """`(P, 2)`, pairs of ends at one crossing: all, or the nearest where there are too many."""
    order = np.argsort(node, kind="stable")
    order = order[node[order] >= 0]
    cuts = np.flatnonzero(np.diff(node[order], prepend=-1, append=-1)) if len(order) else np.zeros(1, dtype=np.int64)
    crowds = np.flatnonzero(np.diff(cuts) > MOST_AT_JUNCTION)
    crowded = [order[cuts[k] : cuts[k + 1]] for k in crowds]
    pairs = [group[_nearest(cKDTree(places[group]), np.inf)] for group in crowded]
    return np.concatenate([_all_pairs(order, cuts, MOST_AT_JUNCTION), *pairs])


@compiled
def _all_pairs(order: NDArray[np.int64], cuts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """`(P, 2)`, all pairs of each group of numbers with so many at most."""
    count = 0
    for k in range(len(cuts) - 1):
        size = cuts[k + 1] - cuts[k]
        if size <= most:
            count += size * (size - 1) // 2
    pairs = np.empty((count, 2), dtype=np.int64)
    at = 0
    for k in range(len(cuts) - 1):
        if cuts[k + 1] - cuts[k] <= most:
            for i in range(cuts[k], cuts[k + 1]):
                for j in range(i + 1, cuts[k + 1]):
                    pairs[at, 0], pairs[at, 1] = order[i], order[j]
                    at += 1
    return pairs


def _near_pairs(places: Points, reach: float) -> NDArray[np.int64]:
    """`(P, 2)`, pairs of places at most `reach` apart: all, or the nearest where there are too many."""
    if len(places) <= FEW_PLACES:
        return _pairs_within(places, np.argsort(places[:, 0], kind="stable"), reach)
    tree = cKDTree(places)
    if tree.count_neighbors(tree, reach) > 2 * MOST_PAIRS:
        return _nearest(tree, reach)
    return np.asarray(tree.query_pairs(reach, output_type="ndarray"))


@compiled
def _pairs_within(places: Points, order: NDArray[np.int64], reach: float) -> NDArray[np.int64]:
    """`(P, 2)`, all pairs of places at most `reach` apart; `order` sorts them by their columns."""
    pairs = np.empty((4 * len(places) + 16, 2), dtype=np.int64)
    count = 0
    for i in range(len(order)):
        a = order[i]
        for j in range(i + 1, len(order)):
            b = order[j]
            x, y = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
            if x > reach:
                break
            if x * x + y * y <= reach * reach:
                if count == len(pairs):
                    pairs = np.concatenate((pairs, np.empty_like(pairs)))
                pairs[count, 0], pairs[count, 1] = min(a, b), max(a, b)
                count += 1
    return pairs[:count]


def _nearest(tree: cKDTree, reach: float) -> NDArray[np.int64]:
    """`(P, 2)`, each place with those nearest to it, up to `reach` away."""
    found = tree.query(tree.data, k=min(NEAREST + 1, tree.n), distance_upper_bound=reach)[1]
    pairs = np.stack([np.repeat(np.arange(tree.n), found.shape[1]), found.ravel()], axis=1)
    pairs = np.sort(pairs[pairs[:, 1] < tree.n], axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _over_gaps(chains: Chains, level: Level, looks: Looks | None, back: float) -> Chains:
    near = _near_pairs(chains.places, level.reach)
    near = near[_linkable(near, chains.places, np.diff(chains.cuts), chains.closed)]
    if not len(near):
        return chains
    ends = _ends(chains, level.window, looks)
    costs, turning = _costs(ends, near, level, looks)
    costs += _marked(ends, near, looks)
    links = match_ends(near, costs + back * turning, np.full(2 * len(chains), level.unlinked))
    return chains.joined(links) if len(links) else chains


@compiled
def _linkable(
    pairs: NDArray[np.int64], places: Points, lengths: NDArray[np.int64], closed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """`(P,)`, pairs of ends whose chains are open, and of one chain only if it is much longer than they are apart."""
    answer = np.empty(len(pairs), dtype=np.bool_)
    for k in range(len(pairs)):
        a, b = pairs[k]
        wide = np.hypot(places[a, 0] - places[b, 0], places[a, 1] - places[b, 1])
        loop = a // 2 != b // 2 or lengths[a // 2] > 6 * wide + 20
        answer[k] = loop and not closed[a // 2] and not closed[b // 2]
    return answer


def _ends(chains: Chains, window: float, looks: Looks | None) -> _Ends:
    places, cuts = chains.places, chains.cuts
    first, last, directions = _near_ends(chains.points, cuts, window)
    gaps, dashes = chains.usual()
    thickness = np.repeat(chains.thickness, 2)
    features, marks = np.zeros((len(places), 0)), np.zeros((len(chains), 0))
    if looks is not None:
        if looks.marks is not None:
            marks = looks.marks.counts(chains.points, cuts)
        if looks.unalike:
            features = _means(chains.points, first, last, looks.where, looks.features)
        short = np.repeat(np.diff(cuts), 2) <= thickness + 2
        if short.any() and len(looks.tangent):
            told = _told(_means(chains.points, first, last, looks.where, looks.tangent))
            directions = np.where(short[:, None], told, directions)
    lengths = np.diff(cuts).astype(np.float64)
    interruptions = np.diff(chains.gap_cuts).astype(np.float64)
    columns = _columns(chains.points, cuts)
    dashes = np.log(dashes + 4)
    return _Ends(
        *(places, directions, thickness, features, marks),
        *(gaps, columns, dashes, lengths, interruptions),
    )


@compiled
def _columns(points: Points, cuts: NDArray[np.int64]) -> Points:
    """`(c, 2)`, first and last column of chains."""
    columns = np.empty((len(cuts) - 1, 2))
    for k in range(len(cuts) - 1):
        left, right = points[cuts[k], 0], points[cuts[k], 0]
        for i in range(cuts[k] + 1, cuts[k + 1]):
            left, right = min(left, points[i, 0]), max(right, points[i, 0])
        columns[k, 0], columns[k, 1] = left, right
    return columns


@compiled
def _near_ends(
    points: Points, cuts: NDArray[np.int64], window: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Points]:
    """The points up to `window` along a chain from each end, as ranges `(E,)`, `(E,)`, and the directions `(E, 2)`.

    A direction points outwards: the slope of a straight line through the points; 0 for a single one.
    """
    count = 2 * (len(cuts) - 1)
    first, last = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    directions = np.zeros((count, 2))
    for end in range(count):
        start, stop = cuts[end // 2], cuts[end // 2 + 1]
        step = 1 if end % 2 == 0 else -1
        at = start if step > 0 else stop - 1
        outer = at
        way = 0.0
        while start <= at + step < stop:
            way += np.hypot(points[at + step, 0] - points[at, 0], points[at + step, 1] - points[at, 1])
            if way > window:
                break
            at += step
        first[end], last[end] = min(outer, at), max(outer, at) + 1
        middle = (outer + at) / 2
        for i in range(first[end], last[end]):
            directions[end] -= step * (i - middle) * points[i]
        length = np.hypot(directions[end, 0], directions[end, 1])
        if length > 0:
            directions[end] /= length
    return first, last, directions


@compiled
def _means(
    points: Points,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    where: NDArray[np.int32],
    values: NDArray[np.float32],
) -> Points:
    """Means `(E, D)` of the values at the pixels of ranges of points; NaN where none has any."""
    means = np.zeros((len(first), values.shape[1]))
    for end in range(len(first)):
        count = 0
        for i in range(first[end], last[end]):
            row = where[int(points[i, 1]), int(points[i, 0])]
            if row >= 0:
                count += 1
                for d in range(values.shape[1]):
                    means[end, d] += values[row, d]
        for d in range(values.shape[1]):
            means[end, d] = means[end, d] / count if count else np.nan
    return means


def _told(tangents: Points) -> Points:
    """Directions `(E, 2)` that a model says of marks without one: forwards at the first end, backwards at the last."""
    angle = np.arctan2(tangents[:, 1], tangents[:, 0]) / 2
    told = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    told[1::2] *= -1
    sure = np.hypot(*tangents.T) >= _SURE  # not where unknown
    return np.where(sure[:, None], told, 0.0)


def _costs(ends: _Ends, pairs: NDArray[np.int64], level: Level, looks: Looks | None) -> tuple[Points, Points]:
    """`(P,)`, what a link of each pair of ends costs, about 1 for a usual one; `(P,)`, how much it turns back."""
    costs, turning = _link_costs(
        np.ascontiguousarray(pairs),
        *(ends.places, ends.directions, ends.thickness, ends.gaps, ends.columns),
        *(ends.dashes, ends.lengths, ends.interruptions, level.turn, level.reach),
    )
    if looks is not None:
        a, b = pairs.T
        costs += looks.cost(ends.features[a], ends.features[b])
    return costs, turning


def _marked(ends: _Ends, pairs: NDArray[np.int64], looks: Looks | None) -> Points:
    """`(P,)`, what marks add to the cost of a link."""
    if looks is None or looks.marks is None:
        return np.zeros(len(pairs))
    a, b = pairs.T // 2
    return np.asarray(MARKED * np.clip(looks.marks.apart(ends.marks[a], ends.marks[b]), -FOR, AGAINST))


@compiled
def _link_costs(
    pairs: NDArray[np.int64],
    places: Points,
    directions: Points,
    thickness: Points,
    gaps: Points,
    columns: Points,
    dashes: Points,
    lengths: Points,
    interruptions: Points,
    usual_turn: float,
    reach: float,
) -> tuple[Points, Points]:
    """What looks and geometry say a link costs; in 0..1, how much it turns back over columns that both chains have.

    Lines of charts are functions of x, mostly; a loop turns round smoothly.
    """
    costs, turning = np.empty(len(pairs)), np.empty(len(pairs))
    for k in range(len(pairs)):
        a, b = pairs[k]
        one, other = a // 2, b // 2
        x, y = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
        ax, ay, bx, by = directions[a, 0], directions[a, 1], directions[b, 0], directions[b, 1]
        gap = np.hypot(x, y)
        thick = (thickness[a] + thickness[b]) / 2
        onward = -(ax * bx + ay * by)
        known = np.hypot(ax, ay) * np.hypot(bx, by) > 0
        turn = np.arccos(min(max(onward, -1.0), 1.0)) if known else 0.7 * usual_turn
        # How far each end lies beside the straight way on of the other, in what is usual.
        aside = (abs(ax * y - ay * x) + abs(bx * y - by * x)) / 2 / (thick + 2.5 + 0.2 * gap)
        cost = (turn / usual_turn) ** 2 + 0.5 * aside**2
        if min(x * ax + y * ay, -(x * bx + y * by)) < -thick - 1:
            cost += BEHIND
        cost += (np.log((thickness[a] + 1.5) / (thickness[b] + 1.5)) / 0.5) ** 2
        if not (np.isnan(dashes[one]) or np.isnan(dashes[other])):
            cost += STYLE * max(abs(dashes[one] - dashes[other]) - 0.7, 0.0) ** 2
        unlike = nats_apart(lengths[one], lengths[other], interruptions[one], interruptions[other])
        cost += UNLIKE * min(max(unlike - UNLIKE_SLACK, 0.0), UNLIKE_MOST)
        seen, usual = 0, 0.0
        for chain in (one, other):
            if not np.isnan(gaps[chain]):
                seen += 1
                usual += gaps[chain]
        # How many times as wide as the gaps seen.
        cost += 0.25 * np.log((gap + 2) / (usual / seen + 2)) ** 2 if seen else 0.5 * gap / reach
        if seen == 2:
            one_off = np.log((gap + 2) / (gaps[one] + 2)) / STEADY
            other_off = np.log((gap + 2) / (gaps[other] + 2)) / STEADY
            cost -= RHYTHM * np.exp(-0.5 * (one_off**2 + other_off**2))
        costs[k] = cost
        first, last = max(columns[one, 0], columns[other, 0]), min(columns[one, 1], columns[other, 1])
        slack = BACK_SLACK + thickness[a] + thickness[b]
        common = min(max((last - first + 1 - slack) / BACK_FULL, 0.0), 1.0)
        turning[k] = common * min(max((BEND - onward) / BEND, 0.0), 1.0)
    return costs, turning
