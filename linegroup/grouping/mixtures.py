"""Colour baselines that count lines by a criterion: k-means and Gaussian mixtures on Lab, k by BIC.

scikit-learn is imported when it is called: that takes a second, which every start of every command would pay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import empty_groups, finish
from linegroup.grouping.workspace import Workspace
from linegroup.sample import Field, Groups

Array = NDArray[Any]

_SAMPLE = 1000
"""Pixels that the mixtures are fitted to."""

_ROUNDS = 25
"""Of fitting one mixture: noise, which has no clusters, would take all that are allowed."""

_PATIENCE = 3
"""So many more clusters are tried than the best number so far: beyond, BIC does no better."""

_NOISE = 2.0
"""Smallest spread of a cluster in Lab: below it colours differ by rounding, and BIC would count the rounding."""


def group_kmeans(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are k-means clusters of Lab colour, and of position with `use_spatial`."""
    return _group(workspace.field, config, _fit_kmeans)


def group_gmm(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are components of a Gaussian mixture of Lab colour, and of position with `use_spatial`."""
    return _group(workspace.field, config, _fit_gmm)


Fitted = tuple[float, Callable[[Array], Array]]
"""BIC and what names each point's cluster."""


def _group(field: Field, config: GroupingConfig, fit: Callable[[Array, int, int], Fitted]) -> Groups:
    from sklearn.exceptions import ConvergenceWarning

    if not len(field):
        return empty_groups(0)
    points = field.colour.astype(np.float64)
    if config.use_spatial:
        points = np.concatenate([points, field.positions * config.spatial_weight], axis=1)
    random = np.random.default_rng(config.seed)
    count = min(len(points), _SAMPLE)
    sample = points[np.sort(random.choice(len(points), count, replace=False))]
    # Rounded colours lie on a lattice, with which no density is to be fitted.
    sample = sample + random.normal(scale=_NOISE / 2, size=sample.shape)
    most = min(config.most_clusters, len(np.unique(sample, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        named = _best(lambda k: fit(sample, k, config.seed), most)
    return finish(named(points).astype(np.int64), field.colour, config)


def _best(fit: Callable[[int], Fitted], most: int) -> Callable[[Array], Array]:
    """What names the clusters of the number, 1 to `most`, with the least BIC."""
    best, (least, named) = 1, fit(1)
    for k in range(2, most + 1):
        if k > best + _PATIENCE:
            break
        criterion, names = fit(k)
        if criterion < least:
            best, least, named = k, criterion, names
    return named


def _fit_kmeans(sample: Array, k: int, seed: int) -> Fitted:
    """BIC of k equal round Gaussians (Pelleg and Moore 2000)."""
    from sklearn.cluster import KMeans

    model = KMeans(k, n_init=3, random_state=seed).fit(sample)
    count, dimensions = sample.shape
    variance = max(model.inertia_ / (dimensions * max(count - k, 1)), _NOISE**2)
    sizes = np.bincount(model.labels_, minlength=k)
    sizes = sizes[sizes > 0]
    likelihood = (
        float((sizes * np.log(sizes / count)).sum())
        - count * dimensions / 2 * np.log(2 * np.pi * variance)
        - model.inertia_ / (2 * variance)
    )
    parameters = k * dimensions + k
    return parameters * np.log(count) - 2 * likelihood, model.predict


def _fit_gmm(sample: Array, k: int, seed: int) -> Fitted:
    from sklearn.mixture import GaussianMixture

    if len(sample) < 2:
        return 0.0, lambda points: np.zeros(len(points), dtype=np.int64)
    model = GaussianMixture(k, reg_covar=_NOISE**2, max_iter=_ROUNDS, random_state=seed).fit(sample)
    return float(model.bic(sample)), model.predict
