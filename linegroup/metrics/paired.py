"""Whether one of two methods is better on the same pictures: the mean of the differences with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
"""Enough for the narrow tails of intervals that hold for many tags together."""

_AT_ONCE = 4_000_000
"""Numbers drawn at once, to bound memory."""


@dataclass(frozen=True)
class PairedGain:
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
    groups: Sequence[str] | None = None,
    lower_is_better: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> PairedGain:
    """Mean difference with its percentile bootstrap interval (Efron 1979) over resampled groups of pictures.

    Of few groups it is too narrow, the more so at a high level: docs/registry.md has figures.

    Pictures differ much more than methods do: the difference on each picture leaves that out, so that far
    fewer pictures tell than with two intervals side by side.

    Args:
        first: `(N,)` scores of one method.
        second: `(N,)` scores of the other on the same pictures in the same order.
        groups: `(N,)` the document of each picture: pictures of one are alike, and are drawn together. None: each is
            its own.
        lower_is_better: Whether a smaller score is a gain.
        level: Of the interval, in (0, 1).
        seed: Of the resampling.

    Raises:
        ValueError: there are not as many scores of one as of the other, or groups.
    """
    if len(first) != len(second) or (groups is not None and len(groups) != len(first)):
        raise ValueError(f"Pairs need as many scores of both, and groups; got {len(first)} and {len(second)}.")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    known = np.isfinite(difference)
    names = np.arange(len(difference)) if groups is None else np.asarray(groups, dtype=object)
    difference, names = difference[known] * (-1 if lower_is_better else 1), names[known]
    if not len(difference):
        return PairedGain(float("nan"), float("nan"), float("nan"), 0)
    low, high = np.quantile(_means(difference, names, seed), [(1 - level) / 2, (1 + level) / 2])
    return PairedGain(float(difference.mean()), float(low), float(high), len(difference))


def _means(values: NDArray[np.float64], names: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """`(RESAMPLES,)` means over as many groups as there are, drawn with replacement."""
    # By first appearance, so that the names themselves change nothing.
    number = {name: i for i, name in enumerate(dict.fromkeys(names.tolist()))}
    group = np.array([number[name] for name in names.tolist()])
    sums, sizes = np.bincount(group, values), np.bincount(group)
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(sums))
    parts = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, len(sums), size=(min(rows, RESAMPLES - start), len(sums)))
        parts.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(parts)
