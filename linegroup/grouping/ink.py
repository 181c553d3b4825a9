"""Ink and paper, by classical means: what differs from the page."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

CONTRAST = 12.0
"""Smallest distance in Lab from the page for a pixel to be ink; JPEG noise on a page stays below."""

_BIN = 8
"""Edge of a colour bin in 8-bit steps, for finding the page's colours."""


def non_background(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """`(h, w) bool`, where a picture `(h, w, 3) uint8` differs visibly from its page colours.

    Grey pages and shaded panels are page too: every colour that fills large flat areas is.
    """
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    nearest = np.full(pixels.shape[:2], np.inf, dtype=np.float32)
    for colour in page_colours(pixels):
        lightness, a, b = cv2.split(lab - colour)
        nearest = np.minimum(nearest, lightness * lightness + a * a + b * b)
    return np.asarray(nearest > CONTRAST**2)


def page_colours(pixels: NDArray[np.uint8], share: float = 0.03) -> NDArray[np.float32]:
    """Lab colours `(P, 3)`, 1 ≤ P ≤ 4, of the flat areas that make up the page, the commonest first.

    Flat means that the 7×7 pixels around have one colour: lines and text never fill such a window.
    """
    binned = (pixels // _BIN).astype(np.int32)
    key = (binned[..., 0] * 32 + binned[..., 1]) * 32 + binned[..., 2]
    kernel = np.ones((7, 7), dtype=np.uint8)
    # By channels and by cv2.mean: NumPy's reductions over a last axis of three are fifty times slower.
    red, green, blue = cv2.split(cv2.subtract(cv2.dilate(pixels, kernel), cv2.erode(pixels, kernel)))
    flat = cv2.max(cv2.max(red, green), blue) <= 2 * _BIN
    counts = np.bincount(key[flat] if flat.any() else key.ravel())
    order = np.argsort(-counts, kind="stable")[:4]
    large = [b for b in order if counts[b] >= share * key.size] or [order[0]]
    mean = np.array([cv2.mean(pixels, (key == b).astype(np.uint8))[:3] for b in large], dtype=np.float32) / 255
    return np.asarray(cv2.cvtColor(mean[None], cv2.COLOR_RGB2Lab)[0])
