"""The libraries' own clustering, to compare with and to fall back on: the same results, more time and memory.

They are imported when they are called: that takes a second, which every start of every command would pay.
"""

from __future__ import annotations

import numpy as np

from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import cluster_field
from linegroup.grouping.dbscan import Labels
from linegroup.grouping.embedding import density_parameters, persistence_parameters
from linegroup.grouping.workspace import Points, Workspace
from linegroup.sample import Groups


def group_sklearn_dbscan(workspace: Workspace, config: GroupingConfig) -> Groups:
    """As `dbscan`, by scikit-learn; its memory grows with the number of pairs of neighbours."""
    return cluster_field(workspace, config, _sklearn_dbscan)


def group_hdbscan_library(workspace: Workspace, config: GroupingConfig) -> Groups:
    """As `hdbscan`, by the package of that name."""
    return cluster_field(workspace, config, _hdbscan_library)


def _sklearn_dbscan(points: Points, config: GroupingConfig) -> Labels:
    from sklearn.cluster import DBSCAN

    eps, min_samples = density_parameters(points, config)
    model = DBSCAN(eps=eps, min_samples=min_samples, algorithm="kd_tree")
    return np.asarray(model.fit(points.features[points.chosen].astype(np.float64)).labels_, dtype=np.int64)


def _hdbscan_library(points: Points, config: GroupingConfig) -> Labels:
    from hdbscan import HDBSCAN

    smallest, samples = persistence_parameters(points, config)
    if len(points) < smallest:
        return np.full(len(points), -1, dtype=np.int64)
    model = HDBSCAN(
        min_cluster_size=smallest,
        min_samples=samples,
        cluster_selection_epsilon=config.cluster_selection_epsilon,
        allow_single_cluster=True,
        approx_min_span_tree=False,
        core_dist_n_jobs=1,
    )
    return np.asarray(model.fit_predict(points.features[points.chosen].astype(np.float64)), dtype=np.int64)
