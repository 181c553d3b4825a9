"""Clusters by the margins of the discriminative loss (De Brabandere et al. 2017, section 3.3).

Where that loss is zero, every pixel lies within `delta_v` of the mean of its line and means lie at least
`2 · delta_d` apart. So there is nothing to be tuned: find a dense spot, shift to its mean (Comaniciu and
Meer 2002), take everything up to half way to where the next mean may be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.engine.budget import allowance, settle
from linegroup.grouping.engine.tree import LANES

Array = NDArray[Any]

MOST = 2_000
"""So many places are looked at for a cluster."""

_SAMPLE = 1024
"""Points among which the densest spot is looked for."""

_SHIFTS = 20
"""Steps of a mean shift; it ends much sooner where there are clusters at all."""


def margin_clusters(
    features: NDArray[np.float32], bandwidth: float, margin: float, least: int, *, max_work: int | None = None
) -> NDArray[np.int64]:
    """Labels `(N,)` of points `(N, D)`, -1 = further than `margin` from every cluster's mean.

    Args:
        features: Finite.
        bandwidth: Radius of a cluster around its mean (`delta_v`).
        margin: Half the distance between means (`delta_d`); points up to so far from a mean are of it.
        least: Smaller clusters are none.
        max_work: Steps allowed, of 32 points held against a mean each; None: all.

    Raises:
        WorkExceeded: more than `max_work` would be needed.
    """
    # Around the mean and in double precision: distances are differences, not what rounding left of large squares.
    features = features.astype(np.float64)
    features -= features.mean(axis=0) if len(features) else 0
    centres = _centres(features, bandwidth, margin, least, allowance(max_work))
    labels = np.full(len(features), -1, dtype=np.int64)
    if not len(centres):
        return labels
    nearest = np.full(len(features), margin**2)
    for k, centre in enumerate(centres):
        away = _squared(features, centre)
        closer = (away < nearest) | ((away == nearest) & (labels < 0))
        labels[closer], nearest[closer] = k, away[closer]
    return labels


def _centres(features: Array, bandwidth: float, margin: float, least: int, work: NDArray[np.int64]) -> list[Array]:
    """Means of the clusters, the densest of a sample first; a new sample until what is left holds none.

    After `MOST` places nothing more is looked for: no picture has as many lines.
    """
    centres: list[Array] = []
    left = np.arange(len(features))
    found, tried = True, 0
    while found and len(left) >= least and tried < MOST:
        found = False
        sample = features[left[:: -(-len(left) // _SAMPLE)]]
        near = _pairwise(sample) <= bandwidth**2
        np.fill_diagonal(near, val=True)
        # Ones and zeros: a product of matrices counts them, exactly.
        counted = near.astype(np.float32)
        free = np.ones(len(sample), dtype=np.bool_)
        points = features[left]
        while free.any() and len(left) >= least and tried < MOST:
            tried += 1
            dense = int(np.argmax(np.where(free, counted @ free.astype(np.float32), -1)))
            work[0] += _SHIFTS * (len(left) // LANES + 1)
            settle(work, "The margin decoder", len(features))
            start = sample[near[dense] & free].mean(axis=0)
            centre = _shift(points, start, margin, -(-len(points) // (8 * _SAMPLE)))
            inside = _squared(points, centre) <= margin**2
            free &= ~near[dense]
            if inside.sum() < least:
                continue
            found = True
            left, points = left[~inside], points[~inside]
            free &= _squared(sample, centre) > margin**2
            # Means nearer than half of what is promised are one cluster that is no ball.
            if not centres or (np.linalg.norm(np.array(centres) - centre, axis=1) >= margin).all():
                centres.append(centre)
    return centres


@compiled
def _shift(features: Array, centre: Array, margin: float, step: int) -> Array:
    """The mean of every step-th of the points within `margin` of it, from a start on."""
    for _ in range(_SHIFTS):
        total = np.zeros(features.shape[1])
        count = 0
        for i in range(0, len(features), step):
            away = 0.0
            for d in range(features.shape[1]):
                away += (features[i, d] - centre[d]) ** 2
            if away <= margin**2:
                count += 1
                for d in range(features.shape[1]):
                    total[d] += features[i, d]
        if count == 0:
            return centre
        moved = total / count
        still = np.sqrt(((moved - centre) ** 2).sum()) < 1e-3 * margin
        centre = moved
        if still:
            break
    return centre


@compiled
def _squared(points: Array, centre: Array) -> Array:
    """Squared distances `(N,)` of points `(N, D)` from one."""
    away = np.empty(len(points))
    for i in range(len(points)):
        total = 0.0
        for d in range(points.shape[1]):
            step = points[i, d] - centre[d]
            total += step * step
        away[i] = total
    return away


def _pairwise(points: Array) -> Array:
    squares = np.einsum("nd,nd->n", points, points)
    return np.asarray(squares[:, None] + squares[None] - 2 * points @ points.T)
