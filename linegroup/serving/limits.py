"""What one picture may cost, whatever the client asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from linegroup.config import GroupingConfig
from linegroup.errors import UserError
from linegroup.sample import Field, Groups

Size = tuple[int, int]

MOST_POINTS: Mapping[str, int] = MappingProxyType(
    {
        "dbscan": 60_000,
        "margin": 60_000,
        "hdbscan": 20_000,
        "colour": 80_000,
        "kmeans": 400_000,
        "gmm": 40_000,
        "sklearn_dbscan": 3_000,
        "hdbscan_library": 3_000,
    }
)
"""Candidates that a grouper does in about half a second; of more a sample is grouped. Those not named do all: their
pixels have to touch each other."""

MOST_NEIGHBOUR = 400
"""HDBSCAN looks no further than to the so-manieth neighbour: its time grows with points times neighbours."""

FOLLOWS_STROKES = frozenset({"link"})
"""Groupers whose time grows with the number of strokes rather than of pixels."""

_JUMP = 60
"""Difference of two colours, summed over the channels, that no soft edge of a line has at each of its pixels."""

_PIECE = 12
"""Pixels whose tracing takes as long as what each connected piece takes besides."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one picture.

    Attributes:
        max_candidate_points: Of more candidates a sample is clustered.
        max_work: Steps of a clustering (see `GroupingConfig.max_work`).
        max_lines: Most lines that are traced.
        max_candidates: Most candidates at all.
        max_jumps: Most neighbouring candidates of quite different colours where strokes are followed, in a picture of
            up to a megapixel; of larger ones in proportion.
        max_trace_work: Effort of tracing a picture of up to a megapixel, in pixels (about 5 μs); of larger ones in
            proportion.
    """

    max_candidate_points: int = 120_000
    max_work: int = 10_000_000
    max_lines: int = 1_000
    max_candidates: int = 4_000_000
    max_jumps: int = 500_000
    max_trace_work: int = 105_000

    def points_of(self, method: str) -> int | None:
        """Candidates that a grouper is given at most; None: all."""
        most = MOST_POINTS.get(method)
        return None if most is None else min(most, self.max_candidate_points)

    def check_candidates(self, count: int) -> None:
        """Refuse pages that are all ink.

        Raises:
            UserError: there are more candidates than are allowed.
        """
        if count > self.max_candidates:
            raise UserError(
                f"{count:,} pixels are candidates, at most {self.max_candidates:,} are grouped. Choose another"
                " candidate_method, such as non_background, or scale the picture down."
            )

    def check_texture(
        self, method: str, positions: NDArray[np.integer[Any]], rgb: NDArray[np.uint8], size: Size
    ) -> None:
        """Refuse to follow strokes through noise: `link` would look at each speck of each colour.

        Args:
            method: The grouper.
            positions: `(N, 2)`, candidates in raster order.
            rgb: `(N, 3)`, their colours.
            size: `(height, width)`.

        Raises:
            UserError: most pixels differ strongly from the next one.
        """
        if method not in FOLLOWS_STROKES or len(positions) < 2:
            return
        places = positions[:, 1].astype(np.int64) * size[1] + positions[:, 0]
        step = np.abs(np.diff(rgb.astype(np.int16), axis=0)).sum(axis=1)
        jumps = int(np.count_nonzero((step > _JUMP) & (np.diff(places) == 1)))
        if jumps > self.max_jumps * max(1.0, size[0] * size[1] / 1e6):
            raise UserError(
                "The picture is noise rather than lines: most of its pixels differ strongly from their neighbours."
                " Choose another clustering_method or candidate_method, or smooth the picture."
            )

    def check_lines(self, field: Field, groups: Groups) -> None:
        """Refuse to trace what no drawing of lines has: very many lines, dust, whole pages.

        Raises:
            UserError: more lines, or lines of more pieces and pixels, than are allowed.
        """
        if groups.count > self.max_lines:
            raise UserError(
                f"{groups.count:,} lines were found, at most {self.max_lines:,} are traced. Raise min_pixels, or choose"
                " another clustering_method or candidate_method."
            )
        pixels = int(np.count_nonzero(groups.labels)) + len(groups.shared)
        allowed = self.max_trace_work * max(1.0, field.size[0] * field.size[1] / 1e6)
        pieces = int(label(field.label_image(groups.labels), connectivity=2, return_num=True)[1])
        if pixels + _PIECE * pieces > allowed:
            raise UserError(
                f"The lines found are {pixels:,} pixels in {pieces:,} pieces, too many to be traced. Choose another"
                " candidate_method, such as non_background, or ask /v1/cluster, which does not trace."
            )


def within(grouping: GroupingConfig, limits: Limits) -> GroupingConfig:
    """The settings as they are used within the limits."""
    most = limits.points_of(grouping.method) or limits.max_candidate_points
    changes = {
        "max_candidate_points": min(grouping.max_candidate_points, most),
        "max_work": min(grouping.max_work or limits.max_work, limits.max_work),
        "over_work": "sample",
        "auto_eps_k": min(grouping.auto_eps_k, MOST_NEIGHBOUR),
    }
    if grouping.method in ("hdbscan", "hdbscan_library"):
        points = min(grouping.max_candidate_points, most)
        share = grouping.min_samples < 1
        changes["min_samples"] = min(grouping.min_samples, MOST_NEIGHBOUR / points if share else MOST_NEIGHBOUR)
    return grouping.model_copy(update=changes)
