"""Grouping a sample where all candidates would take too long: the others go with the nearest pixel of the sample.

On a page that is all candidates (a grey page, `all_pixels`) clusterings need seconds to minutes. In a picture the
nearest pixel of a dense sample is almost always of the same line, and finding it takes one pass over the pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.grouping import group_field
from linegroup.sample import Field, Groups


def group_thinned(field: Field, config: GroupingConfig, most: int) -> Groups:
    """The lines of a field; of more than `most` candidates a seeded sample is grouped, and the groups say so.

    Raises:
        UserError: as `group_field`.
    """
    if len(field) <= most:
        return group_field(field, config)
    chosen = np.sort(np.random.default_rng(config.seed).choice(len(field), most, replace=False))
    groups = group_field(field.part(chosen), config)
    labels = groups.labels[_nearest(field, chosen)]
    shared = groups.shared.copy()
    shared[:, 0] = chosen[shared[:, 0]]
    # Ink that was not grouped may lie in a gap of what was.
    beside = groups.beside[field.label_image(labels)[groups.beside[:, 1], groups.beside[:, 0]] == 0]
    note = f"{most} of {len(field)} candidates were grouped; each other one went with the nearest of them."
    return Groups(labels, groups.scores, shared, beside, (note, *groups.notes))


def _nearest(field: Field, chosen: NDArray[np.int64]) -> NDArray[np.int32]:
    """`(N,)`, for each candidate the place in `chosen` of the one nearest to it in the picture."""
    xs, ys = field.positions.T
    away = np.ones(field.size, dtype=np.uint8)
    away[ys[chosen], xs[chosen]] = 0
    _, nearest = cv2.distanceTransformWithLabels(away, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    place = np.empty(len(chosen) + 1, dtype=np.int32)
    place[nearest[ys[chosen], xs[chosen]]] = np.arange(len(chosen), dtype=np.int32)
    return np.asarray(place[nearest[ys, xs]])
