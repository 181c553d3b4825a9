"""HDBSCAN (Campello, Moulavi and Sander 2013): clusters that persist over all densities."""

from __future__ import annotations

import numpy as np
from hdbscan import HDBSCAN

from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import Features, Labels, cluster_field, share_or_number
from linegroup.sample import Field, Groups


def group_hdbscan(field: Field, config: GroupingConfig) -> Groups:
    """Lines are HDBSCAN clusters of the features; one single cluster is allowed."""
    return cluster_field(field, config, _cluster)


def _cluster(features: Features, config: GroupingConfig) -> Labels:
    smallest = max(2, share_or_number(config.min_cluster_size, len(features)))
    if len(features) < smallest:
        return np.full(len(features), -1, dtype=np.int64)
    samples = min(share_or_number(config.min_samples, len(features)), len(features) - 1)
    model = HDBSCAN(
        min_cluster_size=smallest,
        min_samples=max(1, samples),
        cluster_selection_epsilon=config.cluster_selection_epsilon,
        allow_single_cluster=True,
        approx_min_span_tree=False,
        core_dist_n_jobs=1,
    )
    return np.asarray(model.fit_predict(features.astype(np.float64)), dtype=np.int64)
