"""Lines of one ink: strokes that go on in each other, through crossings and over gaps.

Strokes are linked at their ends, each end to one other at most, so that the links cost least in total: a
matching. What a link costs is what is known at the ends: how much the line would turn, how far each end lies
from the straight way on of the other, whether they are equally thick, how wide the gap is and whether the gaps
already seen were like it. Linked strokes are longer, so their directions are better known: this is done again
with wider and wider gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import cv2
import networkx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from linegroup.grouping.strokes import Strokes, find_strokes

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Size = tuple[int, int]

SHORT = 3.0
"""Strokes between two junctions shorter than this many times the line's thickness are part of one crossing."""

COMMON = 0.5
"""A chain that shares less of its columns with a line may go on in it; one that shares more is another line."""

LINE, PIECE = 0.25, 0.05
"""A line is begun by a chain as wide as this share of the plot; a chain may go on in it from that share on."""

FORCED = 3.4
"""A link across a junction costs no more: lines seldom end in each other, however sharply they turn."""

AT_JUNCTION, FREE = 1.8, 1.0
"""What an end costs that is linked to none."""

_EXACT = 24
"""Ends that depend on each other, up to which the best of all matchings is looked for."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Strokes in a row.

    Attributes:
        points: `(n, 2)`, from end to end.
        gaps: Lengths of the gaps between its strokes, in pixels.
        thickness: Mean over its length.
    """

    points: Points
    gaps: tuple[float, ...]
    thickness: float


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
    """

    places: Points
    directions: Points
    thickness: Points
    gaps: Points


def link_lines(mask: Mask, plot: Size) -> list[Mask]:
    """The lines of one ink, each pixel on one of them; one line where nothing says that there are more.

    Chains of strokes that have few columns in common are one line, those with the nearest ends first: what
    runs side by side is two.

    Args:
        mask: `(h, w)`, the ink.
        plot: `(height, width)` of the plot area.
    """
    if not mask.any():
        return []
    lines = _gather(link_strokes(find_strokes(mask), plot[1]), plot[1])
    return [mask] if len(lines) < 2 else _share_out(mask, lines)


def link_strokes(strokes: Strokes, width: float) -> list[Chain]:
    """Chains of strokes, through junctions first, then over gaps of growing width, up to 6 % of the plot's width."""
    if not strokes.points:
        return []
    thick = float(np.median(strokes.thickness)) + 1  # with its soft edges
    chains = _through_junctions(strokes, thick)
    if not chains:
        return []
    levels = (
        Level(8 + 3 * thick, 10 + 2 * thick, 0.5, FREE),
        Level(14 + 5 * thick, 20 + 3 * thick, 0.6, FREE),
        Level(20 + 8 * thick, 30 + 4 * thick, 0.7, FREE),
        Level(0.06 * width + 8 * thick, 40 + 4 * thick, 0.8, 0.8 * FREE),
    )
    for level in levels:
        for _ in range(2):
            before = len(chains)
            chains = _over_gaps(chains, level)
            if len(chains) == before:
                break
    return chains


def _through_junctions(strokes: Strokes, thick: float) -> list[Chain]:
    """Link strokes that meet. Very short ones between junctions belong to the crossing, free ones are hairs."""
    short = max(SHORT * thick, 8.0)
    lengths = np.array([len(points) for points in strokes.points])
    first, last = strokes.nodes.T
    bridge = (first >= 0) & (last >= 0) & (lengths <= short)
    hair = ((first >= 0) != (last >= 0)) & (lengths <= 0.75 * short)
    kept = np.flatnonzero(~bridge & ~hair)
    graph = coo_array(
        (np.ones(int(bridge.sum())), (first[bridge], last[bridge])), shape=(strokes.junctions, strokes.junctions)
    )
    crossing = np.append(connected_components(graph, directed=False)[1] if strokes.junctions else [], -1).astype(int)
    chains = [Chain(strokes.points[k], (), float(strokes.thickness[k])) for k in kept]
    if not chains:
        return []
    level = Level(max(14.0, 6 * thick), 6 + 4 * thick, 0.6, FREE)
    ends = _ends(chains, level.window)
    node = crossing[strokes.nodes[kept]].ravel()
    near = cKDTree(ends.places).query_pairs(level.reach, output_type="ndarray")
    near = near[(node[near[:, 0]] != node[near[:, 1]]) | (node[near[:, 0]] < 0)]
    near = near[near[:, 0] // 2 != near[:, 1] // 2]
    meeting = _meeting(node)
    own = meeting[:, 0] // 2 == meeting[:, 1] // 2
    meeting = meeting[~own | (lengths[kept][meeting[:, 0] // 2] >= 2 * short)]
    costs = np.concatenate([_costs(ends, near, level), np.minimum(_costs(ends, meeting, level), FORCED)])
    unlinked = np.where(node >= 0, AT_JUNCTION, FREE)
    return _join(chains, match_ends(np.concatenate([near, meeting]), costs, unlinked))


def _meeting(node: NDArray[np.int64]) -> NDArray[np.int64]:
    """`(P, 2)`, all pairs of ends at one crossing."""
    order = np.argsort(node, kind="stable")
    order = order[node[order] >= 0]
    pairs = [
        (int(a), int(b))
        for group in np.split(order, np.flatnonzero(np.diff(node[order])) + 1)
        for i, a in enumerate(group)
        for b in group[i + 1 :]
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _over_gaps(chains: list[Chain], level: Level) -> list[Chain]:
    ends = _ends(chains, level.window)
    near = cKDTree(ends.places).query_pairs(level.reach, output_type="ndarray")
    near = near[near[:, 0] // 2 != near[:, 1] // 2]
    return _join(chains, match_ends(near, _costs(ends, near, level), np.full(2 * len(chains), level.unlinked)))


def _ends(chains: Sequence[Chain], window: float) -> _Ends:
    places, directions, thickness, gaps = [], [], [], []
    for chain in chains:
        for points in (chain.points, chain.points[::-1]):
            places.append(points[0])
            directions.append(_direction(points, window))
            thickness.append(chain.thickness)
            gaps.append(float(np.median(chain.gaps)) if len(chain.gaps) >= 2 else np.nan)
    return _Ends(np.array(places), np.array(directions), np.array(thickness), np.array(gaps))


def _direction(points: Points, window: float) -> Points:
    """Outwards at the first point: the slope of a straight line through the points up to `window` along the chain."""
    points = points[: int(window) + 2]
    steps = np.hypot(*np.diff(points, axis=0).T)
    points = points[: int(np.searchsorted(np.cumsum(steps), window)) + 1]
    if len(points) < 2:
        return np.zeros(2)
    along = np.arange(len(points)) - (len(points) - 1) / 2
    slope = -(along[:, None] * points).sum(axis=0)
    return np.asarray(slope / max(float(np.hypot(*slope)), 1e-9))


def _costs(ends: _Ends, pairs: NDArray[np.int64], level: Level) -> Points:
    """`(P,)`, what a link of each pair of ends costs; about 1 for a usual one."""
    a, b = pairs.T
    way = ends.places[b] - ends.places[a]
    gap = np.hypot(*way.T)
    one, other = ends.directions[a], ends.directions[b]
    turn = np.arccos(np.clip(-(one * other).sum(axis=1), -1, 1))
    aside = (np.abs(_cross(one, way)) + np.abs(_cross(other, way))) / 2
    ahead = np.minimum((way * one).sum(axis=1), -(way * other).sum(axis=1))
    thick = (ends.thickness[a] + ends.thickness[b]) / 2
    cost = (turn / level.turn) ** 2 + 0.5 * (aside / (thick + 2.5 + 0.2 * gap)) ** 2
    cost += np.where(ahead < -thick - 1, 1.5, 0.0)
    cost += (np.log((ends.thickness[a] + 1.5) / (ends.thickness[b] + 1.5)) / 0.5) ** 2
    known = np.stack([ends.gaps[a], ends.gaps[b]])
    seen = np.isfinite(known)
    usual = np.where(seen, known, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    rhythm = 0.25 * np.log((gap + 2) / (usual + 2)) ** 2
    return np.asarray(cost + np.where(seen.any(axis=0), rhythm, 0.5 * gap / level.reach))


def _cross(a: Points, b: Points) -> Points:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def match_ends(pairs: NDArray[np.int64], costs: Points, unlinked: Points) -> list[tuple[int, int]]:
    """Links of the smallest total cost, each end in one at most; ends without one cost `unlinked`.

    Ends that depend on each other are matched together: exactly (Edmonds 1965) where they are few, elsewhere
    by always taking the link that saves most of those left, which saves at least half as much.

    Args:
        pairs: `(P, 2)`, ends that may be linked.
        costs: `(P,)`.
        unlinked: `(E,)`.
    """
    gain = unlinked[pairs].sum(axis=1) - costs
    # Of a pair that stands twice the better one counts.
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -gain))
    order = order[gain[order] > 0]
    pairs, gain = pairs[order], gain[order]
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(unlinked), len(unlinked)))
    part = connected_components(graph, directed=False)[1]
    large = np.bincount(part, minlength=1) > _EXACT
    links: list[tuple[int, int]] = []
    taken = np.zeros(len(unlinked), dtype=np.bool_)
    for a, b in pairs[large[part[pairs[:, 0]]]].tolist():
        if not taken[a] and not taken[b]:
            taken[a] = taken[b] = True
            links.append((a, b))
    small = ~large[part[pairs[:, 0]]]
    exact = networkx.Graph()
    for (a, b), saved in zip(pairs[small][::-1].tolist(), gain[small][::-1].tolist(), strict=True):
        exact.add_edge(a, b, weight=saved)
    for component in networkx.connected_components(exact):
        links.extend(networkx.max_weight_matching(exact.subgraph(component)))
    return [(min(link), max(link)) for link in links]


def _join(chains: Sequence[Chain], links: Iterable[tuple[int, int]]) -> list[Chain]:
    """Chains of chains; a ring stays open at its first chain."""
    mate: dict[int, int] = {}
    for a, b in links:
        mate[a], mate[b] = b, a
    seen = np.zeros(len(chains), dtype=np.bool_)
    joined = []
    for start in range(len(chains)):
        if seen[start]:
            continue
        seen[start] = True
        forward, backward = _walk(2 * start + 1, mate, seen), _walk(2 * start, mate, seen)
        row = [end ^ 1 for end in reversed(backward)] + [2 * start, *forward]
        joined.append(_concatenate([(chains[end // 2], bool(end % 2)) for end in row]))
    return joined


def _walk(leaving: int, mate: dict[int, int], seen: Mask) -> list[int]:
    """The ends at which one chain after the other is entered, leaving the first at `leaving`."""
    entered = []
    while leaving in mate and not seen[mate[leaving] // 2]:
        entered.append(mate[leaving])
        seen[entered[-1] // 2] = True
        leaving = entered[-1] ^ 1
    return entered


def _concatenate(row: list[tuple[Chain, bool]]) -> Chain:
    """One chain from several, those marked turned round."""
    points = [chain.points[::-1] if turned else chain.points for chain, turned in row]
    between = [float(np.hypot(*(b[0] - a[-1]))) for a, b in pairwise(points)]
    lengths = np.array([len(p) for p in points])
    thickness = float(np.average([chain.thickness for chain, _ in row], weights=lengths))
    gaps = (*between, *(gap for chain, _ in row for gap in chain.gaps))
    return Chain(np.concatenate(points), gaps, thickness)


def _gather(chains: list[Chain], width: float) -> list[list[Chain]]:
    """Chains by line, the longest first: each goes on in the nearest line that it may, or begins one, or is left."""
    score = np.array([max(np.ptp(c.points[:, 0]) + 1, 0.5 * len(c.points)) for c in chains])
    lines: list[list[Chain]] = []
    for k in np.argsort(-score, kind="stable"):
        if score[k] < PIECE * max(width, score.max()):
            break
        open_to = [line for line in lines if _shared(chains[k], line) < COMMON]
        if open_to:
            min(open_to, key=partial(_apart, chains[k])).append(chains[k])
        elif not lines or score[k] >= LINE * max(width, score.max()):
            lines.append([chains[k]])
    return lines


def _shared(chain: Chain, line: list[Chain]) -> float:
    """Share of a chain's columns that a line has, too."""
    first, last = chain.points[:, 0].min(), chain.points[:, 0].max() + 1
    columns = np.zeros(int(last - first) + 1, dtype=np.bool_)
    for other in line:
        a, b = other.points[:, 0].min() - first, other.points[:, 0].max() + 1 - first
        columns[max(0, int(a)) : max(0, int(b))] = True
    return float(columns[: int(last - first)].mean())


def _apart(chain: Chain, line: list[Chain]) -> float:
    """Distance of the nearest ends."""
    return min(
        float(np.hypot(*(a - b)))
        for a in (chain.points[0], chain.points[-1])
        for other in line
        for b in (other.points[0], other.points[-1])
    )


def _share_out(mask: Mask, lines: list[list[Chain]]) -> list[Mask]:
    """Every pixel goes to the line that its nearest stroke is of."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    for k, line in enumerate(lines):
        for chain in line:
            x, y = chain.points.astype(np.int64).T
            labels[y, x] = k + 1
    nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    names = np.zeros(int(nearest.max()) + 1, dtype=np.int32)
    names[nearest[labels > 0]] = labels[labels > 0]
    full = names[nearest]
    return [mask & (full == k + 1) for k in range(len(lines))]
