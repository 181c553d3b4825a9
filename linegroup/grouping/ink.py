"""Ink and paper, by classical means: what differs from the page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled

Colours = NDArray[np.float32]

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

_STRIP = 1 << 19
"""Pixels of a large picture that are worked on at a time, about."""

_SHARES = np.arange(256, dtype=np.float32) / 255
"""Eight bits as shares of one."""

_SHADE = 3.0
"""A page whose lightness varies by less is even."""


@dataclass(frozen=True)
class Shade:
    """How much lighter or darker than its usual place a page is: a surface of second degree.

    Attributes:
        surface: Weights of 1, x, y, x², xy, y²; x and y run from 0 to 1 over the picture.
        usual: Its usual height.
        size: `(height, width)` of the picture.
    """

    surface: tuple[float, ...]
    usual: float
    size: tuple[int, int]

    def at(self, ys: NDArray[np.int64], xs: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32, as broadcast, at rows and columns."""
        y, x = (ys + 0.5) / self.size[0], (xs + 0.5) / self.size[1]
        c, cx, cy, cxx, cxy, cyy = self.surface
        along_x, along_y = cx * x + cxx * x * x, cy * y + cyy * y * y
        return np.asarray(c + along_x + along_y + cxy * y * x - self.usual, dtype=np.float32)


class Picture:
    """A picture and what its page is like, found when first asked for.

    Args:
        pixels: `(h, w, 3) uint8` RGB.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def colours_at(self, ys: NDArray[np.int64], xs: NDArray[np.int64]) -> Colours:
        """`(n, 3) float32`, CIE Lab at pixels, uneven light taken out: a page's lightness is the same all over."""
        lab = _to_lab(self.pixels[ys, xs][None])[0]
        if self.shade is not None:
            lab[:, 0] -= self.shade.at(ys, xs)
        return np.asarray(lab, dtype=np.float32)

    @cached_property
    def shade(self) -> Shade | None:
        """The page's uneven light; None where it is even."""
        size = self.pixels.shape[0], self.pixels.shape[1]
        rows, columns = _block_places(size)
        if not len(rows) or not len(columns):
            return None
        some = np.ascontiguousarray(self.pixels[rows][:, columns])
        return _find_shade(_to_lab(some)[..., 0], size)

    @cached_property
    def page(self) -> Colours:
        """`(P, 3) float32`, Lab colours of the page, the commonest first, under even light."""
        level = cv2.cvtColor(self._looked_at, cv2.COLOR_Lab2RGB)
        return page_colours(np.asarray(cv2.convertScaleAbs(level, alpha=255), dtype=np.uint8))

    @cached_property
    def ink(self) -> NDArray[np.bool_]:
        """`(h, w) bool`, where the picture differs visibly from its page colours.

        Grey pages and shaded panels are page too: every colour that fills large flat areas is. Uneven light
        and the grain of a scan are allowed for.
        """
        nearest = np.empty(self.pixels.shape[:2], dtype=np.float32)
        for rows in self._strips():
            _nearest(self._lab(rows, 1) if self._every > 1 else self._looked_at, self.page, nearest[rows])
        usual = float(np.sqrt(np.median(nearest[::2, ::2])))
        return np.asarray(nearest > min(max(CONTRAST, GRAIN * usual), MOST_CONTRAST) ** 2)

    @property
    def _every(self) -> int:
        # A page is large: of a large picture every second or third pixel tells as much.
        height, width = self.pixels.shape[:2]
        return max(1, round(float(np.sqrt(height * width / _LOOKED_AT))))

    @cached_property
    def _looked_at(self) -> Colours:
        return self._lab(slice(None), self._every)

    def _strips(self) -> list[slice]:
        """All rows, few at a time where the picture is large: as real numbers it would fill the memory."""
        height, width = self.pixels.shape[:2]
        rows = height if self._every == 1 else max(1, _STRIP // width)
        return [slice(y, min(y + rows, height)) for y in range(0, height, rows)]

    def _lab(self, rows: slice, every: int) -> Colours:
        """Every n-th pixel of rows `(h, w, 3)` as Lab, uneven light taken out."""
        rows = slice(rows.start, rows.stop, every)
        lab = _to_lab(np.ascontiguousarray(self.pixels[rows, ::every]))
        if self.shade is not None:
            ys, xs = np.arange(self.pixels.shape[0])[rows], np.arange(self.pixels.shape[1])[::every]
            lab[..., 0] -= self.shade.at(ys[:, None], xs[None])
        return lab


def _to_lab(pixels: NDArray[np.uint8]) -> Colours:
    """CIE Lab `(h, w, 3) float32` of 8-bit RGB."""
    if not pixels.size:
        return np.zeros(pixels.shape, dtype=np.float32)
    return np.asarray(cv2.cvtColor(cv2.LUT(pixels, _SHARES), cv2.COLOR_RGB2Lab), dtype=np.float32)


@compiled
def _nearest(lab: Colours, page: Colours, nearest: NDArray[np.float32]) -> None:
    """Write the squared distance `(h, w)` of each colour `(h, w, 3)` from the nearest one of the page `(P, 3)`."""
    for y in range(lab.shape[0]):
        for x in range(lab.shape[1]):
            least = np.float32(np.inf)
            for p in range(len(page)):
                lightness, a, b = lab[y, x, 0] - page[p, 0], lab[y, x, 1] - page[p, 1], lab[y, x, 2] - page[p, 2]
                least = min(least, lightness * lightness + a * a + b * b)
            nearest[y, x] = least


def page_colours(pixels: NDArray[np.uint8], share: float = 0.03) -> Colours:
    """Lab colours `(P, 3)`, 1 ≤ P ≤ 4, of the flat areas that make up the page, the commonest first.

    Flat means that the 7x7 pixels around have one colour, grain apart: lines and text never fill such a window.
    """
    smooth = np.asarray(cv2.medianBlur(pixels, 5), dtype=np.uint8)
    kernel = np.ones((7, 7), dtype=np.uint8)
    spread = cv2.subtract(cv2.dilate(smooth, kernel), cv2.erode(smooth, kernel))
    flat, counts, sums = _count_colours(smooth, np.asarray(spread, dtype=np.uint8))
    common = flat if flat.any() else counts
    there = np.flatnonzero(common)
    order = there[np.argsort(-common[there], kind="stable")[:4]]
    large = [b for b in order if common[b] >= share * smooth.shape[0] * smooth.shape[1]] or [order[0]]
    mean = (sums[large] * (1 / counts[large])[:, None]).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(mean[None], cv2.COLOR_RGB2Lab)[0])


@compiled
def _count_colours(
    pixels: NDArray[np.uint8], spread: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pixels `(32768,)` in each bin of colours: those in flat areas, all, and sums of the latters' colours `(., 3)`."""
    flat, counts = np.zeros(1 << 15, dtype=np.int64), np.zeros(1 << 15, dtype=np.int64)
    sums = np.zeros((1 << 15, 3), dtype=np.int64)
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            red, green, blue = np.int64(pixels[y, x, 0]), np.int64(pixels[y, x, 1]), np.int64(pixels[y, x, 2])
            k = (red // _BIN << 10) | (green // _BIN << 5) | (blue // _BIN)
            counts[k] += 1
            sums[k, 0] += red
            sums[k, 1] += green
            sums[k, 2] += blue
            if max(spread[y, x, 0], spread[y, x, 1], spread[y, x, 2]) <= 2 * _BIN:
                flat[k] += 1
    return flat, counts, sums


def page_shade(lightness: NDArray[np.float32]) -> Shade | None:
    """How much lighter or darker than its usual place the page is; None where it is even.

    A surface of second degree through the medians of small blocks, most of which are page. Blocks of ink,
    of filled areas and of panels are left out by their distance (iteratively reweighted least squares, first
    with absolute deviations, then with Tukey's biweight).

    Args:
        lightness: `(h, w)`, L of CIE Lab.
    """
    size = lightness.shape[0], lightness.shape[1]
    rows, columns = _block_places(size)
    return _find_shade(lightness[rows][:, columns], size)


def _block_places(size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pixels by which blocks are told: of each block every second one."""
    edge = _block_edge(size)
    rows, columns = (np.flatnonzero(np.arange(n // edge * edge) % edge % 2 == 0) for n in size)
    return rows, columns


def _block_edge(size: tuple[int, int]) -> int:
    return max(8, round(float(np.sqrt(size[0] * size[1] / _BLOCKS))))


def _find_shade(lightness: NDArray[np.float32], size: tuple[int, int]) -> Shade | None:
    """As `page_shade`, from the lightness at `_block_places` of a picture of that size."""
    height, width = size
    edge = _block_edge(size)
    rows, columns = height // edge, width // edge
    if rows < 4 or columns < 4:
        return None
    some = (edge + 1) // 2
    blocks = lightness.reshape(rows, some, columns, some).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    values = np.median(blocks, axis=1).astype(np.float64)
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
    return Shade(tuple(found.tolist()), float(np.median(level[page])), size)


def _surface(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
