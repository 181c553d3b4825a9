"""Chains that follow each other from left to right, as lines.

Which chain goes on in which is a path cover of least cost: every chain goes on in at most one, none runs back over
the columns of the one before, and the widths of all gaps add up to the least. It is found as an assignment (Kuhn
1955; SciPy), so the order of the chains does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from linegroup.grouping.chain import Chain
from linegroup.grouping.chains import Looks

COMMON, SLACK = 0.5, 4.0
"""A chain may lie over this share of the next one's columns, or of its own, and so many pixels more."""

DIFFERENT = 2.0
"""Chains whose embeddings cost as much are not one line."""

UNLIKE = 3.0
"""Chains whose marks are by so many nats likelier of two lines are not one."""

LINE, PART, PIECE = 0.3, 0.12, 0.05
"""Shares of the plot: chains of a line are as wide together as the first, one as the second, and each as the third."""

DASHED = 0.3
"""What it costs, in widths of the plot, if a solid chain goes on in gaps alone."""

CONCURRENT = 0.7
"""Share of its columns in which a row of chains must run beside another one to be a line of its own, in an ink that is
likely to be that of one line."""

TELLING = 40.0
"""Pixels from which on a chain tells how dashed it is."""

MOST = 1_000
"""Of more chains the longest are looked at: an ink with as many is no line, and the assignment takes n³ steps."""

_NEVER = 1e6


def gather(
    chains: Sequence[Chain], width: float, looks: Looks | None = None, *, alone: bool = True
) -> list[list[Chain]]:
    """Chains by line, the line with most ink first, its longest chain first; `[[]]` where there is no chain.

    Args:
        chains: Of one ink.
        width: Of the plot, in pixels.
        looks: What a model says of the ink.
        alone: Whether hardly anything else is drawn: then the ink may well be that of several lines.
    """
    if not chains:
        return [[]]
    score = np.array([max(np.ptp(c.points[:, 0]) + 1, 0.5 * len(c.points)) for c in chains])
    least = max(width, float(score.max()))
    order = np.argsort(-score, kind="stable")
    kept = [chains[k] for k in order[score[order] >= PIECE * least][:MOST]]
    if not kept:
        return [[]]
    score = np.sort(score)[::-1]
    rows = _rows(_costs(kept, least, looks))
    wide = [score[row].sum() >= LINE * least and score[row].max() >= PART * least for row in rows]
    # The longest chain is that of a line in any case.
    rows = [row for row, enough in zip(rows, wide, strict=True) if enough or 0 in row]
    if not alone:
        rows = _merged(rows, kept)
    lines = [[kept[k] for k in sorted(row)] for row in rows]
    return sorted(lines, key=lambda line: -sum(len(chain.points) for chain in line))


def _merged(rows: list[list[int]], chains: Sequence[Chain]) -> list[list[int]]:
    """Rows of which one mostly runs where the other does not, as one: one line, interrupted."""
    first = np.array([chain.points[:, 0].min() for chain in chains]).astype(np.int64)
    last = np.array([chain.points[:, 0].max() for chain in chains]).astype(np.int64)
    left = int(first.min())
    covers = []
    for row in rows:
        cover = np.zeros(int(last.max()) - left + 1, dtype=np.bool_)
        for k in row:
            cover[first[k] - left : last[k] - left + 1] = True
        covers.append(cover)
    merged: list[tuple[list[int], NDArray[np.bool_]]] = []
    for k in sorted(range(len(rows)), key=lambda k: -int(covers[k].sum())):
        shares = [np.count_nonzero(cover & covers[k]) / np.count_nonzero(covers[k]) for _, cover in merged]
        if shares and min(shares) < CONCURRENT:
            row, cover = merged[int(np.argmin(shares))]
            row.extend(rows[k])
            cover |= covers[k]
        else:
            merged.append((list(rows[k]), covers[k].copy()))
    return [row for row, _ in merged]


def _rows(costs: NDArray[np.float64]) -> list[list[int]]:
    """Rows of numbers that follow each other, by `costs (n, n)` of one after the other; ending a row costs 1."""
    count = len(costs)
    ending = np.full((count, count), _NEVER)
    np.fill_diagonal(ending, 1.0)
    chosen = linear_sum_assignment(np.concatenate([costs, ending], axis=1))[1]
    follows = {k: int(next_one) for k, next_one in enumerate(chosen) if next_one < count}
    rows = []
    for first in sorted(set(range(count)) - set(follows.values())):
        rows.append([first])
        while rows[-1][-1] in follows:
            rows[-1].append(follows[rows[-1][-1]])
    return rows


def _costs(chains: Sequence[Chain], width: float, looks: Looks | None) -> NDArray[np.float64]:
    """`(n, n)`: what it costs that a chain (row) goes on in another one (column)."""
    first = np.array([chain.points[:, 0].min() for chain in chains])
    last = np.array([chain.points[:, 0].max() for chain in chains])
    wide = last - first + 1
    ends = np.array([sorted((chain.points[0].tolist(), chain.points[-1].tolist())) for chain in chains])
    over = last[:, None] - first + 1
    after = (first + last)[:, None] < first + last
    after &= over <= COMMON * np.minimum(wide[:, None], wide) + SLACK
    costs = (np.linalg.norm(ends[:, None, 1] - ends[None, :, 0], axis=-1) + np.maximum(over, 0)) / width
    length = np.array([len(chain.points) for chain in chains])
    gaps = np.array([sum(chain.gaps) for chain in chains])
    telling = np.minimum(length / TELLING, 1)
    dashed = gaps / (length + gaps)
    costs += DASHED * np.abs(dashed[:, None] - dashed) * telling[:, None] * telling
    if looks is not None:
        one, other = np.nonzero(after)
        if looks.marks is not None:
            marks = np.concatenate([looks.marks.counts(c.points, np.array([0, len(c.points)])) for c in chains])
            after[one, other] = looks.marks.apart(marks[one], marks[other]) < UNLIKE
            one, other = np.nonzero(after)
        means = np.array([looks.mean(chain.points) for chain in chains])
        after[one, other] = looks.cost(means[one], means[other]) < DIFFERENT
    return np.where(after, costs, _NEVER)
