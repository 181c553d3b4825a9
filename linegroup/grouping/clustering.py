"""What every clustering grouper shares: features in, sampling, noise, numbering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.config import GroupingConfig
from linegroup.errors import UserError
from linegroup.sample import Field, Groups

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
"""`(N,)`, -1 = noise, 0..K-1 = clusters, as scikit-learn has it."""

LEAST_SAMPLES = 20
"""Smallest number that a share of the candidates may come to."""


def cluster_field(
    field: Field, config: GroupingConfig, cluster: Callable[[Features, GroupingConfig], Labels]
) -> Groups:
    """Group a field by clustering its features.

    More than `max_candidate_points` candidates are sampled (seeded); each of the others goes the way of
    the sampled point nearest to it in the features, noise included.

    Raises:
        UserError: the field has no features, because there is no model.
    """
    if not field.features.shape[1]:
        raise UserError(
            "This grouper clusters embeddings and needs a model; without one choose classical, colour or components."
        )
    if not len(field):
        return empty_groups(0)
    features = prepare_features(field, config)
    chosen = sample_points(len(field), config)
    labels = np.full(len(field), -1, dtype=np.int64)
    labels[chosen] = cluster(features[chosen], config)
    rest = np.setdiff1d(np.arange(len(field)), chosen, assume_unique=True)
    if len(rest):
        labels[rest] = labels[chosen][cKDTree(features[chosen]).query(features[rest])[1]]
    return finish(labels, features, config)


def prepare_features(field: Field, config: GroupingConfig) -> Features:
    """`(N, D)` or, with the spatial term, `(N, D + 2)`; L2-normalised before that when the config says so."""
    features = field.features
    if config.l2_normalize:
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if config.use_spatial:
        features = np.concatenate([features, field.positions * np.float32(config.spatial_weight)], axis=1)
    return np.ascontiguousarray(features, dtype=np.float32)


def sample_points(count: int, config: GroupingConfig) -> NDArray[np.int64]:
    """Ascending indices of the points to cluster: all, or `max_candidate_points` of them."""
    if count <= config.max_candidate_points:
        return np.arange(count)
    return np.sort(np.random.default_rng(config.seed).choice(count, config.max_candidate_points, replace=False))


def share_or_number(value: float, count: int) -> int:
    """Below 1 a share of `count`, at least 20; else a number."""
    return max(LEAST_SAMPLES, round(value * count)) if value < 1 else int(value)


def finish(labels: Labels, features: NDArray[Any], config: GroupingConfig) -> Groups:
    """Groups from cluster labels: small clusters become noise, noise is dropped or joins the nearest cluster.

    Lines are numbered by their first pixel in raster order. A line's score is the share of its pixels
    that the clustering itself put there.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    labels = np.where((labels >= 0) & (sizes[np.maximum(labels, 0)] >= config.min_pixels), labels, -1)
    sure = labels >= 0
    if config.noise == "assign" and sure.any() and not sure.all():
        labels = labels.copy()
        labels[~sure] = labels[sure][cKDTree(features[sure]).query(features[~sure])[1]]
    return number_lines(labels, sure)


def number_lines(labels: Labels, sure: NDArray[np.bool_]) -> Groups:
    """Labels -1 and any numbers → 0 and 1..K by first appearance."""
    numbers, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    lines = np.flatnonzero(numbers >= 0)
    rank = np.zeros(len(numbers), dtype=np.int32)
    rank[lines[np.argsort(first[lines], kind="stable")]] = np.arange(1, len(lines) + 1)
    renumbered = rank[inverse].astype(np.int32)
    total = np.bincount(renumbered, minlength=len(lines) + 1)[1:]
    certain = np.bincount(renumbered[sure], minlength=len(lines) + 1)[1:]
    return Groups(renumbered, (certain / np.maximum(total, 1)).astype(np.float32))


def empty_groups(count: int) -> Groups:
    """`count` pixels, none of them on a line."""
    return Groups(np.zeros(count, dtype=np.int32), np.zeros(0, dtype=np.float32))
