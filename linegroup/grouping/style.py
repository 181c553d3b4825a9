"""The style of a chain: how often its ink is interrupted, and where along it that changes.

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
"""A chain with fewer gaps has no style that could change."""

Numbers = NDArray[Any]


def description(length: Numbers, gaps: Numbers) -> Numbers:
    """Nats that tell where the gaps of chains are, so many in so many pixels."""
    rate = np.maximum(gaps, 1) / np.maximum(length, np.maximum(gaps, 1))
    return np.asarray(gaps * (1 - np.log(rate)))


def misfit(lengths: tuple[Numbers, Numbers], gaps: tuple[Numbers, Numbers]) -> Numbers:
    """Nats more that two chains take if they are of one style; 0 where they are interrupted equally often."""
    apart = description(lengths[0], gaps[0]) + description(lengths[1], gaps[1])
    return np.asarray(description(lengths[0] + lengths[1], gaps[0] + gaps[1]) - apart)


def cut_at_changes(chain: Chain) -> list[Chain]:
    """The chain, cut between strokes wherever its style changes.

    A chain that ran into another line in its middle is dashed up to there, say, and solid from there on.
    """
    if chain.closed or len(chain.gaps) < FEW:
        return [chain]
    joins = np.array(chain.joins)
    begins = np.cumsum(chain.dashes)[:-1]
    before = np.searchsorted(begins, joins, side="left")
    after = len(begins) - np.searchsorted(begins, joins, side="right")
    size = len(chain.points)
    saved = misfit((joins, size - joins), (before, after))
    best = int(np.argmax(saved))
    if saved[best] < CHANGE + np.log(len(joins)):
        return [chain]
    return [part for half in chain.cut(int(joins[best])) for part in cut_at_changes(half)]


def mend(chains: Sequence[Chain], cuts: Sequence[Sequence[Chain]]) -> list[Chain]:
    """The chains, joined again where they were cut and neither end has found another one.

    Args:
        chains: Made of the parts.
        cuts: Parts that were one chain, in order.
    """
    firsts = {tuple(chain.points[0]): 2 * k for k, chain in enumerate(chains)}
    lasts = {tuple(chain.points[-1]): 2 * k + 1 for k, chain in enumerate(chains)}
    links: list[tuple[int, int]] = []
    taken: set[int] = set()
    for parts in cuts:
        for one, other in pairwise(parts):
            leaving, entered = tuple(one.points[-1]), tuple(other.points[0])
            # Their chains may have been turned round since.
            a, b = lasts.get(leaving, firsts.get(leaving)), firsts.get(entered, lasts.get(entered))
            if a is not None and b is not None and a // 2 != b // 2 and not {a, b} & taken:
                links.append((a, b))
                taken |= {a, b}
    return join_chains(chains, links)
