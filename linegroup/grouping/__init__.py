"""From candidate pixels to lines: one function for validation, prediction and serving."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.errors import UserError, unknown_name
from linegroup.grouping.candidates import CANDIDATES, make_field
from linegroup.grouping.classical import group_classical
from linegroup.grouping.colour import group_colour
from linegroup.grouping.components import group_components
from linegroup.grouping.dbscan import group_dbscan
from linegroup.grouping.hdbscan import group_hdbscan
from linegroup.sample import Field, Groups, Maps
from linegroup.targets import MOST_LINES

GROUPERS: dict[str, Callable[[Field, GroupingConfig], Groups]] = {
    "dbscan": group_dbscan,
    "hdbscan": group_hdbscan,
    "classical": group_classical,
    "colour": group_colour,
    "components": group_components,
}
"""Methods by name."""


def group_field(field: Field, config: GroupingConfig) -> Groups:
    """The lines among a picture's candidate pixels, by the method that the config names.

    Raises:
        UserError: there is no grouper of that name, it needs a model's features and there are none, or it
            finds more lines than a label image has numbers.
    """
    if config.method not in GROUPERS:
        raise unknown_name("grouper", config.method, GROUPERS)
    groups = GROUPERS[config.method](field, config)
    if groups.count > MOST_LINES:
        raise UserError(f"{groups.count} groups; labels have {MOST_LINES} numbers. Raise grouping.min_pixels.")
    return groups


def group_image(pixels: NDArray[np.uint8], maps: Maps | None, config: GroupingConfig) -> tuple[Field, Groups]:
    """Candidates and their lines, for a picture `(h, w, 3)` and what a model says of it (or None)."""
    field = make_field(pixels, maps, config)
    return field, group_field(field, config)


__all__ = ["CANDIDATES", "GROUPERS", "group_field", "group_image", "make_field"]
