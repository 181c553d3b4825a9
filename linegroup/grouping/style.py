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

from linegroup.grouping.chain import Chain, join_chains

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


def description(length: Numbers, gaps: Numbers) -> Numbers:
    """Nats that tell where the gaps of chains are, so many in so many pixels."""
    rate = np.maximum(gaps, 1) / np.maximum(length, np.maximum(gaps, 1))
    return np.asarray(gaps * (1 - np.log(rate)))


def misfit(lengths: tuple[Numbers, Numbers], gaps: tuple[Numbers, Numbers]) -> Numbers:
    """Nats more that two chains take if they are of one style; 0 where they are interrupted equally often."""
    apart = description(lengths[0], gaps[0]) + description(lengths[1], gaps[1])
    return np.asarray(description(lengths[0] + lengths[1], gaps[0] + gaps[1]) - apart)


def cut_at_changes(chain: Chain, times: int = 4) -> list[Chain]:
    """The chain, cut between strokes wherever its style changes.

    A chain that ran into another line in its middle is dashed up to there, say, and solid from there on.

    Args:
        chain: Any.
        times: How often it may be halved; lines meet seldom, and dust is no line.
    """
    if chain.closed or not chain.joins or not times:
        return [chain]
    joins = np.array(chain.joins)
    saved = _saved_by_gaps(chain, joins) + _saved_by_thickness(chain, joins)
    best = int(np.argmax(saved))
    if saved[best] < CHANGE + np.log(len(joins)):
        return [chain]
    return [part for half in chain.cut(int(joins[best])) for part in cut_at_changes(half, times - 1)]


def _saved_by_gaps(chain: Chain, joins: Numbers) -> Numbers:
    """Nats that two rates of gaps save, up to each join and from there on; a gap that is there is of neither."""
    if len(chain.gaps) < FEW:
        return np.zeros(len(joins))
    begins = np.cumsum(chain.dashes)[:-1]
    before = np.searchsorted(begins, joins, side="left")
    after = len(begins) - np.searchsorted(begins, joins, side="right")
    return misfit((joins, len(chain.points) - joins), (before, after))


def _saved_by_thickness(chain: Chain, joins: Numbers) -> Numbers:
    """Nats that two normal distributions of the logarithm of the thickness save, likewise."""
    size = len(chain.points)
    lengths = np.diff([0, *joins, size])
    sums = np.cumsum(lengths * np.log(np.array(chain.widths) + SOFT))
    step = sums[:-1] / joins - (sums[-1] - sums[:-1]) / (size - joins)
    stretches = joins * (size - joins) / (size * EVEN)
    telling = np.minimum(joins, size - joins) >= TELLING
    return np.where(telling, stretches * step**2 / (2 * SPREAD**2), 0.0)


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
    meeting: set[frozenset[int]] = set()
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
                    meeting.add(frozenset((out[0], into[0])))
    return join_chains(chains, links, (), meeting)
