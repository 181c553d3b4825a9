"""Pixels where lines cross belong to all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.sample import Field, Groups

Mask = NDArray[np.bool_]
Image = NDArray[np.int32]

LARGEST = 1_000_000
"""Pixels of a patch × pixels of lines that touch it; a larger patch is no crossing, whatever a model says."""

MOST_WORK = 200_000_000
"""The same, of all patches together: those beyond, from the top on, are none either."""

_EDGE = 0.5
"""A pixel so far outside a hull is in it, as where it is drawn."""


def share_crossings(field: Field, groups: Groups, crossing: Mask) -> Groups:
    """Give the pixels of crossings to the lines that run through them.

    A crossing is an 8-connected patch of such pixels. A line runs through the hull of those of its pixels
    that touch the patch. A pixel in several hulls is shared, and first of all the nearest line's; one in none goes to
    the line nearest to it, each pixel of a patch that is too large to the one nearest over the patch; a patch that
    touches no line stays without. Of lines that are equally near the first is taken.

    Args:
        field: The candidates.
        groups: Lines of the other pixels; what it says of pixels in crossings is replaced.
        crossing: `(N,) bool`, the candidates in crossings.
    """
    if not crossing.any():
        return groups
    labels = np.where(crossing, 0, groups.labels).astype(np.int32)
    picture = np.pad(field.label_image(labels).astype(np.int32), 1)
    which = np.flatnonzero(crossing)
    xs, ys = field.positions[which].T + 1
    there = np.zeros(picture.shape, dtype=np.uint8)
    there[ys, xs] = 1
    count, patches = cv2.connectedComponents(there, connectivity=8)
    patch = patches[ys, xs]
    order = np.argsort(patch, kind="stable")
    starts = np.searchsorted(patch[order], np.arange(1, count + 1))
    first, pixel, line = _share(picture, ys[order], xs[order], starts, LARGEST, MOST_WORK)
    large = first < 0
    if large.any():
        first[large] = _nearest(picture, ys[order][large], xs[order][large])
    labels[which[order]] = first
    pairs = np.stack([which[order][pixel], line], axis=1).astype(np.int32)
    return replace(groups, labels=labels, shared=pairs[np.lexsort(pairs.T)])


@compiled
def _nearest(labels: Image, ys: NDArray[Any], xs: NDArray[Any]) -> Image:
    """`(n,)`, for each pixel of some patches the label of the nearest pixel that touches its patch; 0 = there is none.

    Nearest as far as neighbours in the patch tell each other (Danielsson 1980); of equally near ones the smallest.

    Args:
        labels: `(h, w)`, 0 = none and in the patches; no patch reaches its border.
        ys: `(n,)`, rows of the patches' pixels.
        xs: Columns.
    """
    count = len(ys)
    at = np.zeros(labels.shape, dtype=np.int32)
    found = np.zeros(count, dtype=np.int32)
    source = np.empty((count, 2), dtype=np.int64)
    away = np.full(count, np.iinfo(np.int64).max)
    queue, waiting = np.empty(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    first, size = 0, 0
    for i in range(count):
        at[ys[i], xs[i]] = i + 1
        for v in range(ys[i] - 1, ys[i] + 2):
            for u in range(xs[i] - 1, xs[i] + 2):
                squared, label = (v - ys[i]) ** 2 + (u - xs[i]) ** 2, labels[v, u]
                if label > 0 and (squared < away[i] or (squared == away[i] and label < found[i])):
                    away[i], found[i] = squared, label
                    source[i, 0], source[i, 1] = v, u
        if found[i] > 0:
            queue[size], waiting[i] = i, True
            size += 1
    while size > 0:
        i = queue[first]
        first, size, waiting[i] = (first + 1) % count, size - 1, False
        for v in range(ys[i] - 1, ys[i] + 2):
            for u in range(xs[i] - 1, xs[i] + 2):
                k = at[v, u] - 1
                if k < 0:
                    continue
                squared = (v - source[i, 0]) ** 2 + (u - source[i, 1]) ** 2
                if squared < away[k] or (squared == away[k] and found[i] < found[k]):
                    away[k], found[k] = squared, found[i]
                    source[k, 0], source[k, 1] = source[i, 0], source[i, 1]
                    if not waiting[k]:
                        queue[(first + size) % count], waiting[k] = k, True
                        size += 1
    return found


@compiled
def _share(
    labels: Image, ys: NDArray[Any], xs: NDArray[Any], starts: NDArray[Any], largest: int, most: int
) -> tuple[Image, NDArray[Any], NDArray[Any]]:
    """The first line of each pixel, -1 in too large patches that touch a line, and further lines: pixel, line.

    Args:
        labels: `(h, w)`, 0 = none and in the patches; no patch reaches its border.
        ys: `(n,)`, rows of the patches' pixels, patch by patch, row by row.
        xs: Columns.
        starts: Where each patch begins, and n.
        largest: As `LARGEST`.
        most: As `MOST_WORK`.
    """
    work = 0
    first = np.zeros(len(ys), dtype=np.int32)
    pixels, lines, claimed = np.empty(256, np.int64), np.empty(256, np.int64), 0
    seen = np.zeros(labels.shape, dtype=np.int32)
    for patch in range(len(starts) - 1):
        start, stop = starts[patch], starts[patch + 1]
        keys = _touching(labels, ys[start:stop], xs[start:stop], seen, patch + 1)
        count = len(keys)
        if (stop - start) * count > min(largest, most - work):
            first[start:stop] = -1
            continue
        work += (stop - start) * count
        within, nearest = np.full(stop - start, np.inf), np.full(stop - start, np.inf)
        begun, a = claimed, 0
        while a < count:
            line = keys[a] // labels.size
            b = a
            while b < count and keys[b] // labels.size == line:
                b += 1
            own = np.empty((b - a, 2), np.int64)
            for k in range(a, b):
                own[k - a, 0] = keys[k] % labels.size // labels.shape[1]
                own[k - a, 1] = keys[k] % labels.shape[1]
            hull = _hull(own)
            for i in range(start, stop):
                away = np.inf
                for k in range(len(own)):
                    away = min(away, (ys[i] - own[k, 0]) ** 2 + (xs[i] - own[k, 1]) ** 2)
                inside = _in_hull(hull, ys[i], xs[i])
                if inside:
                    if claimed == len(pixels):
                        pixels = np.concatenate((pixels, np.empty_like(pixels)))
                        lines = np.concatenate((lines, np.empty_like(lines)))
                    pixels[claimed], lines[claimed] = i, line
                    claimed += 1
                    if away < within[i - start]:
                        within[i - start] = away
                        first[i] = line
                if away < nearest[i - start]:
                    nearest[i - start] = away
                    if within[i - start] == np.inf:
                        first[i] = line
            a = b
        kept = begun
        for k in range(begun, claimed):
            if first[pixels[k]] != lines[k]:
                pixels[kept], lines[kept] = pixels[k], lines[k]
                kept += 1
        claimed = kept
    return first, pixels[:claimed].copy(), lines[:claimed].copy()


@compiled
def _touching(labels: Image, ys: NDArray[Any], xs: NDArray[Any], seen: Image, turn: int) -> NDArray[Any]:
    """The pixels of lines next to some others, line by line, row by row: label × pixels of the picture + place.

    `seen (h, w)` becomes `turn` there, which is larger than all turns before.
    """
    keys, count = np.empty(8 * len(ys), np.int64), 0
    for i in range(len(ys)):
        for y in range(ys[i] - 1, ys[i] + 2):
            for x in range(xs[i] - 1, xs[i] + 2):
                if labels[y, x] > 0 and seen[y, x] < turn:
                    seen[y, x] = turn
                    keys[count] = np.int64(labels[y, x]) * labels.size + y * labels.shape[1] + x
                    count += 1
    return np.sort(keys[:count])


@compiled
def _hull(points: NDArray[Any]) -> NDArray[Any]:
    """Corners `(m, 2)` of the convex hull of points `(n, 2)` in ascending order, in turn (Andrew 1979)."""
    count = len(points)
    if count < 3:
        return points
    corners = np.empty((2 * count, 2), np.int64)
    size = 0
    for turn in range(2):
        least = size if turn else 1
        for k in range(count):
            point = points[count - 1 - k] if turn else points[k]
            if turn and k == 0:
                continue
            while size > least:
                back, last = corners[size - 2], corners[size - 1]
                if (last[0] - back[0]) * (point[1] - back[1]) - (last[1] - back[1]) * (point[0] - back[0]) > 0:
                    break
                size -= 1
            corners[size] = point
            size += 1
    return corners[: size - 1].copy()


@compiled
def _near_segment(a: NDArray[Any], b: NDArray[Any], y: int, x: int) -> bool:
    """Whether a place is no more than half a pixel from the way between two points."""
    down, right = b[0] - a[0], b[1] - a[1]
    length = down * down + right * right
    along = down * (y - a[0]) + right * (x - a[1])
    if length == 0 or along < 0 or along > length:
        return False
    aside = down * (x - a[1]) - right * (y - a[0])
    return bool(aside * aside <= _EDGE * _EDGE * length)


@compiled
def _in_hull(hull: NDArray[Any], y: int, x: int) -> bool:
    """Whether a place is in a hull as `_hull` returns it, or no more than half a pixel outside."""
    count, within = len(hull), len(hull) > 2
    for k in range(count):
        here, there = hull[k], hull[(k + 1) % count]
        if _near_segment(here, there, y, x):
            return True
        within &= (there[0] - here[0]) * (x - here[1]) - (there[1] - here[1]) * (y - here[0]) >= 0
    return bool(within)
