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
from linegroup.grouping.chain import Chain, Points, join_chains
from linegroup.grouping.matching import connected, match_ends
from linegroup.grouping.strokes import Strokes
from linegroup.grouping.style import cut_at_changes, mend, misfit

Mask = NDArray[np.bool_]

SHORT = 3.0
"""Strokes between two junctions shorter than this many times the line's thickness are part of one crossing."""

STEM, UPRIGHT = 3.0, 0.3
"""How many times as long as `SHORT` strokes a peak's stem may be; the greatest horizontal part of what is upright."""

FORCED = 3.4
"""A link across a junction costs no more: lines seldom end in each other, however sharply they turn."""

AT_JUNCTION, FREE = 1.8, 1.0
"""What an end costs that is linked to none."""

UNKNOWN = 1e9
"""Instead of what is not known of two ends."""

BACK, BACK_SLACK, BACK_FULL = 2.5, 4.0, 20.0
"""What a link costs more that turns back over columns it has had, in full from so many columns on beyond the slack."""

BEND, WEDGE = 0.7, 12
"""Cosine of a turn that is no turning back, or is one; over how many pixels of a stroke that is seen."""

STYLE = 0.5
"""How much it costs to go from dashes into others twice as long and more, or into none."""

UNLIKE, UNLIKE_SLACK, UNLIKE_MOST = 0.2, 2.0, 20.0
"""What a nat costs by which two chains are not of one style, beyond the slack, and up to so many nats."""

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
    """What a model says of the ink, for looking up at its pixels.

    Attributes:
        where: `(h, w) int32`, row of each pixel in the others, -1 = nothing known.
        features: `(N, D) float32`, embeddings.
        tangent: `(N, 2) float32`, as in `Field`.
        apart: Distance of embeddings from which on they are of two lines.
        unalike: What embeddings add to a link's cost at most.
    """

    where: NDArray[np.int32]
    features: NDArray[np.float32]
    tangent: NDArray[np.float32]
    apart: float
    unalike: float

    def mean(self, points: Points) -> Points:
        """Mean embedding `(D,)` along points `(n, 2)` that are pixels; NaN where unknown."""
        ends = np.array([0, len(points)])
        return np.asarray(_means(np.ascontiguousarray(points), ends[:1], ends[1:], self.where, self.features)[0])

    def cost(self, one: Points, other: Points) -> Points:
        """`(n,)`, what two lots of embeddings `(n, D)` add to the cost of being one line; 0 where unknown."""
        if not self.features.shape[1]:
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
    """Ends of chains: 2k is the first point of chain k, 2k + 1 its last.

    Attributes:
        places: `(E, 2)`.
        directions: `(E, 2)`, outwards, unit length; 0 where a chain is a point.
        thickness: `(E,)`.
        gaps: `(E,)`, the usual gap of the chain; NaN where it has none.
        features: `(E, D)`, mean embedding; D = 0 without a model.
        columns: `(E, 2)`, first and last column of the chain.
        dashes: `(E,)`, the logarithm of the chain's usual dash; NaN where it has none.
        lengths: `(E,)`, the pixels of the chain.
        interruptions: `(E,)`, the number of its gaps.
    """

    places: Points
    directions: Points
    thickness: Points
    gaps: Points
    features: Points
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
    if not strokes.points:
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
    chains = _over_all_gaps(chains, levels, looks, back)
    if len(chains) > MOST_CHAINS:
        return chains
    cuts = [cut_at_changes(chain) for chain in chains]
    if any(len(parts) > 1 for parts in cuts):
        # Where two lines met, ends that were too short to tell have the style of long chains now.
        anew = _over_all_gaps(list(itertools.chain.from_iterable(cuts)), levels, looks, back)
        chains = mend(anew, list(zip(chains, cuts, strict=True)))
    return chains


def _over_all_gaps(chains: list[Chain], levels: Sequence[Level], looks: Looks | None, back: float) -> list[Chain]:
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
    points: list[Points] = []
    nodes: list[tuple[int, int]] = []
    thickness: list[float] = []
    for stroke, (first, last), thick in zip(strokes.points, strokes.nodes, strokes.thickness, strict=True):
        cuts = sorted(_wedges(stroke)) if first != last or first < 0 else []
        parts = np.split(stroke, cuts)
        points.extend(parts)
        nodes.extend((int(first) if k == 0 else -1, int(last) if k == len(cuts) else -1) for k in range(len(parts)))
        thickness.extend([float(thick)] * len(parts))
    return Strokes(points, np.array(nodes, dtype=np.int64).reshape(-1, 2), np.array(thickness), strokes.junctions)


def _wedges(stroke: Points) -> set[int]:
    """Where a stroke `(n, 2)` has its first and its last column, if it turns back sharply there."""
    found: set[int] = set()
    if len(stroke) < 2 * BACK_FULL:
        # A point for each column at least: too short for what is asked of both arms.
        return found
    for side in (stroke[:, 0], -stroke[:, 0]):
        at = np.flatnonzero(side == side.min())
        k = int(at[len(at) // 2])
        if min(side[0], side[-1]) - side[k] < BACK_FULL:
            continue
        arms = np.array([stroke[max(0, k - WEDGE)], stroke[min(len(stroke) - 1, k + WEDGE)]]) - stroke[k]
        arms /= np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-9)
        if arms[0] @ arms[1] > BEND:
            found.add(k)
    return found


def _through_junctions(strokes: Strokes, thick: float, looks: Looks | None, back: float) -> list[Chain]:
    """Link strokes that meet. Very short ones between junctions belong to the crossing, free ones are hairs.

    A longer stroke between two junctions may carry two lines, which run in each other there: it is offered
    twice, and the second one is taken only if lines go on in it at both its ends.
    """
    short = max(SHORT * thick, 8.0)
    lengths = np.array([len(points) for points in strokes.points])
    first, last = strokes.nodes.T
    bridge = (first >= 0) & (last >= 0) & (lengths <= short)
    hair = ((first >= 0) != (last >= 0)) & (lengths <= 0.75 * short)
    crossing = np.append(connected(strokes.nodes[bridge], strokes.junctions), -1)
    hair |= _spikes(strokes, np.flatnonzero(~bridge & ~hair), crossing, STEM * short)
    kept = np.flatnonzero(~bridge & ~hair)
    if not len(kept):
        return []
    degree = np.bincount(crossing[strokes.nodes[kept]].ravel() + 1, minlength=2)[1:]
    between = (first[kept] >= 0) & (last[kept] >= 0)
    ends_at = crossing[strokes.nodes[kept]]
    double = between & (degree[ends_at] >= 3).all(axis=1) & (ends_at[:, 0] != ends_at[:, 1])
    number = np.concatenate([kept, kept[double]])
    chains = [_stroke_chain(strokes, int(k)) for k in number]
    level = Level(max(14.0, 6 * thick), 6 + 4 * thick, 0.6, FREE)
    ends = _ends(chains, *_points(chains), level.window, looks)
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
    across = _costs(ends, meeting, level, looks)
    across = np.where(twin, across, np.minimum(across, FORCED)) + back * _backwards(ends, meeting)
    unlinked = np.where(node >= 0, AT_JUNCTION, FREE)
    unlinked[2 * len(kept) :] = 0
    links = match_ends(
        np.concatenate([near, meeting]),
        np.concatenate([_costs(ends, near, level, looks) + back * _backwards(ends, near), across]),
        unlinked,
    )
    taken = np.bincount([end // 2 for link in links for end in link], minlength=len(chains))
    spare = np.flatnonzero((np.arange(len(chains)) >= len(kept)) & (taken < 2))
    dropped = set(spare.tolist())
    links = [link for link in links if link[0] // 2 not in dropped and link[1] // 2 not in dropped]
    met = {frozenset(link) for link in links if node[link[0]] >= 0 and node[link[0]] == node[link[1]]}
    return join_chains(chains, links, dropped, met)


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
    found = np.zeros(len(strokes.points), dtype=np.bool_)
    meetings: dict[int, list[tuple[int, int]]] = {}
    for k in kept.tolist():
        for side in (0, 1):
            node = int(crossing[strokes.nodes[k, side]])
            if node >= 0:
                meetings.setdefault(node, []).append((k, side))
    for meeting in meetings.values():
        stems = [(k, s) for k, s in meeting if strokes.nodes[k, 1 - s] < 0 and len(strokes.points[k]) <= longest]
        ways = {end: _way(strokes.points[end[0]], end[1]) for end in meeting} if stems else {}
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


def _stroke_chain(strokes: Strokes, k: int) -> Chain:
    points = strokes.points[k]
    ring = strokes.nodes[k].max() < 0 and len(points) > 8 and np.hypot(*(points[0] - points[-1])) < 2
    return Chain(points, (), float(strokes.thickness[k]), bool(ring))


def _meeting(node: NDArray[np.int64], places: Points) -> NDArray[np.int64]:
    """`(P, 2)`, pairs of ends at one crossing: all, or the nearest where there are too many."""
    order = np.argsort(node, kind="stable")
    order = order[node[order] >= 0]
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for group in np.split(order, np.flatnonzero(np.diff(node[order])) + 1):
        if len(group) > MOST_AT_JUNCTION:
            pairs.append(group[_nearest(cKDTree(places[group]), np.inf)])
        else:
            pairs.append(group[np.stack(np.triu_indices(len(group), 1), axis=1)])
    return np.concatenate(pairs)


def _near_pairs(places: Points, reach: float) -> NDArray[np.int64]:
    """`(P, 2)`, pairs of places at most `reach` apart: all, or the nearest where there are too many."""
    tree = cKDTree(places)
    if len(places) > NEAREST and tree.count_neighbors(tree, reach) > 2 * MOST_PAIRS:
        return _nearest(tree, reach)
    return np.asarray(tree.query_pairs(reach, output_type="ndarray"))


def _nearest(tree: cKDTree, reach: float) -> NDArray[np.int64]:
    """`(P, 2)`, each place with those nearest to it, up to `reach` away."""
    found = tree.query(tree.data, k=min(NEAREST + 1, tree.n), distance_upper_bound=reach)[1]
    pairs = np.stack([np.repeat(np.arange(tree.n), found.shape[1]), found.ravel()], axis=1)
    pairs = np.sort(pairs[pairs[:, 1] < tree.n], axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _over_gaps(chains: list[Chain], level: Level, looks: Looks | None, back: float) -> list[Chain]:
    points, cuts = _points(chains)
    places = points[np.stack([cuts[:-1], cuts[1:] - 1], axis=1).ravel()]
    near = _near_pairs(places, level.reach)
    one, other = near.T // 2
    closed = np.array([chain.closed for chain in chains])
    wide = np.hypot(*(places[near[:, 0]] - places[near[:, 1]]).T)
    loop = np.diff(cuts)[one] > 6 * wide + 20
    near = near[((one != other) | loop) & ~closed[one] & ~closed[other]]
    if not len(near):
        return chains
    ends = _ends(chains, points, cuts, level.window, looks)
    costs = _costs(ends, near, level, looks) + back * _backwards(ends, near)
    return join_chains(chains, match_ends(near, costs, np.full(2 * len(chains), level.unlinked)))


def _points(chains: Sequence[Chain]) -> tuple[Points, NDArray[np.int64]]:
    """The points of all chains `(n, 2)`, and where each chain begins, and the end."""
    cuts = np.zeros(len(chains) + 1, dtype=np.int64)
    np.cumsum([len(chain.points) for chain in chains], out=cuts[1:])
    return np.concatenate([chain.points for chain in chains]), cuts


def _ends(
    chains: Sequence[Chain], points: Points, cuts: NDArray[np.int64], window: float, looks: Looks | None
) -> _Ends:
    thickness = np.repeat([chain.thickness for chain in chains], 2)
    usual = np.repeat([chain.usual_gap for chain in chains], 2)
    places = points[np.stack([cuts[:-1], cuts[1:] - 1], axis=1).ravel()]
    first, last, directions = _near_ends(points, cuts, window)
    features = np.zeros((len(places), 0))
    if looks is not None:
        features = _means(points, first, last, looks.where, looks.features)
        short = np.repeat(np.diff(cuts), 2) <= thickness + 2
        if short.any():
            told = _told(_means(points, first, last, looks.where, looks.tangent))
            directions = np.where(short[:, None], told, directions)
    first_column = np.repeat(np.minimum.reduceat(points[:, 0], cuts[:-1]), 2)
    last_column = np.repeat(np.maximum.reduceat(points[:, 0], cuts[:-1]), 2)
    columns = np.stack([first_column, last_column], axis=1)
    dashes = np.log(np.repeat([chain.usual_dash for chain in chains], 2) + 4)
    lengths = np.repeat(np.diff(cuts), 2).astype(np.float64)
    gaps = np.repeat([float(len(chain.gaps)) for chain in chains], 2)
    return _Ends(places, directions, thickness, usual, features, columns, dashes, lengths, gaps)


def _backwards(ends: _Ends, pairs: NDArray[np.int64]) -> Points:
    """`(P,)` in 0..1, how much a link turns back over columns that its chains have both.

    Lines of charts are functions of x, mostly; a loop turns round smoothly.
    """
    a, b = pairs.T
    first = np.maximum(ends.columns[a, 0], ends.columns[b, 0])
    last = np.minimum(ends.columns[a, 1], ends.columns[b, 1])
    slack = BACK_SLACK + ends.thickness[a] + ends.thickness[b]
    common = np.clip((last - first + 1 - slack) / BACK_FULL, 0, 1)
    onward = -(ends.directions[a] * ends.directions[b]).sum(axis=1)
    return np.asarray(common * np.clip((BEND - onward) / BEND, 0, 1))


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


def _costs(ends: _Ends, pairs: NDArray[np.int64], level: Level, looks: Looks | None) -> Points:
    """`(P,)`, what a link of each pair of ends costs; about 1 for a usual one."""
    known = _known(ends.places, ends.directions, ends.thickness, ends.gaps, np.ascontiguousarray(pairs))
    turn = np.where(known[:, 0] == UNKNOWN, 0.7 * level.turn, np.arccos(np.clip(known[:, 0], -1, 1)))
    cost = (turn / level.turn) ** 2 + 0.5 * known[:, 1] ** 2 + known[:, 2]
    cost += (np.log(known[:, 3]) / 0.5) ** 2
    if looks is not None:
        a, b = pairs.T
        cost += looks.cost(ends.features[a], ends.features[b])
    a, b = pairs.T
    cost += STYLE * np.nan_to_num(np.maximum(np.abs(ends.dashes[a] - ends.dashes[b]) - 0.7, 0)) ** 2
    unlike = misfit((ends.lengths[a], ends.lengths[b]), (ends.interruptions[a], ends.interruptions[b]))
    cost += UNLIKE * np.clip(unlike - UNLIKE_SLACK, 0, UNLIKE_MOST)
    gap, rhythm = known[:, 4], known[:, 5]
    return np.asarray(cost + np.where(rhythm == UNKNOWN, 0.5 * gap / level.reach, 0.25 * np.log(rhythm) ** 2))


@compiled
def _known(places: Points, directions: Points, thickness: Points, gaps: Points, pairs: NDArray[np.int64]) -> Points:
    """What is known of pairs of ends, `(P, 6)`.

    The cosine of the turn; how far each end lies beside the straight way on of the other, in what is usual; 1.5 if
    one lies behind the other; how many times as thick; the gap; how many times as wide as the gaps seen.
    """
    known = np.empty((len(pairs), 6))
    for k in range(len(pairs)):
        a, b = pairs[k]
        x, y = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
        ax, ay, bx, by = directions[a, 0], directions[a, 1], directions[b, 0], directions[b, 1]
        gap = np.hypot(x, y)
        thick = (thickness[a] + thickness[b]) / 2
        turns = np.hypot(ax, ay) * np.hypot(bx, by) > 0
        known[k, 0] = -(ax * bx + ay * by) if turns else UNKNOWN
        known[k, 1] = (abs(ax * y - ay * x) + abs(bx * y - by * x)) / 2 / (thick + 2.5 + 0.2 * gap)
        known[k, 2] = 1.5 if min(x * ax + y * ay, -(x * bx + y * by)) < -thick - 1 else 0.0
        known[k, 3] = (thickness[a] + 1.5) / (thickness[b] + 1.5)
        known[k, 4] = gap
        known[k, 5] = UNKNOWN
        seen, usual = 0, 0.0
        for end in (a, b):
            if not np.isnan(gaps[end]):
                seen += 1
                usual += gaps[end]
        if seen:
            known[k, 5] = (gap + 2) / (usual / seen + 2)
    return known
