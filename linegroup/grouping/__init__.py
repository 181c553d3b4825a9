"""From candidate pixels to lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.grouping.candidates import CANDIDATES, candidates_of_pixels, make_field
from linegroup.grouping.grouper import GROUPERS, Grouper, maps_read
from linegroup.sample import Field, Groups, Maps


def group_field(field: Field, config: GroupingConfig) -> Groups:
    """The lines among a picture's candidate pixels; errors as `Grouper.fit`."""
    return Grouper(config).fit(field)


def group_image(pixels: NDArray[np.uint8], maps: Maps | None, config: GroupingConfig) -> tuple[Field, Groups]:
    """Candidates and their lines, for a picture `(h, w, 3)` and what a model says of it (or None)."""
    field = make_field(pixels, maps, config)
    return field, group_field(field, config)


__all__ = [
    "CANDIDATES",
    "GROUPERS",
    "Grouper",
    "candidates_of_pixels",
    "group_field",
    "group_image",
    "make_field",
    "maps_read",
]
