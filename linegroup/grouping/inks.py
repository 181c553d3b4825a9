"""The colours that a chart's lines are drawn in, found among antialiased pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.strokes import ink_box, ink_pixels
from linegroup.sample import Field

Colours = NDArray[np.float32]

ABSORB = 10.0
"""Colours nearer than this in Lab to a commoner one are the same peak."""

ALIKE = 14.0
"""Peaks nearer than this may be one ink; further apart only if one is a thinned version of the other."""

HUE = np.deg2rad(30)
"""Peaks of about one hue may be one ink: JPEG keeps the lightness of thin lines and washes out their colour."""

UPRIGHT = 7
"""Pixels from which on a narrow run down a column is an upright stroke."""

EQUAL = 5.0
"""Peaks nearer than this are one ink, whatever the picture looks like."""

TURNS = 0.5
"""Peaks are one ink, too, if this share of one's pixels lies right beside the other's."""

FRINGE, TINGED = 0.75, 30.0
"""Peaks nearer than the second are one ink if this share of one's pixels lies beside the other's: coloured edges."""

MOTLEY, RARE = 0.2, 30.0
"""Where so large a share of all has a colour too rare for an ink of its own (thin lines on subpixels), it is of the
nearest ink, if that is as near as the second."""

REACH = 3
"""Antialiasing, blur and JPEG carry an ink this many pixels from the middle of its stroke."""

PIXEL = 3.0
"""A pixel of distance weighs as much as this difference in Lab when ink near by is shared out."""

LEAST = 18.0
"""Smallest contrast of the middle of a stroke, where nothing but its looks tells ink from dirt."""

_MOST = 32
"""More colours than this no chart can be read by."""

_HALF = 1 << 20
"""Beyond all numbers of colour bins."""


@dataclass(frozen=True, eq=False)
class Tones:
    """How the candidates' colours differ from the page.

    Attributes:
        where: `(h, w) int32`, row of each pixel in the others, -1 = no candidate.
        vectors: `(N, 3)`, Lab minus that of the page.
        contrast: `(N,)`, their length.
    """

    where: NDArray[np.int32]
    vectors: Colours
    contrast: NDArray[np.float32]

    def __getitem__(self, place: tuple[Any, Any]) -> Colours:
        """`(n, 3)`, the vectors at rows and columns that are candidates."""
        return np.asarray(self.vectors[self.where[place]])


def page_colour(field: Field) -> Colours:
    """`(3,)`, Lab of the page that is most of all; white where none is known."""
    return np.asarray(field.page[0] if len(field.page) else (100, 0, 0), dtype=np.float32)


def open_out(field: Field) -> Tones:
    """The colours of a field relative to its page."""
    vectors = field.colour - page_colour(field)
    where = np.full(field.size, -1, dtype=np.int32)
    where[field.positions[:, 1], field.positions[:, 0]] = np.arange(len(field), dtype=np.int32)
    return Tones(where, vectors, lengths(vectors))


def lengths(vectors: NDArray[Any]) -> NDArray[Any]:
    """`(n,)` of `(n, 3)`: `np.linalg.norm`, which is slow along a last axis of three."""
    x, y, z = vectors.T
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def find_inks(
    tones: Tones, free: NDArray[np.bool_], least: float = LEAST
) -> tuple[list[NDArray[np.bool_]], list[Colours]]:
    """The free pixels of each ink `(h, w) bool`, and its full colour `(3,)` relative to the page.

    A pixel goes to the ink near it of which it is most likely a mixture with the page; pixels away from
    the middle of any stroke go to none.

    Args:
        tones: The candidates' colours.
        free: `(h, w)`, the ink to look at.
        least: Smallest contrast of the middle of a stroke.
    """
    box = ink_box(free)
    ys, xs = ink_pixels(free[box])
    rows = tones.where[box][ys, xs]
    vectors, contrast = tones.vectors[rows], tones.contrast[rows]
    size = box[0].stop - box[0].start, box[1].stop - box[1].start
    core = core_pixels(contrast, xs, ys, size, least)
    labels = separate_inks(vectors[core], xs[core], ys[core], size)
    number = np.full((size[0] + 2 * REACH, size[1] + 2 * REACH), -1, dtype=np.int32)
    number[ys + REACH, xs + REACH] = np.arange(len(ys), dtype=np.int32)
    colours = []
    best, lowest = np.zeros(len(ys), dtype=np.int64), np.full(len(ys), np.inf, dtype=np.float32)
    for name in np.unique(labels[labels >= 0]):
        own = core[labels == name]
        strength = contrast[own]
        colours.append(np.median(vectors[own][strength >= np.quantile(strength, 0.6)], axis=0))
        away = _distances(number, xs[own], ys[own], len(ys))
        near = np.flatnonzero(away <= REACH)
        cost = mixing_distance(vectors[near], colours[-1]) + PIXEL * away[near]
        better = cost < lowest[near]
        best[near[better]], lowest[near[better]] = len(colours), cost[better]
    masks = [np.zeros(free.shape, dtype=np.bool_) for _ in colours]
    for k, mask in enumerate(masks, start=1):
        mask[box][ys[best == k], xs[best == k]] = True
    return masks, colours


@compiled
def _distances(
    number: NDArray[np.int32], xs: NDArray[np.int64], ys: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """How far so many pixels, numbered in a picture with a margin of `REACH`, are from those at `(xs, ys)`.

    With the steps of `cv2.distanceTransform` for a mask of 3, as far as `REACH`; inf beyond.
    """
    away = np.full(count, np.inf, dtype=np.float32)
    for i in range(len(xs)):
        for dy in range(-REACH, REACH + 1):
            for dx in range(-REACH, REACH + 1):
                found = number[ys[i] + REACH + dy, xs[i] + REACH + dx]
                if found >= 0:
                    small, large = min(abs(dx), abs(dy)), max(abs(dx), abs(dy))
                    # 0.955 along an edge and 1.3693 along a diagonal, in units of 2**-16.
                    steps = np.float32((large - small) * 62587 + small * 89738) / np.float32(65536)
                    away[found] = min(away[found], steps)
    return away


def core_pixels(
    contrast: NDArray[np.float32],
    xs: NDArray[np.int64],
    ys: NDArray[np.int64],
    size: tuple[int, int],
    least: float = LEAST,
) -> NDArray[np.int64]:
    """Numbers of the pixels in the middle of strokes: about as far from the page as any of their neighbours.

    Args:
        contrast: `(N,)`.
        xs: `(N,)` columns.
        ys: `(N,)` rows.
        size: `(height, width)` of the picture.
        least: Smallest contrast.
    """
    strong = np.zeros(size, dtype=np.float32)
    strong[ys, xs] = contrast
    peak = cv2.dilate(strong, np.ones((3, 3), np.uint8))[ys, xs]
    return np.flatnonzero((contrast >= 0.85 * peak) & (contrast >= least))


def separate_inks(
    vectors: Colours, xs: NDArray[np.int64], ys: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.int64]:
    """Which ink each core pixel is of: `(N,)`, -1 for colours too rare to tell.

    First the peaks of the colours, more than there are inks. Then peaks are joined that look alike or lie
    on one straight mixture with the page — unless they run at different heights in the same columns: an
    antialiased line is dark or pale from column to column, two lines are there at once.

    Args:
        vectors: `(N, 3)`, Lab minus that of the page.
        xs: `(N,)` columns.
        ys: `(N,)` rows.
        size: `(height, width)` of the picture.
    """
    labels, peaks = _peaks(vectors)
    if not len(peaks):
        return labels
    spots = [_Spots(_image(xs[labels == k], ys[labels == k], size)) for k in range(len(peaks))]
    owner = np.arange(len(peaks))
    for k in range(1, len(peaks)):
        for j in range(k):
            if owner[j] == j and _belong_together(peaks[j], peaks[k], spots[j], spots[k]):
                owner[k] = j
                spots[j] = _Spots(spots[j].image | spots[k].image)
                break
    found = np.where(labels >= 0, owner[np.maximum(labels, 0)], -1)
    rare = np.flatnonzero(labels < 0)
    if len(rare) > MOTLEY * len(labels):
        away = np.stack([mixing_distance(vectors[rare], peak) for peak in peaks], axis=1)
        found[rare] = np.where(away.min(axis=1) <= RARE, owner[away.argmin(axis=1)], -1)
    return np.asarray(found)


def _belong_together(a: Colours, b: Colours, at: _Spots, other: _Spots) -> bool:
    """Whether peaks of two colours, at such places, are one ink."""
    away = np.linalg.norm(a - b)
    if away < TINGED and _in_turns(at, other, FRINGE):
        return True
    return _one_ink(a, b) and bool(away < EQUAL or not _side_by_side(at, other) or _in_turns(at, other))


def mixing_distance(vectors: Colours, ink: Colours) -> NDArray[np.float32]:
    """`(N,)`, how far colours `(N, 3)` are from every mixture of an ink `(3,)` with the page, at least 15 % ink."""
    t = np.clip(vectors @ ink / max(float(ink @ ink), 1e-6), 0.15, 1.1)
    return np.asarray(lengths(vectors - t[:, None] * ink), dtype=np.float32)


def _peaks(vectors: Colours) -> tuple[NDArray[np.int64], Colours]:
    """Labels `(N,)` and colours `(K, 3)` of the peaks, the commonest first."""
    # Three numbers in one: rows would be compared as such.
    binned = np.rint(vectors / 3).astype(np.int64) + _HALF
    keys = (binned[:, 0] * 2 * _HALF + binned[:, 1]) * 2 * _HALF + binned[:, 2]
    bins, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    rest, third = np.divmod(bins, 2 * _HALF)
    centres = (np.stack([*np.divmod(rest, 2 * _HALF), third], axis=1) - _HALF) * 3.0
    weight = counts.astype(np.float64)
    labels = np.full(len(bins), -1, dtype=np.int64)
    peaks: list[NDArray[np.float64]] = []
    least = max(12.0, 0.004 * len(vectors))
    while len(peaks) < _MOST and len(bins):
        free = labels < 0
        best = int(np.argmax(np.where(free, weight, 0)))
        away = lengths(centres - centres[best])
        near = free & (away <= ABSORB)
        if not free[best] or weight[near].sum() < least:
            break
        tight = near & (away <= 5)
        peaks.append((centres[tight] * weight[tight, None]).sum(axis=0) / weight[tight].sum())
        labels[near] = len(peaks) - 1
    return labels[inverse.ravel()], np.array(peaks, dtype=np.float32).reshape(-1, 3)


def _one_ink(a: Colours, b: Colours) -> bool:
    """Whether two colours may be one ink: near each other, or the paler a mixture of the other with the page."""
    if np.linalg.norm(a - b) < ALIKE:
        return True
    hue = np.arctan2(a[2], a[1]) - np.arctan2(b[2], b[1])
    if min(np.hypot(a[1], a[2]), np.hypot(b[1], b[2])) > 12 and np.cos(hue) > np.cos(HUE):
        return True
    dark, pale = (a, b) if a @ a >= b @ b else (b, a)
    t = float(pale @ dark / (dark @ dark))
    return t > 0.2 and float(np.linalg.norm(pale - t * dark)) < 4 + 0.15 * float(np.linalg.norm(pale))


def _image(xs: NDArray[np.int64], ys: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.bool_]:
    image = np.zeros(size, dtype=np.bool_)
    image[ys, xs] = True
    return image


class _Spots:
    """The pixels of a peak; what is asked of them again and again is found once."""

    def __init__(self, image: NDArray[np.bool_]) -> None:
        self.image = image
        self.count = int(np.count_nonzero(image))

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """`(h, w)`, the pixels and those right beside them."""
        return cv2.dilate(self.image.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)

    @cached_property
    def level(self) -> NDArray[np.bool_]:
        """`(h, w)`, without upright strokes: where a line rises or falls its edges may fall otherwise than along it."""
        image = self.image.view(np.uint8)
        upright = cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((UPRIGHT, 1), np.uint8))
        wide = cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((1, 4), np.uint8))
        return np.asarray(self.image & ~((upright > 0) & (wide == 0)))

    @cached_property
    def columns(self) -> NDArray[np.bool_]:
        """`(w,)`, the columns that they are in, and those beside."""
        inside = np.any(self.image, axis=0, keepdims=True).astype(np.uint8)
        return np.asarray(cv2.dilate(inside, np.ones((1, 3), np.uint8))[0] > 0)


def _in_turns(a: _Spots, b: _Spots, share: float = TURNS) -> bool:
    """Whether two sets of pixels take turns along the same strokes: one ink, unevenly drawn or badly kept."""
    a, b = (b, a) if a.count < b.count else (a, b)
    return bool(np.count_nonzero(a.near & b.image) / b.count > share)


def _side_by_side(a: _Spots, b: _Spots) -> bool:
    """Whether two sets of pixels run at different heights in the columns that they share."""
    a, b = (b, a) if a.count < b.count else (a, b)
    apart = int((np.any(b.level & ~a.near, axis=0) & a.columns).sum())
    return apart >= 8 and apart > 0.35 * int(np.any(b.image, axis=0).sum())
