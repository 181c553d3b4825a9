"""Colour clustering: the trivial baseline that knows colour and nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import empty_groups, finish
from linegroup.grouping.workspace import Workspace
from linegroup.sample import Groups

RADIUS = 18.0
"""Colours nearer than this in Lab are one; about the difference of two neighbouring palette colours."""

LEAST_SHARE = 0.01
"""Colours with a smaller share of the candidates are noise."""


def group_colour(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are the modes of the candidates' Lab colours.

    The commonest colour takes everything within `RADIUS`, then the commonest of the rest, and so on.
    """
    field = workspace.field
    if not len(field):
        return empty_groups(0)
    return finish(colour_modes(field.colour), field.colour, config)


def colour_modes(colour: NDArray[np.float32]) -> NDArray[np.int64]:
    """Labels `(N,)` of Lab colours `(N, 3)`; -1 for colours without a mode."""
    bins, inverse, counts = np.unique(
        np.rint(colour / 4).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    centres = bins * 4.0
    weight = counts.astype(np.float64)
    labels = np.full(len(bins), -1, dtype=np.int64)
    mode = 0
    while True:
        free = labels < 0
        best = int(np.argmax(np.where(free, weight, 0)))
        near = free & (np.linalg.norm(centres - centres[best], axis=1) <= RADIUS)
        if weight[near].sum() < LEAST_SHARE * len(colour) or not free[best]:
            return np.asarray(labels[inverse.ravel()])
        labels[near] = mode
        mode += 1
