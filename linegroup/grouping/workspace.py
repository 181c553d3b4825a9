"""A field and what was already computed of it, so that trying other parameters costs milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.grouping.dbscan import neighbour_distances
from linegroup.grouping.engine.budget import allowance, settle
from linegroup.grouping.engine.tree import PointTree, build_tree
from linegroup.grouping.hdbscan import Reachability, span
from linegroup.sample import Field

T = TypeVar("T")

_POINTS = 8
"""Kinds of points that are kept, the last ones made: a tuning goes back and forth between some."""

_MEASURED = 10_000
"""Of more points so many or up to twice as many say how far apart neighbours are."""

_KEPT = 2
"""Things of a grouper's own that are kept, the last ones made: they may be as large as the picture many times over."""


@dataclass(frozen=True, eq=False)
class Points:
    """The candidates as points to be clustered. Trees and distances are made when first asked for, and kept.

    Attributes:
        features: `(N, D) float32`, all candidates.
        chosen: `(M,) int64`, ascending: those that are clustered. The others are assigned afterwards.
    """

    features: NDArray[np.float32]
    chosen: NDArray[np.int64]
    _kept: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.chosen)

    @cached_property
    def tree(self) -> PointTree:
        """The chosen ones; there is at least one."""
        return build_tree(self.features[self.chosen])

    def neighbour_distances(self, k: int, max_work: int | None) -> NDArray[np.float64]:
        """Distance of each to its k-th nearest other one, in no order; of very many, of some from all over."""
        found: NDArray[np.float64] = self._keep(("near", k), max_work, lambda w: self._measured(k, w))
        return found

    def _measured(self, k: int, work: NDArray[np.int64]) -> NDArray[np.float64]:
        distances = neighbour_distances(self.tree, k, work=work, most=_MEASURED)
        return distances[np.isfinite(distances)]

    def reachability(self, min_samples: int, max_work: int | None) -> Reachability:
        """HDBSCAN's spanning tree of the chosen ones."""
        found: Reachability = self._keep(
            ("span", min_samples), max_work, lambda w: span(self.tree, min_samples, work=w)
        )
        return found

    def _keep(self, key: Any, max_work: int | None, make: Callable[[NDArray[np.int64]], Any]) -> Any:
        """What was made before, if making it anew would be allowed; so `refit` answers as `fit` would."""
        if key not in self._kept:
            work = allowance(max_work)
            made = make(work)
            self._kept[key] = int(work[0]), made
        spent, kept = self._kept[key]
        work = allowance(max_work)
        work[0] = spent
        settle(work, "The clustering", len(self))
        return kept

    def sampled(self, count: int, seed: int) -> Points:
        """The same with at most `count` chosen, drawn at random."""
        if count >= len(self.chosen):
            return self
        drawn = np.random.default_rng(seed).choice(len(self.chosen), count, replace=False)
        return Points(self.features, self.chosen[np.sort(drawn)])


class Workspace:
    """What groupers work on: a field, and its points in the forms that the configurations asked for so far."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._points: dict[tuple[Any, ...], Points] = {}
        self._kept: dict[Any, Any] = {}

    def keep(self, key: Any, make: Callable[[], T]) -> T:
        """What a grouper made of the field before under this name of its own; made now, if it was not."""
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def points(self, config: GroupingConfig) -> Points:
        """The candidates as `config` wants them clustered: normalised, with positions, without crossings, sampled."""
        key = (
            config.l2_normalize,
            config.spatial_weight if config.use_spatial else None,
            config.crossing_threshold,
            config.max_candidate_points,
            config.seed,
        )
        if key not in self._points:
            while len(self._points) >= _POINTS:
                self._points.pop(next(iter(self._points)))
            apart = np.flatnonzero(self.field.crossing < config.crossing_threshold)
            points = Points(_features(self.field, config), apart)
            self._points[key] = points.sampled(config.max_candidate_points, config.seed)
        return self._points[key]


def _features(field: Field, config: GroupingConfig) -> NDArray[np.float32]:
    """`(N, D)` or, with the spatial term, `(N, D + 2)`; L2-normalised before that when the config says so."""
    features = field.features
    if config.l2_normalize:
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if config.use_spatial:
        features = np.concatenate([features, field.positions * np.float32(config.spatial_weight)], axis=1)
    return np.ascontiguousarray(features, dtype=np.float32)
