"""DBSCAN (Ester et al. 1996): dense neighbourhoods that touch are one line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.compiling import compiled
from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import Features, Labels, cluster_field, share_or_number
from linegroup.sample import Field, Groups


def group_dbscan(field: Field, config: GroupingConfig) -> Groups:
    """Lines are DBSCAN clusters of the features."""
    return cluster_field(field, config, _cluster)


def _cluster(features: Features, config: GroupingConfig) -> Labels:
    eps = auto_eps(features, config) if config.auto_eps else config.eps
    return dbscan(features, eps, share_or_number(config.min_samples, len(features)))


def auto_eps(features: Features, config: GroupingConfig) -> float:
    """The `auto_eps_q` quantile of the distance to the `auto_eps_k`-th neighbour; at least a millionth."""
    k = min(config.auto_eps_k, len(features) - 1)
    if k < 1:
        return config.eps
    distance = cKDTree(features).query(features, k=[k + 1])[0]
    return max(float(np.quantile(distance, config.auto_eps_q)), 1e-6)


def dbscan(features: Features, eps: float, min_samples: int) -> Labels:
    """Labels `(N,)` of points `(N, D)`: exact, Euclidean, equal to scikit-learn's `labels_`, numbering included.

    Points are sorted along their widest axis, so that neighbours lie in a window of it. Neighbour lists
    are never kept, so memory is linear in N; counting stops at `min_samples`, and pairs that are joined
    already are not measured. Distances are summed in float64.

    Args:
        features: Finite points.
        eps: Points at most this far apart are neighbours.
        min_samples: A point with so many neighbours, itself included, is a core point.
    """
    axis = int(np.argmax(np.ptp(features, axis=0)))
    order = np.argsort(features[:, axis], kind="stable")
    points = np.ascontiguousarray(features[order], dtype=np.float64)
    along = points[:, axis].copy()
    core = _core_points(points, along, eps, min_samples)
    parent = _join_core(points, along, core, eps)
    labels = np.full(len(points), -1, dtype=np.int64)
    # scikit-learn numbers clusters by their smallest core point.
    where = np.flatnonzero(core)
    original = np.full(len(points), len(points), dtype=np.int64)
    np.minimum.at(original, parent[where], order[where])
    roots = np.unique(parent[where])
    rank = np.empty(len(points), dtype=np.int64)
    rank[roots[np.argsort(original[roots])]] = np.arange(len(roots))
    labels[where] = rank[parent[where]]
    _label_border(points, along, core, labels, eps)
    answer = np.empty_like(labels)
    answer[order] = labels
    return answer


@compiled
def _near(points: NDArray[np.float64], i: int, j: int, eps: float) -> bool:
    total = 0.0
    for d in range(points.shape[1]):
        total += (points[i, d] - points[j, d]) ** 2
    return bool(total <= eps * eps)


@compiled
def _core_points(
    points: NDArray[np.float64], along: NDArray[np.float64], eps: float, min_samples: int
) -> NDArray[np.bool_]:
    """Which points have `min_samples` neighbours; looks outwards from each point and stops early."""
    n = len(points)
    core = np.zeros(n, dtype=np.bool_)
    for i in range(n):
        found = 1
        for step in (-1, 1):
            j = i + step
            while found < min_samples and 0 <= j < n and abs(along[j] - along[i]) <= eps:
                found += _near(points, i, j, eps)
                j += step
        core[i] = found >= min_samples
    return core


@compiled
def _join_core(
    points: NDArray[np.float64], along: NDArray[np.float64], core: NDArray[np.bool_], eps: float
) -> NDArray[np.int64]:
    """Root of each point in a union-find of the core points, neighbours joined."""
    n = len(points)
    parent = np.arange(n)
    for i in range(n):
        if not core[i]:
            continue
        root = _find(parent, i)
        j = i + 1
        while j < n and along[j] - along[i] <= eps:
            if core[j] and parent[j] != root:
                other = _find(parent, j)
                if other != root and _near(points, i, j, eps):
                    # The larger joins the smaller: roots are stable however the pairs come.
                    root, other = min(root, other), max(root, other)
                    parent[other] = root
            j += 1
    for i in range(n):
        parent[i] = _find(parent, i)
    return parent


@compiled
def _find(parent: NDArray[np.int64], i: int) -> int:
    root = i
    while parent[root] != root:
        root = parent[root]
    while parent[i] != root:
        parent[i], i = root, parent[i]
    return root


@compiled
def _label_border(
    points: NDArray[np.float64],
    along: NDArray[np.float64],
    core: NDArray[np.bool_],
    labels: NDArray[np.int64],
    eps: float,
) -> None:
    """Points near a core point take the smallest label among those near."""
    n = len(points)
    for i in range(n):
        if core[i]:
            continue
        for step in (-1, 1):
            j = i + step
            while 0 <= j < n and abs(along[j] - along[i]) <= eps:
                if core[j] and (labels[i] < 0 or labels[j] < labels[i]) and _near(points, i, j, eps):
                    labels[i] = labels[j]
                j += step
