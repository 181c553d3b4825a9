"""HDBSCAN (Campello, Moulavi and Sander 2013): clusters that persist over all densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.grouping.engine.budget import allowance, settle
from linegroup.grouping.engine.hierarchy import condense, join_near, label_points, select_leaves, select_stable
from linegroup.grouping.engine.neighbours import kth_distances
from linegroup.grouping.engine.spanning import spanning_tree
from linegroup.grouping.engine.tree import PointTree, build_tree, checked_points


@dataclass(frozen=True, eq=False)
class Clusters:
    """What HDBSCAN answers.

    Attributes:
        labels: `(N,) int64`, -1 = noise, 0..K-1 = clusters in the order of their first point.
        probabilities: `(N,) float64` in [0, 1], how far into its cluster's densities a point stays; 0 for noise.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reachability:
    """A minimum spanning tree of mutual reachability: all that the density of points is needed for.

    Attributes:
        ends: `(N - 1, 2) int64`, indices of the points in the order in which they were given.
        lengths: `(N - 1,) float64`, ascending.
    """

    ends: NDArray[np.int64]
    lengths: NDArray[np.float64]


def hdbscan(
    features: NDArray[Any],
    min_cluster_size: int = 5,
    min_samples: int | None = None,
    cluster_selection_epsilon: float = 0.0,
    cluster_selection_method: Literal["eom", "leaf"] = "eom",
    *,
    allow_single_cluster: bool = False,
    max_work: int | None = None,
) -> Clusters:
    """Clusters of points `(N, D)`, Euclidean and exact.

    The oracle is `hdbscan.HDBSCAN(..., approx_min_span_tree=False)`, up to two things. Clusters are numbered
    by their first point. And where distances tie, merges at the same distance happen at once, so that the
    answer does not depend on the order of the points; that library takes them one by one, in an order of
    chance. Differences are only possible where distances or stabilities are equal (that library compares
    stabilities in single precision).

    Args:
        features: Finite, float32 or float64.
        min_cluster_size: Smallest cluster, at least 2.
        min_samples: The core distance is that to the so-manieth other point; None: as `min_cluster_size`.
        cluster_selection_epsilon: Clusters that part at less than this distance stay together.
        cluster_selection_method: "eom" (excess of mass) or "leaf".
        allow_single_cluster: Whether all points may be one cluster.
        max_work: Steps allowed (see `engine/budget.py`); None: all.

    Raises:
        UserError: points that are not finite or not `(N, D)`, or parameters out of range.
        WorkExceeded: more than `max_work` would be needed.
    """
    points = checked_points(features)
    samples = min_cluster_size if min_samples is None else min_samples
    _check_samples(samples)
    _check_extraction(min_cluster_size, cluster_selection_epsilon, cluster_selection_method)
    if len(points) < 2:
        return _all_noise(len(points))
    reachability = span(build_tree(points), samples, max_work=max_work)
    return extract(
        reachability,
        min_cluster_size,
        cluster_selection_epsilon,
        cluster_selection_method,
        allow_single_cluster=allow_single_cluster,
    )


def span(
    tree: PointTree, min_samples: int, *, max_work: int | None = None, work: NDArray[np.int64] | None = None
) -> Reachability:
    """The spanning tree of at least two points; the long part of HDBSCAN, the same for all other parameters.

    Args:
        tree: The points.
        min_samples: See `hdbscan`.
        max_work: Steps allowed; None: all.
        work: Spent and allowed, instead of `max_work`, for callers who want to know what was spent.

    Raises:
        UserError: `min_samples` below 1.
        WorkExceeded: more than `max_work` would be needed.
    """
    _check_samples(min_samples)
    work = allowance(max_work) if work is None else work
    count = len(tree.order)
    core = kth_distances(tree, min(min_samples, count - 1), work)
    settle(work, "HDBSCAN", count)
    ends, lengths = spanning_tree(tree, core, work)
    settle(work, "HDBSCAN", count)
    return Reachability(tree.order[ends], np.sqrt(lengths))


def extract(
    reachability: Reachability,
    min_cluster_size: int,
    cluster_selection_epsilon: float = 0.0,
    cluster_selection_method: Literal["eom", "leaf"] = "eom",
    *,
    allow_single_cluster: bool = False,
) -> Clusters:
    """The clusters of a spanning tree: milliseconds, so that parameters can be tried.

    Raises:
        UserError: `min_cluster_size` below 2, an `epsilon` below 0 or an unknown method.
    """
    _check_extraction(min_cluster_size, cluster_selection_epsilon, cluster_selection_method)
    tree = condense(reachability.ends, reachability.lengths, min_cluster_size)
    if cluster_selection_method == "leaf":
        chosen = select_leaves(tree)
    else:
        chosen = select_stable(tree, allow_single_cluster=allow_single_cluster)
    if cluster_selection_epsilon > 0:
        chosen = join_near(tree, chosen, cluster_selection_epsilon, allow_single_cluster=allow_single_cluster)
    return Clusters(*label_points(tree, chosen, cluster_selection_epsilon))


def _check_samples(min_samples: int) -> None:
    if min_samples < 1:
        raise UserError(f"min_samples must be at least 1; got {min_samples}.")


def _check_extraction(min_cluster_size: int, cluster_selection_epsilon: float, cluster_selection_method: str) -> None:
    if min_cluster_size < 2:
        raise UserError(f"min_cluster_size must be at least 2; got {min_cluster_size}.")
    if not cluster_selection_epsilon >= 0:
        raise UserError(f"cluster_selection_epsilon must be at least 0; got {cluster_selection_epsilon}.")
    if cluster_selection_method not in ("eom", "leaf"):
        raise UserError(f"cluster_selection_method must be eom or leaf; got {cluster_selection_method!r}.")


def _all_noise(count: int) -> Clusters:
    return Clusters(np.full(count, -1, dtype=np.int64), np.zeros(count))
