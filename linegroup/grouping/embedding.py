"""Groupers that cluster the embedding: by density, by persistence, by the margins it was trained with."""

from __future__ import annotations

import numpy as np

from linegroup.compiling import COMPILES
from linegroup.config import GroupingConfig, LossConfig
from linegroup.grouping.clustering import allowed, cluster_field, share_or_number
from linegroup.grouping.dbscan import Labels, cluster_tree, dbscan
from linegroup.grouping.hdbscan import extract
from linegroup.grouping.margin import margin_clusters
from linegroup.grouping.workspace import Points, Workspace
from linegroup.sample import Groups


def group_dbscan(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are DBSCAN clusters of the features."""
    return cluster_field(workspace, config, _dbscan)


def group_hdbscan(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are HDBSCAN clusters of the features; one single cluster is allowed."""
    return cluster_field(workspace, config, _hdbscan)


def group_margin(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are what the discriminative loss promises: balls of one radius, far apart."""
    return cluster_field(workspace, config, _margin)


def density_parameters(points: Points, config: GroupingConfig) -> tuple[float, int]:
    """`eps` and `min_samples` for so many points."""
    eps = auto_eps(points, config) if config.auto_eps else config.eps
    return eps, share_or_number(config.min_samples, len(points))


def persistence_parameters(points: Points, config: GroupingConfig) -> tuple[int, int]:
    """`min_cluster_size` and `min_samples` for so many points."""
    samples = min(share_or_number(config.min_samples, len(points)), len(points) - 1)
    return max(2, share_or_number(config.min_cluster_size, len(points))), max(1, samples)


def auto_eps(points: Points, config: GroupingConfig) -> float:
    """The `auto_eps_q` quantile of the distance to the `auto_eps_k`-th neighbour; at least a millionth."""
    k = min(config.auto_eps_k, len(points) - 1)
    if k < 1:
        return config.eps
    distances = points.neighbour_distances(k, allowed(config))
    return max(float(np.quantile(distances, config.auto_eps_q)), 1e-6)


def _dbscan(points: Points, config: GroupingConfig) -> Labels:
    eps, min_samples = density_parameters(points, config)
    if not COMPILES:
        return dbscan(points.features[points.chosen], eps, min_samples)
    return cluster_tree(points.tree, eps, min_samples, max_work=allowed(config))[0]


def _hdbscan(points: Points, config: GroupingConfig) -> Labels:
    smallest, samples = persistence_parameters(points, config)
    if len(points) < smallest:
        return np.full(len(points), -1, dtype=np.int64)
    found = extract(
        points.reachability(samples, allowed(config)),
        smallest,
        config.cluster_selection_epsilon,
        allow_single_cluster=True,
    )
    return found.labels


def _margin(points: Points, config: GroupingConfig) -> Labels:
    usual = LossConfig()
    bandwidth, margin = config.bandwidth or usual.delta_v, config.margin or usual.delta_d
    return margin_clusters(
        points.features[points.chosen], bandwidth, margin, config.min_pixels, max_work=allowed(config)
    )
