"""What every grouper by clustering shares: which points, what becomes of the rest, numbering."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.errors import UserError
from linegroup.grouping.crossings import share_crossings
from linegroup.grouping.dbscan import Labels
from linegroup.grouping.engine.budget import WorkExceeded
from linegroup.grouping.engine.neighbours import nearest_labels
from linegroup.grouping.engine.tree import build_tree
from linegroup.grouping.workspace import Points, Workspace
from linegroup.sample import Groups

LEAST_SAMPLES = 20
"""Smallest number that a share of the candidates may come to."""

Clustering = Callable[[Points, GroupingConfig], Labels]
"""Labels `(M,)` of the chosen points, -1 = noise."""

_log = logging.getLogger(__name__)


def cluster_field(workspace: Workspace, config: GroupingConfig, cluster: Clustering) -> Groups:
    """Group a field by clustering its features.

    Candidates that are crossings are left out and given to the lines around them afterwards, to several
    where several run through. Of more than `max_candidate_points` a seeded sample is clustered; each of the
    others goes the way of the sampled point nearest to it in the features, noise included.

    Raises:
        UserError: the field has no features, because there is no model.
        WorkExceeded: the clustering needs more than `max_work`, and `over_work` is "error".
    """
    field = workspace.field
    if not field.features.shape[1]:
        raise UserError(
            "This grouper clusters embeddings and needs a model; without one choose link, colour or components."
        )
    points = workspace.points(config)
    if not len(points):
        return empty_groups(len(field))
    notes: tuple[str, ...] = ()
    try:
        found = cluster(points, config)
    except WorkExceeded:
        if config.over_work == "error":
            raise
        # So many points cannot need more than the allowance, however they lie.
        whole, points = points, points.sampled(isqrt(2 * config.max_work), config.seed)
        notes = (f"{len(points)} of {len(whole)} candidates were clustered: all would exceed grouping.max_work.",)
        _log.warning("%s", notes[0])
        found = cluster(points, config.model_copy(update={"max_work": 0}))
    labels = np.full(len(field), -1, dtype=np.int64)
    labels[points.chosen] = found
    crossing = field.crossing >= config.crossing_threshold
    rest = ~crossing
    rest[points.chosen] = False
    if rest.any():
        labels[rest] = nearest_labels(points.tree, found + 1, points.features[rest]) - 1
    groups = finish(labels, points.features, config, points=points, settled=~crossing)
    return replace(share_crossings(field, groups, crossing), notes=notes)


def finish(
    labels: Labels,
    features: NDArray[np.float32],
    config: GroupingConfig,
    *,
    points: Points | None = None,
    settled: NDArray[np.bool_] | None = None,
) -> Groups:
    """Groups from cluster labels: small clusters become noise, noise is dropped or joins the nearest cluster.

    Lines are numbered by their first pixel in raster order. A line's score is the share of its pixels
    that it had before noise joined it.

    Args:
        labels: `(N,)`, -1 = noise.
        features: `(N, D)`, in which the nearest cluster is the nearest.
        config: `min_pixels` and `noise`.
        points: Those that were clustered, if their tree is to be used.
        settled: `(N,)`, False for pixels that stay without a line whatever `noise` says.
    """
    settled = np.ones(len(labels), dtype=np.bool_) if settled is None else settled
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    labels = np.where((labels >= 0) & (sizes[np.maximum(labels, 0)] >= config.min_pixels), labels, -1)
    sure = labels >= 0
    lost = ~sure & settled
    if config.noise == "assign" and sure.any() and lost.any():
        labels = labels.copy()
        known = labels if points is None else labels[points.chosen]
        # Of a sample others have labels, too, and may be nearer.
        if points is None or np.count_nonzero(known >= 0) < np.count_nonzero(sure):
            tree, known = build_tree(np.asarray(features, dtype=np.float32)), labels
        else:
            tree = points.tree
        labels[lost] = nearest_labels(tree, known, features[lost])
    return number_lines(labels, sure)


def share_or_number(value: float, count: int) -> int:
    """Below 1 a share of `count`, at least 20; else a number."""
    return max(LEAST_SAMPLES, round(value * count)) if value < 1 else int(value)


def allowed(config: GroupingConfig) -> int | None:
    """Steps that a clustering may take; None: as many as it needs."""
    return config.max_work or None


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
