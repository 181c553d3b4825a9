"""Scores of a partition against the truth, all from one table of how many pixels each pair of labels shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Contingency:
    """How two partitions of the same N pixels overlap; kept sparse.

    Attributes:
        counts: `(n,) int64`, pixels of each pair of labels that occurs.
        rows: `(n,) int64`, the pair's line of truth, in [0, row_sums).
        columns: `(n,) int64`, the pair's predicted group, in [0, column_sums).
        row_sums: `(R,) int64`, pixels of each line of truth.
        column_sums: `(C,) int64`, pixels of each predicted group; each noise pixel is a group of its own.
    """

    counts: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    row_sums: NDArray[np.int64]
    column_sums: NDArray[np.int64]

    @property
    def total(self) -> int:
        """N, number of pixels."""
        return int(self.counts.sum())


def contingency(truth: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> Contingency:
    """The table of two labellings `(N,)`; predicted 0 is noise, and every noise pixel a group of its own.

    Otherwise a prediction that leaves one of two lines out altogether would count as perfect: all its
    noise would look like one well-found group.
    """
    predicted = predicted.astype(np.int64)
    noise = predicted == 0
    predicted = np.where(noise, predicted.max(initial=0) + np.cumsum(noise), predicted)
    rows_of, rows = np.unique(truth, return_inverse=True)
    columns_of, columns = np.unique(predicted, return_inverse=True)
    pairs, counts = np.unique(rows.astype(np.int64) * len(columns_of) + columns, return_counts=True)
    width = max(1, len(columns_of))
    return Contingency(
        counts.astype(np.int64),
        pairs // width,
        pairs % width,
        np.bincount(rows, minlength=len(rows_of)),
        np.bincount(columns, minlength=len(columns_of)),
    )


def adjusted_rand_index(table: Contingency) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) in [-0.5, 1]; 1 for identical partitions and for N < 2."""
    both, truth, predicted, every = _pairs(table)
    expected = truth * predicted / every if every else 0.0
    best = (truth + predicted) / 2
    if best == expected:  # both partitions are all singletons or all one group
        return 1.0
    return (both - expected) / (best - expected)


def pair_scores(table: Contingency) -> tuple[float, float, float]:
    """Precision, recall and F1 of the statement "these two pixels are on one line", over all pairs of pixels.

    Without pairs to find, recall is 1; without pairs claimed, precision is 1.
    """
    both, truth, predicted, _ = _pairs(table)
    precision = both / predicted if predicted else 1.0
    recall = both / truth if truth else 1.0
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def variation_of_information(table: Contingency) -> tuple[float, float]:
    """Splits H(predicted | truth) and merges H(truth | predicted) in bits (Meilă 2007); their sum is VI."""
    n = table.total
    if n == 0:
        return 0.0, 0.0
    p = table.counts / n
    splits = -(p * np.log2(table.counts / table.row_sums[table.rows])).sum()
    merges = -(p * np.log2(table.counts / table.column_sums[table.columns])).sum()
    return float(max(0.0, splits)), float(max(0.0, merges))


def _pairs(table: Contingency) -> tuple[float, float, float, float]:
    def pairs(sizes: NDArray[np.int64]) -> float:
        # Whole numbers: sums of floats would round, and 64 bits hold the pairs of any picture.
        return float((sizes * (sizes - 1) // 2).sum())

    n = table.total
    return pairs(table.counts), pairs(table.row_sums), pairs(table.column_sums), n * (n - 1) / 2
