"""The style of a chain: how often its ink is interrupted and how thick it is, and where along it that changes.

Gaps along n pixels of a line of one style come about as in a Poisson process, so that k of them take
k · (1 − log(k / n)) nats to tell, at the rate that fits best (Rissanen 1978, "Modeling by shortest data description").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.chain import Chain, join_chains
from linegroup.grouping.marks import Marks

CHANGE = 5.0
"""Nats that must be saved, beside those that tell the place, for a change of style to be believed."""

FEW = 3
"""A chain with fewer gaps is not interrupted often enough for that to change."""

SPREAD, EVEN = 0.25, 15.0
"""Standard deviation of the logarithm of a line's thickness, from stretches of so many pixels to others."""

SOFT = 0.5
"""Pixels by which thin strokes are measured wrongly; their thickness counts as so much more."""

TELLING = 100
"""Pixels that a part must have for its thickness to tell: where lines run in each other they are thicker, too."""

Numbers = NDArray[Any]


@compiled
def nats(length: float, gaps: float) -> float:
    """Nats that tell where the gaps of a chain are, so many in so many pixels."""
    return float(gaps * (1 - np.log(max(gaps, 1.0) / max(length, gaps, 1.0))))


@compiled
def nats_apart(length: float, other_length: float, gaps: float, other_gaps: float) -> float:
    """Nats more that two chains take if they are of one style; 0 where they are interrupted equally often."""
    apart = nats(length, gaps) + nats(other_length, other_gaps)
    return nats(length + other_length, gaps + other_gaps) - apart


def cut_at_changes(chain: Chain, marks: Marks | None = None, times: int = 4) -> list[Chain]:
    """The chain, cut between strokes wherever its style changes.

    A chain that ran into another line in its middle is dashed up to there, say, and solid from there on.

    Args:
        chain: Any.
        marks: Where lines of its ink have different ones.
        times: How often it may be halved; lines meet seldom, and dust is no line.
    """
    if chain.closed or not chain.joins or not times:
        return [chain]
    joins = np.array(chain.joins)
    saved = _saved_by_gaps(chain, joins) + _saved_by_thickness(chain, joins)
    if marks is not None:
        saved += _saved_by_marks(chain, joins, marks)
    best = int(np.argmax(saved))
    if saved[best] < CHANGE + np.log(len(joins)):
        return [chain]
    return [part for half in chain.cut(int(joins[best])) for part in cut_at_changes(half, marks, times - 1)]


def _saved_by_gaps(chain: Chain, joins: Numbers) -> Numbers:
    """Nats that two rates of gaps save, up to each join and from there on; a gap that is there is of neither."""
    if len(chain.gaps) < FEW:
        return np.zeros(len(joins))
    begins = np.cumsum(chain.dashes)[:-1]
    before = np.searchsorted(begins, joins, side="left")
    after = len(begins) - np.searchsorted(begins, joins, side="right")
    return _saved(joins, float(len(chain.points)), before, after)


@compiled
def _saved(places: Numbers, length: float, before: Numbers, after: Numbers) -> Numbers:
    """Likewise, of so many gaps on both sides `(j,)` of each place `(j,)`."""
    saved = np.empty(len(places))
    for k in range(len(places)):
        saved[k] = nats_apart(float(places[k]), length - places[k], float(before[k]), float(after[k]))
    return saved


def _saved_by_thickness(chain: Chain, joins: Numbers) -> Numbers:
    """Nats that two normal distributions of the logarithm of the thickness save, likewise."""
    size = len(chain.points)
    lengths = np.diff([0, *joins, size])
    sums = np.cumsum(lengths * np.log(np.array(chain.widths) + SOFT))
    step = sums[:-1] / joins - (sums[-1] - sums[:-1]) / (size - joins)
    stretches = joins * (size - joins) / (size * EVEN)
    telling = np.minimum(joins, size - joins) >= TELLING
    return np.where(telling, stretches * step**2 / (2 * SPREAD**2), 0.0)


def _saved_by_marks(chain: Chain, joins: Numbers, marks: Marks) -> Numbers:
    """Nats that marks of two lines save, likewise."""
    counts = marks.counts(chain.points, np.array([0, *joins, len(chain.points)]))
    before = np.cumsum(counts, axis=0)[:-1]
    return np.maximum(marks.apart(before, counts.sum(axis=0) - before), 0)


def mend(chains: Sequence[Chain], cuts: Sequence[tuple[Chain, Sequence[Chain]]]) -> list[Chain]:
    """The chains, joined again where they were cut and neither end has found another one, nor the other end of its own.

    Args:
        chains: Made of the parts.
        cuts: What was cut, and its parts in order.
    """
    # A stroke that two lines share is there twice, with the same ends: each is used once, in the order of the chains.
    firsts: dict[tuple[float, ...], list[int]] = {}
    lasts: dict[tuple[float, ...], list[int]] = {}
    for k, chain in enumerate(chains):
        if not chain.closed:
            firsts.setdefault(tuple(chain.points[0]), []).append(2 * k)
            lasts.setdefault(tuple(chain.points[-1]), []).append(2 * k + 1)
    links: list[tuple[int, int]] = []
    meeting: list[tuple[int, int]] = []
    taken: set[int] = set()
    for whole, parts in cuts:
        begins = set(np.cumsum(whole.dashes).tolist())
        seams = np.cumsum([len(part.points) for part in parts])
        for seam, (one, other) in zip(seams, pairwise(parts), strict=False):
            leaving, entered = tuple(one.points[-1]), tuple(other.points[0])
            # Their chains may have been turned round since.
            out = [end for end in (*lasts.get(leaving, ()), *firsts.get(leaving, ())) if end not in taken]
            into = [end for end in (*firsts.get(entered, ()), *lasts.get(entered, ())) if end not in taken]
            if out and into and out[0] // 2 != into[0] // 2:
                links.append((out[0], into[0]))
                taken |= {out[0], into[0]}
                if seam not in begins:
                    meeting.append(links[-1])
    return join_chains(chains, links, meeting)
