"""The inks that a chart's lines are drawn in, without what carries them: axes, fills, text, legend keys."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.grouping.fragments import (
    drop_legend_keys,
    drop_outlines,
    filled_areas,
    keep_lines,
    pieces,
    text,
    without_specks,
)
from linegroup.grouping.inks import find_inks
from linegroup.grouping.structure import find_structure
from linegroup.sample import Field

Mask = NDArray[np.bool_]

NEUTRAL = 12.0
"""Smallest difference in hue (Lab a, b) from the page for a pixel to have a colour."""

SPECK = 4
"""Pieces of a model's foreground of fewer pixels are none of a line's."""


@dataclass(frozen=True, eq=False)
class Inks:
    """Ink that may be of lines.

    Attributes:
        masks: `(h, w)` each, one per ink.
        free: `(h, w)`, all ink that may belong to the edges of a line.
        plot: `(height, width)` of the plot area.
    """

    masks: list[Mask]
    free: Mask
    plot: tuple[int, int]


def chart_inks(field: Field) -> Inks:
    """The inks of a chart's lines, by their looks alone.

    Axes, frame and grid go first, and with them all ink outside their box; then filled areas and text. What is
    left is separated into inks; legend keys and what is too short for a line leave each of them.
    """
    ink, vectors, contrast = _open_out(field)
    ink = without_specks(ink)
    neutral = ink & (np.hypot(vectors[..., 1], vectors[..., 2]) < NEUTRAL)
    structure = find_structure(ink, vectors, neutral)
    x0, y0, x1, y1 = structure.box
    plot = (y1 - y0 + 1, x1 - x0 + 1)
    free = np.zeros_like(ink)
    free[max(0, y0 - 1) : y1 + 2, max(0, x0 - 1) : x1 + 2] = True
    free &= ink & ~structure.mask
    fills = filled_areas(vectors, free)
    free &= ~fills
    free &= ~text(free, neutral, plot)
    masks, colours = find_inks(vectors, contrast, free)
    masks = drop_legend_keys(drop_outlines(masks, fills, ~ink), plot)
    every = np.logical_or.reduce(masks) if masks else np.zeros_like(free)
    kept = [
        keep_lines(mask, every, plot, coloured=bool(np.hypot(colour[1], colour[2]) >= NEUTRAL))
        for mask, colour in zip(masks, colours, strict=True)
    ]
    return Inks([mask for mask in kept if mask.any()], free, plot)


def foreground_inks(field: Field) -> Inks:
    """The inks of what a model says is on a line; the plot area is its box."""
    ink, vectors, contrast = _open_out(field)
    part = pieces(ink)
    ink = part.select(part.areas >= SPECK)
    if not ink.any():
        return Inks([], ink, field.size)
    masks, _ = find_inks(vectors, contrast, ink)
    ys, xs = np.nonzero(ink)
    return Inks([m for m in masks if m.any()] or [ink], ink, (int(np.ptp(ys)) + 1, int(np.ptp(xs)) + 1))


def only_where(inks: Inks, field: Field, likely: NDArray[np.bool_]) -> Inks:
    """The inks without candidates that are not likely to be of lines; small gaps in what is likely are filled."""
    if likely.all():
        return inks
    allowed = np.zeros(field.size, dtype=np.uint8)
    xs, ys = field.positions[likely].T
    allowed[ys, xs] = 1
    near = cv2.dilate(allowed, np.ones((3, 3), np.uint8)) > 0
    masks = []
    for mask in inks.masks:
        part = pieces(mask & near)
        masks.append(part.select(part.areas >= SPECK))
    return Inks([mask for mask in masks if mask.any()], inks.free & near, inks.plot)


def _open_out(field: Field) -> tuple[Mask, NDArray[np.float32], NDArray[np.float32]]:
    """A field as pictures: `(h, w)` ink, `(h, w, 3)` Lab minus the page's, `(h, w)` distance from the page."""
    xs, ys = field.positions.T
    page = field.page[0] if len(field.page) else np.array([100, 0, 0], dtype=np.float32)
    vectors = np.zeros((*field.size, 3), dtype=np.float32)
    vectors[ys, xs] = field.colour - page
    return field.mask, vectors, np.linalg.norm(vectors, axis=2)
