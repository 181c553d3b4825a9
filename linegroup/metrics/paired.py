"""Whether one of two methods is better on the same pictures: the mean of the differences with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
"""Enough for the narrow tails of intervals that hold for many tags together."""

_AT_ONCE = 4_000_000
"""Numbers drawn at once, to bound memory."""


@dataclass(frozen=True)
class Gain:
    """What the first of two methods gains over the second; negative where it loses.

    Attributes:
        mean: Mean over the pictures that both have the score of; NaN where there are none.
        low: Lower end of its interval.
        high: Upper end.
        count: Number of these pictures.
    """

    mean: float
    low: float
    high: float
    count: int


def paired_gain(
    first: Sequence[float],
    second: Sequence[float],
    *,
    lower_is_better: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Gain:
    """Mean difference with its percentile bootstrap interval (Efron 1979) over resampled pictures.

    Pictures differ much more than methods do: the difference on each picture leaves that out, so that far
    fewer pictures tell than with two intervals side by side.

    Args:
        first: `(N,)` scores of one method.
        second: `(N,)` scores of the other on the same pictures in the same order.
        lower_is_better: Whether a smaller score is a gain.
        level: Of the interval, in (0, 1).
        seed: Of the resampling.

    Raises:
        ValueError: there are not as many scores of one as of the other.
    """
    if len(first) != len(second):
        raise ValueError(f"Pairs need as many scores of both; got {len(first)} and {len(second)}.")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    difference = difference[np.isfinite(difference)] * (-1 if lower_is_better else 1)
    if not len(difference):
        return Gain(float("nan"), float("nan"), float("nan"), 0)
    low, high = np.quantile(_means(difference, seed), [(1 - level) / 2, (1 + level) / 2])
    return Gain(float(difference.mean()), float(low), float(high), len(difference))


def _means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """`(RESAMPLES,)` means of as many values drawn with replacement."""
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(values))
    parts = [
        values[rng.integers(0, len(values), size=(min(rows, RESAMPLES - start), len(values)))].mean(axis=1)
        for start in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(parts)
