"""Ink and paper, by classical means: what differs from the page."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

CONTRAST = 12.0
"""Smallest distance in Lab from the page for a pixel to be ink; JPEG noise on a page stays below."""

GRAIN = 3.5
"""On a grainy page ink differs by so many times the usual difference of a pixel."""

MOST_CONTRAST = 30.0
"""What differs by more is ink however grainy the page is."""

_BIN = 8
"""Edge of a colour bin in 8-bit steps, for finding the page's colours."""

_BLOCKS = 1200
"""Pieces of a picture among which its shade is looked for, about."""

_LOOKED_AT = 2_000_000
"""Pixels from which the page's colours are taken."""

_SHADE = 3.0
"""A page whose lightness varies by less is even."""


class Picture:
    """A picture and what its page is like, found when first asked for.

    Args:
        pixels: `(h, w, 3) uint8` RGB.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    @cached_property
    def lab(self) -> NDArray[np.float32]:
        """`(h, w, 3) float32`, CIE Lab with uneven light taken out: the lightness of the page is the same all over."""
        lab: NDArray[np.float32] = np.asarray(
            cv2.cvtColor(self.pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), dtype=np.float32
        )
        shade = page_shade(lab[..., 0])
        if shade is not None:
            lab[..., 0] -= shade
        return lab

    @cached_property
    def page(self) -> NDArray[np.float32]:
        """`(P, 3) float32`, Lab colours of the page, the commonest first, under even light."""
        # A page is large: of a large picture every second or third pixel tells as much.
        every = max(1, round((self.lab.shape[0] * self.lab.shape[1] / _LOOKED_AT) ** 0.5))
        level = cv2.cvtColor(np.ascontiguousarray(self.lab[::every, ::every]), cv2.COLOR_Lab2RGB)
        return page_colours(np.clip(np.rint(level * 255), 0, 255).astype(np.uint8))

    @cached_property
    def ink(self) -> NDArray[np.bool_]:
        """`(h, w) bool`, where the picture differs visibly from its page colours.

        Grey pages and shaded panels are page too: every colour that fills large flat areas is. Uneven light
        and the grain of a scan are allowed for.
        """
        nearest = np.full(self.pixels.shape[:2], np.inf, dtype=np.float32)
        for colour in self.page:
            lightness, a, b = cv2.split(self.lab - colour)
            nearest = np.minimum(nearest, lightness * lightness + a * a + b * b)
        usual = float(np.sqrt(np.median(nearest[::2, ::2])))
        return np.asarray(nearest > min(max(CONTRAST, GRAIN * usual), MOST_CONTRAST) ** 2)


def page_colours(pixels: NDArray[np.uint8], share: float = 0.03) -> NDArray[np.float32]:
    """Lab colours `(P, 3)`, 1 ≤ P ≤ 4, of the flat areas that make up the page, the commonest first.

    Flat means that the 7×7 pixels around have one colour, grain apart: lines and text never fill such a window.
    """
    smooth = np.asarray(cv2.medianBlur(pixels, 5))
    binned = (smooth // _BIN).astype(np.int32)
    key = (binned[..., 0] * 32 + binned[..., 1]) * 32 + binned[..., 2]
    kernel = np.ones((7, 7), dtype=np.uint8)
    # By channels and by cv2.mean: NumPy's reductions over a last axis of three are fifty times slower.
    red, green, blue = cv2.split(cv2.subtract(cv2.dilate(smooth, kernel), cv2.erode(smooth, kernel)))
    flat = cv2.max(cv2.max(red, green), blue) <= 2 * _BIN
    counts = np.bincount(key[flat] if flat.any() else key.ravel())
    order = np.argsort(-counts, kind="stable")[:4]
    large = [b for b in order if counts[b] >= share * key.size] or [order[0]]
    mean = np.array([cv2.mean(smooth, (key == b).astype(np.uint8))[:3] for b in large], dtype=np.float32) / 255
    return np.asarray(cv2.cvtColor(mean[None], cv2.COLOR_RGB2Lab)[0])


def page_shade(lightness: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """`(h, w) float32`, how much lighter or darker than its usual place the page is; None where it is even.

    A surface of second degree through the medians of small blocks, most of which are page. Blocks of ink,
    of filled areas and of panels are left out by their distance (iteratively reweighted least squares, first
    with absolute deviations, then with Tukey's biweight).

    Args:
        lightness: `(h, w)`, L of CIE Lab.
    """
    height, width = lightness.shape
    edge = max(8, round((height * width / _BLOCKS) ** 0.5))
    rows, columns = height // edge, width // edge
    if rows < 4 or columns < 4:
        return None
    blocks = lightness[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge)[:, ::2, :, ::2]
    values = np.median(blocks.transpose(0, 2, 1, 3).reshape(rows * columns, -1), axis=1).astype(np.float64)
    usual = float(np.median(values))
    if (np.abs(values - usual) <= _SHADE / 2).mean() >= 0.6:
        return None  # most of the picture has one lightness: a panel is no shade
    y, x = (v.ravel() for v in np.mgrid[:rows, :columns] + 0.5)
    basis = _surface(x * edge / width, y * edge / height)
    spread = 0.5
    weights = 1 / np.maximum(np.abs(values - usual), spread)
    for turn in range(30):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(basis * root[:, None], values * root, rcond=None)[0]
        away = np.abs(values - basis @ found)
        if turn < 20:
            weights = 1 / np.maximum(away, spread)
        else:
            scale = max(1.0, 4.7 * 1.48 * float(np.median(away)))
            weights = np.maximum(0, 1 - (away / scale) ** 2) ** 2 + 1e-9
    page = away <= _SHADE
    level = basis @ found
    if page.mean() < 0.6 or np.ptp(level[page]) < _SHADE:
        return None
    x_, y_ = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    c, cx, cy, cxx, cxy, cyy = found
    along_x, along_y = cx * x_ + cxx * x_ * x_, cy * y_ + cyy * y_ * y_
    surface = c + along_x[None] + along_y[:, None] + cxy * y_[:, None] * x_[None]
    return np.asarray(surface - np.median(level[page]), dtype=np.float32)


def _surface(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
