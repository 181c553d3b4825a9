"""Connected components: the trivial baseline that knows geometry and nothing else."""

from __future__ import annotations

import cv2
import numpy as np

from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import finish
from linegroup.grouping.workspace import Workspace
from linegroup.sample import Groups


def group_components(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are 8-connected components of the candidates; those below `min_pixels` are noise and dropped."""
    field = workspace.field
    mask = np.zeros(field.size, dtype=np.uint8)
    mask[field.positions[:, 1], field.positions[:, 0]] = 1
    labels = cv2.connectedComponents(mask, connectivity=8)[1][field.positions[:, 1], field.positions[:, 0]]
    return finish(labels.astype(np.int64) - 1, field.colour, config.model_copy(update={"noise": "drop"}))
