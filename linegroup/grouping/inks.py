"""The colours that a chart's lines are drawn in, found among antialiased pixels."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.float32]

ABSORB = 10.0
"""Colours nearer than this in Lab to a commoner one are the same peak."""

ALIKE = 14.0
"""Peaks nearer than this may be one ink; further apart only if one is a thinned version of the other."""

HUE = np.deg2rad(30)
"""Peaks of about one hue may be one ink: JPEG keeps the lightness of thin lines and washes out their colour."""

EQUAL = 5.0
"""Peaks nearer than this are one ink, whatever the picture looks like."""

TURNS = 0.5
"""Peaks are one ink, too, if this share of one's pixels lies right beside the other's."""

REACH = 3
"""Antialiasing, blur and JPEG carry an ink this many pixels from the middle of its stroke."""

PIXEL = 3.0
"""A pixel of distance weighs as much as this difference in Lab when ink near by is shared out."""

_MOST = 32
"""More colours than this no chart can be read by."""


def find_inks(
    vectors: Colours, contrast: NDArray[np.float32], free: NDArray[np.bool_]
) -> tuple[list[NDArray[np.bool_]], list[Colours]]:
    """The free pixels of each ink `(h, w) bool`, and its full colour `(3,)` relative to the page.

    A pixel goes to the ink near it of which it is most likely a mixture with the page; pixels away from
    the middle of any stroke go to none.

    Args:
        vectors: `(h, w, 3)`, Lab minus that of the page.
        contrast: `(h, w)`, their length.
        free: `(h, w)`, the ink to look at.
    """
    ys, xs = np.nonzero(core_pixels(contrast, free))
    labels = separate_inks(vectors[ys, xs], xs, ys, (free.shape[0], free.shape[1]))
    py, px = np.nonzero(free)
    colours, costs = [], [np.full(len(py), np.inf, dtype=np.float32)]
    for name in np.unique(labels[labels >= 0]):
        own = ys[labels == name], xs[labels == name]
        strength = contrast[own]
        colours.append(np.median(vectors[own][strength >= np.quantile(strength, 0.6)], axis=0))
        near, away = _near(own[1], own[0], px, py)
        cost = np.full(len(py), np.inf, dtype=np.float32)
        cost[near] = mixing_distance(vectors[py[near], px[near]], colours[-1]) + PIXEL * away
        costs.append(cost)
    best = np.argmin(np.stack(costs), axis=0)
    return [_image(px[best == k], py[best == k], free.shape) for k in range(1, len(costs))], colours


def _near(
    xs: NDArray[np.int64], ys: NDArray[np.int64], px: NDArray[np.int64], py: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which of the pixels `(px, py)` lie within `REACH` of those at `(xs, ys)`, and how far from them."""
    left, top = int(xs.min()) - REACH, int(ys.min()) - REACH
    width, height = int(xs.max()) + REACH + 1 - left, int(ys.max()) + REACH + 1 - top
    empty = np.ones((height, width), dtype=np.uint8)
    empty[ys - top, xs - left] = 0
    away = np.asarray(cv2.distanceTransform(empty, cv2.DIST_L2, 3), dtype=np.float32)
    inside = np.flatnonzero((px >= left) & (px < left + width) & (py >= top) & (py < top + height))
    found = away[py[inside] - top, px[inside] - left]
    close = found <= REACH
    return inside[close], found[close]


def core_pixels(contrast: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`(h, w) bool`, the middle of strokes: pixels about as far from the page as any of their neighbours."""
    strong = np.where(allowed, contrast, 0).astype(np.float32)
    peak = cv2.dilate(strong, np.ones((3, 3), np.uint8))
    return np.asarray(allowed & (strong >= 0.85 * peak) & (strong >= 18))


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
    order = list(range(len(peaks)))
    spots = [_Spots(_image(xs[labels == k], ys[labels == k], size)) for k in order]
    owner = np.arange(len(peaks))
    for k in order[1:]:
        for j in range(k):
            if (
                owner[j] == j
                and _one_ink(peaks[j], peaks[k])
                and (
                    np.linalg.norm(peaks[j] - peaks[k]) < EQUAL
                    or not _side_by_side(spots[j], spots[k])
                    or _in_turns(spots[j], spots[k])
                )
            ):
                owner[k] = j
                spots[j] = _Spots(spots[j].image | spots[k].image)
                break
    return np.asarray(np.where(labels >= 0, owner[np.maximum(labels, 0)] if len(peaks) else -1, -1))


def mixing_distance(vectors: Colours, ink: Colours) -> NDArray[np.float32]:
    """`(N,)`, how far colours `(N, 3)` are from every mixture of an ink `(3,)` with the page, at least 15 % ink."""
    t = np.clip(vectors @ ink / max(float(ink @ ink), 1e-6), 0.15, 1.1)
    return np.asarray(np.linalg.norm(vectors - t[:, None] * ink, axis=1), dtype=np.float32)


def _peaks(vectors: Colours) -> tuple[NDArray[np.int64], Colours]:
    """Labels `(N,)` and colours `(K, 3)` of the peaks, the commonest first."""
    bins, inverse, counts = np.unique(
        np.rint(vectors / 3).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    centres, weight = bins * 3.0, counts.astype(np.float64)
    labels = np.full(len(bins), -1, dtype=np.int64)
    peaks: list[NDArray[np.float64]] = []
    least = max(12.0, 0.004 * len(vectors))
    while len(peaks) < _MOST and len(bins):
        free = labels < 0
        best = int(np.argmax(np.where(free, weight, 0)))
        near = free & (np.linalg.norm(centres - centres[best], axis=1) <= ABSORB)
        if not free[best] or weight[near].sum() < least:
            break
        tight = near & (np.linalg.norm(centres - centres[best], axis=1) <= 5)
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
        return np.asarray(cv2.dilate(self.image.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)

    @cached_property
    def columns(self) -> NDArray[np.bool_]:
        """`(w,)`, the columns that they are in, and those beside."""
        inside = np.any(self.image, axis=0, keepdims=True).astype(np.uint8)
        return np.asarray(cv2.dilate(inside, np.ones((1, 3), np.uint8))[0] > 0)


def _in_turns(a: _Spots, b: _Spots) -> bool:
    """Whether two sets of pixels take turns along the same strokes: one ink, unevenly drawn or badly kept."""
    a, b = (b, a) if a.count < b.count else (a, b)
    return bool(a.near[b.image].mean() > TURNS)


def _side_by_side(a: _Spots, b: _Spots) -> bool:
    """Whether two sets of pixels run at different heights in the columns that they share."""
    a, b = (b, a) if a.count < b.count else (a, b)
    apart = int((np.any(b.image & ~a.near, axis=0) & a.columns).sum())
    return apart >= 8 and apart > 0.35 * int(np.any(b.image, axis=0).sum())
