"""DBSCAN (Ester et al. 1996): dense neighbourhoods that touch are one cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import COMPILES
from linegroup.errors import UserError
from linegroup.grouping.engine.budget import allowance, settle
from linegroup.grouping.engine.density import core_points, join_core, label_border
from linegroup.grouping.engine.neighbours import kth_distances
from linegroup.grouping.engine.plain import plain_dbscan
from linegroup.grouping.engine.tree import TINY, PointTree, build_tree, checked_points

Labels = NDArray[np.int64]
"""`(N,)`, -1 = noise, 0..K-1 = clusters, as scikit-learn has it."""


def dbscan(features: NDArray[Any], eps: float, min_samples: int, *, max_work: int | None = None) -> Labels:
    """Labels `(N,)` of points `(N, D)`: exact, Euclidean, identical to scikit-learn's `labels_`.

    The oracle is `sklearn.cluster.DBSCAN(eps, min_samples, algorithm="kd_tree")`, numbering included:
    clusters by their first core point, and a point that borders on several is of the first of them. Every
    decision equals `sum((double)x - (double)y)² <= eps²`; scikit-learn judges some pairs by the root, so the
    two may differ where a distance rounds to `eps` while its square is another number than `eps²`. Memory is
    linear in N. Where numba cannot run, SciPy answers the same, more slowly.

    Args:
        features: Finite, float32 or float64.
        eps: Points at most this far apart are neighbours; above 0.
        min_samples: A point with so many neighbours, itself included, is a core point; at least 1.
        max_work: Steps allowed (see `engine/budget.py`); None: all.

    Raises:
        UserError: points that are not finite or not `(N, D)`, or parameters out of range.
        WorkExceeded: more than `max_work` would be needed.
    """
    return dbscan_core(features, eps, min_samples, max_work=max_work)[0]


def dbscan_core(
    features: NDArray[Any], eps: float, min_samples: int, *, max_work: int | None = None
) -> tuple[Labels, NDArray[np.bool_]]:
    """As `dbscan`, with the core flags `(N,) bool` beside the labels."""
    _check(eps, min_samples)
    points = checked_points(features)
    if not len(points):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_)
    if not COMPILES:
        return plain_dbscan(points, eps, min_samples)
    return cluster_tree(build_tree(points), eps, min_samples, max_work=max_work)


def cluster_tree(
    tree: PointTree, eps: float, min_samples: int, *, max_work: int | None = None
) -> tuple[Labels, NDArray[np.bool_]]:
    """As `dbscan_core`, on points that are in a tree already; answers are in their given order."""
    _check(eps, min_samples)
    work = allowance(max_work)
    count = len(tree.order)
    limits = _limits(tree, eps)
    core = core_points(tree, eps, limits, min_samples, work)
    settle(work, "DBSCAN", count)
    joined = join_core(tree, core, eps, limits, work)
    settle(work, "DBSCAN", count)
    labels = _number(tree, core, joined)
    label_border(tree, core, labels, eps, limits, work)
    settle(work, "DBSCAN", count)
    answer, flags = np.empty_like(labels), np.empty_like(core)
    answer[tree.order], flags[tree.order] = labels, core
    return answer, flags


def neighbour_distances(
    tree: PointTree, k: int, *, max_work: int | None = None, work: NDArray[np.int64] | None = None, most: int = 0
) -> NDArray[np.float64]:
    """`(N,)`, the distance from each point, in their given order, to its k-th nearest other one; 1 ≤ k < N.

    Its quantiles tell what `eps` may be. `work` (spent and allowed) may stand for `max_work`. Of more than `most`
    points, if that is given, so many to twice as many are measured, some of each place; the others are NaN.
    """
    work = allowance(max_work) if work is None else work
    squared = kth_distances(tree, k, work, max(1, len(tree.order) // most) if most else 1)
    settle(work, "The search for neighbours", len(squared))
    answer = np.empty_like(squared)
    answer[tree.order] = np.sqrt(squared)
    return answer


def _check(eps: float, min_samples: int) -> None:
    if not 0 < eps < np.inf:
        raise UserError(f"eps must be a finite number above 0; got {eps}.")
    if not 1 <= min_samples < 2**62:
        raise UserError(f"min_samples must be at least 1 and below 2^62; got {min_samples}.")


def _limits(tree: PointTree, eps: float) -> NDArray[Any]:
    """Bounds in the blocks' precision: squared distances surely within, not surely beyond, and radii surely within."""
    largest = 1e37 if tree.blocks.dtype == np.float32 else float(np.finfo(np.float64).max) / 2
    squared = min(float(eps) * float(eps), largest)
    within = squared * (1 - tree.band) - TINY
    # Where squares underflow nothing is sure: negative bounds leave every decision to the exact sum.
    sure = float(np.sqrt(within)) * (1 - 4 * tree.band) if within > 0 else -1.0
    return np.array([within, min(squared * (1 + tree.band) + TINY, largest), sure], dtype=tree.blocks.dtype)


def _number(tree: PointTree, core: NDArray[np.bool_], joined: NDArray[np.int64]) -> Labels:
    """Labels by position: those of core points, in the order of the first of them; -1 elsewhere."""
    labels = np.full(len(core), -1, dtype=np.int64)
    where = np.flatnonzero(core)
    first = np.full(len(core), len(core), dtype=np.int64)
    np.minimum.at(first, joined[where], tree.order[where])
    roots = np.flatnonzero(first < len(core))
    rank = np.empty(len(core), dtype=np.int64)
    rank[roots[np.argsort(first[roots])]] = np.arange(len(roots))
    labels[where] = rank[joined[where]]
    return labels
