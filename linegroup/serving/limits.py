"""What one picture may cost, whatever the client asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from linegroup.config import GroupingConfig

SLOW_METHODS: Mapping[str, int] = MappingProxyType({"sklearn_dbscan": 3_000, "hdbscan_library": 3_000})
"""Most points of groupers that `max_work` does not bound: their time and memory grow with the pairs of points."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one picture.

    Attributes:
        max_candidate_points: Of more candidates a sample is clustered.
        max_work: Steps of a clustering (see `GroupingConfig.max_work`).
        max_lines: Most lines that are traced for one picture.
    """

    max_candidate_points: int = 200_000
    max_work: int = 20_000_000
    max_lines: int = 2_000


def within(grouping: GroupingConfig, limits: Limits) -> tuple[GroupingConfig, tuple[str, ...]]:
    """The settings within the limits, and nothing to tell where that changes nothing that was asked for."""
    points = min(grouping.max_candidate_points, limits.max_candidate_points)
    points = min(points, SLOW_METHODS.get(grouping.method, points))
    work = min(grouping.max_work or limits.max_work, limits.max_work)
    changed = grouping.model_copy(update={"max_candidate_points": points, "max_work": work, "over_work": "sample"})
    return changed, ()
