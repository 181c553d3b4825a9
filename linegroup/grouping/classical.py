"""Lines by classical means: page, axes, ink colours, strokes that go on. Nothing learned."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import empty_groups, number_lines
from linegroup.grouping.fragments import drop_legend_keys, drop_outlines, filled_areas, keep_lines, text
from linegroup.grouping.inks import find_inks
from linegroup.grouping.linking import link_lines
from linegroup.grouping.structure import find_structure
from linegroup.grouping.workspace import Workspace
from linegroup.sample import Field, Groups

Mask = NDArray[np.bool_]

NEUTRAL = 12.0
"""Smallest difference in hue (Lab a, b) from the page for a pixel to have a colour."""


@dataclass(frozen=True, eq=False)
class _Chart:
    """A field as pictures: `(h, w)` ink, `(h, w, 3)` Lab minus the page's, `(h, w)` distance from the page."""

    ink: Mask
    vectors: NDArray[np.float32]
    contrast: NDArray[np.float32]


def group_classical(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are inks of their own colour that run through the plot area.

    Axes, frame and grid go first, and with them all ink outside their box; then filled areas and text.
    What is left is separated into inks; legend keys leave each ink; the strokes of one ink are linked to
    lines where they go on in each other. Pixels of no line are dropped, whatever `config.noise`
    says: most of them are text.

    Meant for the candidates `non_background`.
    """
    field = workspace.field
    if not len(field):
        return empty_groups(0)
    chart = _open_out(field)
    neutral = chart.ink & (np.hypot(chart.vectors[..., 1], chart.vectors[..., 2]) < NEUTRAL)
    structure = find_structure(chart.ink, chart.vectors, neutral)
    x0, y0, x1, y1 = structure.box
    plot = (y1 - y0 + 1, x1 - x0 + 1)
    free = np.zeros_like(chart.ink)
    free[max(0, y0 - 1) : y1 + 2, max(0, x0 - 1) : x1 + 2] = True
    free &= chart.ink & ~structure.mask
    fills = filled_areas(chart.vectors, free)
    free &= ~fills
    free &= ~text(free, neutral, plot)
    return _number(field, _with_edges(_lines(chart, free, fills, plot), free), config)


def _lines(chart: _Chart, free: Mask, fills: Mask, plot: tuple[int, int]) -> list[Mask]:
    """The lines among the free ink, one ink after the other."""
    inks, colours = find_inks(chart.vectors, chart.contrast, free)
    inks = drop_legend_keys(drop_outlines(inks, fills, ~chart.ink), plot)
    every = np.logical_or.reduce(inks) if inks else np.zeros_like(free)
    lines = []
    for ink, colour in zip(inks, colours, strict=True):
        kept = keep_lines(ink, every, plot, coloured=bool(np.hypot(colour[1], colour[2]) >= NEUTRAL))
        lines.extend(link_lines(kept, plot))
    return lines


def _open_out(field: Field) -> _Chart:
    xs, ys = field.positions.T
    page = field.page[0] if len(field.page) else np.array([100, 0, 0], dtype=np.float32)
    ink = np.zeros(field.size, dtype=np.bool_)
    ink[ys, xs] = True
    vectors = np.zeros((*field.size, 3), dtype=np.float32)
    vectors[ys, xs] = field.colour - page
    return _Chart(ink, vectors, np.linalg.norm(vectors, axis=2))


def _with_edges(lines: list[Mask], free: Mask) -> list[Mask]:
    """The lines with the free ink that lies right beside them and is of no line: soft edges, crossings."""
    if not lines:
        return lines
    labels = np.zeros(free.shape, dtype=np.uint16)
    for k, line in enumerate(lines):
        labels[line] = k + 1
    away, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    names = np.zeros(int(nearest.max()) + 1, dtype=np.uint16)
    names[nearest[labels > 0]] = labels[labels > 0]
    grown = np.where(free & (labels == 0) & (away <= 2), names[nearest], labels)
    return [grown == k + 1 for k in range(len(lines))]


def _number(field: Field, lines: list[Mask], config: GroupingConfig) -> Groups:
    xs, ys = field.positions.T
    labels = np.full(len(field), -1, dtype=np.int64)
    for k, line in enumerate(lines):
        if line.sum() >= config.min_pixels:
            labels[line[ys, xs]] = k
    return number_lines(labels, labels >= 0)
