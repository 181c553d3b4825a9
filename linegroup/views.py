"""One picture in several sizes: where a network sees little of a picture at once, it sees more of a smaller one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST = 1e-4
"""Probabilities are taken for at least so far from 0 and 1: no single view decides alone."""


def smaller(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """A picture `(h, w, 3)` made smaller by averaging, at least one pixel high and wide.

    Args:
        pixels: The picture.
        scale: New size / old size, below 1.
    """
    height, width = pixels.shape[:2]
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def read_by(where: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels of a smaller view of such a size, stretched, say what stands at chosen ones of the picture.

    Args:
        where: `(h, w)`, those of the picture.
        size: `(height, width)` of the view.
    """
    share = cv2.resize(where.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    # Each is read with those beside it.
    return np.asarray(cv2.dilate((share > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def agreed(probability: NDArray[np.float32], others: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of logits, as a probability `(h, w)`.

    Args:
        probability: `(h, w)` in [0, 1].
        others: Of the same place in other sizes, stretched to that of the first.
    """
    if not others:
        return probability
    height, width = probability.shape
    total = _logit(probability)
    for other in others:
        total += _logit(np.asarray(cv2.resize(other, (width, height), interpolation=cv2.INTER_LINEAR)))
    return np.asarray(1 / (1 + np.exp(-total / (1 + len(others)))), dtype=np.float32)


def _logit(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped = np.clip(probability, LEAST, 1 - LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float32)
