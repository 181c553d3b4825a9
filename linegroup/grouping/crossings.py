"""Pixels where lines cross belong to all of them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.sample import Field, Groups

Mask = NDArray[np.bool_]

LARGEST = 10_000
"""Pixels; a larger patch is no crossing, whatever a model says, and each of its pixels has one line only."""


def share_crossings(field: Field, groups: Groups, crossing: Mask) -> Groups:
    """Give the pixels of crossings to the lines that run through them.

    A crossing is an 8-connected patch of such pixels. A line runs through the hull of those of its pixels
    that touch the patch. A pixel in several hulls is shared; one in none goes to the line nearest to it; a
    patch that touches no line stays without.

    Args:
        field: The candidates.
        groups: Lines of the other pixels; what it says of pixels in crossings is replaced.
        crossing: `(N,) bool`, the candidates in crossings.
    """
    if not crossing.any():
        return groups
    labels = np.where(crossing, 0, groups.labels).astype(np.int32)
    picture = cv2.copyMakeBorder(field.label_image(labels), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0).astype(np.int32)
    where = np.full(picture.shape, -1, dtype=np.int64)
    xs, ys = field.positions[crossing].T + 2
    where[ys, xs] = np.flatnonzero(crossing)
    count, patches, boxes, _ = cv2.connectedComponentsWithStats((where >= 0).astype(np.uint8), connectivity=8)
    shared = []
    for patch in range(1, count):
        x, y, width, height = (int(v) for v in boxes[patch, :4])
        window = np.s_[y - 2 : y + height + 2, x - 2 : x + width + 2]
        first, further = _share(patches[window] == patch, picture[window])
        inside = where[window]
        labels[inside[first > 0]] = first[first > 0]
        for line, claimed in further:
            shared.append(np.stack([inside[claimed], np.full(int(claimed.sum()), line)], axis=1))
    pairs = (np.concatenate(shared) if shared else np.zeros((0, 2))).astype(np.int32)
    pairs = pairs[np.lexsort(pairs.T)]
    return replace(groups, labels=labels, shared=pairs)


def _share(patch: Mask, labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[tuple[int, Mask]]]:
    """The first line of each pixel of a patch `(h, w)`, and the further ones with their pixels."""
    around = cv2.dilate(patch.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    touching = np.where(around & ~patch, labels, 0)
    lines = np.unique(touching[touching > 0])
    first = np.zeros(patch.shape, dtype=np.int32)
    if not len(lines):
        return first, []
    nearest = np.full(patch.shape, np.inf, dtype=np.float32)
    within = np.full(patch.shape, np.inf, dtype=np.float32)
    owner = np.zeros(patch.shape, dtype=np.int32)
    claims = []
    for line in lines:
        own = touching == line
        away = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        hull = cv2.convexHull(np.argwhere(own)[:, ::-1].astype(np.int32))
        drawn = np.zeros(patch.shape, dtype=np.uint8)
        if patch.sum() <= LARGEST:
            cv2.fillConvexPoly(drawn, hull, 1)
            cv2.polylines(drawn, [hull], isClosed=True, color=1)
        claimed = (drawn > 0) & patch
        claims.append((int(line), np.flatnonzero(claimed)))
        closer = claimed & (away < within)
        owner[closer], within[closer] = line, away[closer]
        closer = patch & (away < nearest)
        first[closer], nearest[closer] = line, away[closer]
    first = np.where(np.isfinite(within), owner, first)
    further = []
    for line, pixels in claims:
        also = np.zeros(patch.shape, dtype=np.bool_)
        also.flat[pixels[first.flat[pixels] != line]] = True
        if also.any():
            further.append((line, also))
    return first, further
