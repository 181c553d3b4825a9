"""The inks that a chart's lines are drawn in, without what carries them: axes, fills, text, legend keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.grouping.fragments import (
    drop_legend_keys,
    drop_outlines,
    filled_areas,
    keep_believed,
    keep_lines,
    pieces,
    sure_pieces,
    text,
    without_specks,
)
from linegroup.grouping.inks import Colours, find_inks, open_out, page_colour
from linegroup.grouping.strokes import ink_box, ink_pixels
from linegroup.grouping.structure import find_structure
from linegroup.sample import Field

Mask = NDArray[np.bool_]

NEUTRAL = 12.0
"""Smallest difference in hue (Lab a, b) from the page for a pixel to have a colour."""

PALE = 4.0
"""Contrast of the palest lines that a model is believed."""

DOUBT = 0.6
"""Mean belief below which a straight line through the chart is none of its lines."""

VOTE = 0.5
"""Share of a piece's pixels that must be likely to be of a line for the piece to be."""

SPECK = 4
"""Pieces of a model's foreground of fewer pixels are none of a line's, unless there are others around."""

LONE, COMPANY = 31, 2
"""Side in pixels of the square in which other pieces are looked for, and how many pixels of them there must be."""


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
    tones = open_out(field)
    ink = without_specks(field.mask)
    neutral = _neutral(field) & ink
    structure = find_structure(ink, tones, neutral)
    x0, y0, x1, y1 = structure.box
    plot = (y1 - y0 + 1, x1 - x0 + 1)
    free = np.zeros_like(ink)
    area = np.s_[max(0, y0 - 1) : y1 + 2, max(0, x0 - 1) : x1 + 2]
    free[area] = ink[area] & ~structure.mask[area]
    fills = filled_areas(tones, free)
    free &= ~fills
    free &= ~text(free, neutral, plot)
    masks, colours = find_inks(tones, free)
    masks = drop_legend_keys(drop_outlines(masks, fills, ~ink), plot)
    return Inks(_not_empty(_drop_short(masks, colours, free, plot)), free, plot)


def foreground_inks(field: Field, carrying: NDArray[np.bool_] | None = None) -> Inks:
    """The inks of what a model says is on a line; the plot area is its box.

    Args:
        field: Of such candidates alone.
        carrying: `(N,)`, those that are of no line's way, but may be at its edge.
    """
    tones = open_out(field)
    aside = np.zeros(field.size, dtype=np.bool_)
    if carrying is not None:
        xs, ys = field.positions[carrying].T
        aside[ys, xs] = True
    ink = _without_lone_specks(field.mask & ~aside)
    if not ink.any():
        return Inks([], ink, field.size)
    masks, _ = find_inks(tones, ink, PALE)
    rows, columns = ink_box(ink)
    plot = rows.stop - rows.start, columns.stop - columns.start
    return Inks([m for m in masks if m.any()] or [ink], ink | aside, plot)


def likely_inks(field: Field, likely: NDArray[np.bool_]) -> Inks:
    """The inks of a chart's lines, where a model says which candidates are likely to be of lines.

    Axes, frame and grid are still seen better by their shape: they go first. Then pieces with a hue go as a whole
    with their pixels' vote, for a model may miss the paler parts of a line; of the others only likely pixels stay,
    for what is black touches text and axes. What looks like text, or too short for a line, stays
    where the model is sure of it.

    Args:
        field: All ink.
        likely: `(N,)`, candidates that are likely to be of lines.
    """
    tones = open_out(field)
    ink = field.mask
    neutral = _neutral(field)
    structure = find_structure(without_specks(ink), tones, neutral)
    x0, y0, x1, y1 = structure.box
    plot = (y1 - y0 + 1, x1 - x0 + 1)
    free = ink & ~structure.mask
    line = np.zeros_like(ink)
    xs, ys = field.positions[likely].T
    line[ys, xs] = True
    belief = np.zeros(field.size, dtype=np.float32)
    belief[field.positions[:, 1], field.positions[:, 0]] = field.foreground
    letters = line & text(free, neutral, plot)
    line &= ~letters | sure_pieces(letters, belief)
    hued = free & ~neutral
    part = pieces(hued & ~filled_areas(tones, hued))
    votes = np.bincount(part.image[line], minlength=len(part.areas) + 1)[1:]
    line = _without_lone_specks((line | part.select(votes >= VOTE * part.areas)) & free)
    masks, colours = find_inks(tones, line, PALE)
    masks = drop_legend_keys(masks, plot)
    long = _drop_short(masks, colours, line, plot)
    long = [some | keep_believed(mask & ~some, belief, plot) for mask, some in zip(masks, long, strict=True)]
    return Inks(_not_empty(long), free, plot)


def doubted_structure(field: Field) -> NDArray[np.bool_]:
    """`(N,)`, candidates of axes, frame and grid, but for rows and columns that a model says are lines on average."""
    tones = open_out(field)
    mask = find_structure(without_specks(field.mask), tones, _neutral(field)).mask
    xs, ys = field.positions.T
    own = np.flatnonzero(mask[ys, xs])
    means = []
    for at in (ys[own], xs[own]):
        count = np.maximum(np.bincount(at), 1)
        means.append((np.bincount(at, field.foreground[own]) / count)[at])
    doubted = np.zeros(len(field), dtype=np.bool_)
    doubted[own[np.maximum(*means) < DOUBT]] = True
    return doubted


def contrast_of(field: Field) -> NDArray[np.float32]:
    """`(h, w)`, how much each candidate differs from the page in Lab; 0 elsewhere."""
    contrast = np.zeros(field.size, dtype=np.float32)
    away = field.colour - page_colour(field)
    contrast[field.positions[:, 1], field.positions[:, 0]] = np.sqrt((away * away).sum(axis=1))
    return contrast


def has_hue(field: Field) -> NDArray[np.bool_]:
    """`(N,)`, candidates of another hue than the page."""
    return np.asarray(np.hypot(*(field.colour - page_colour(field))[:, 1:].T) >= NEUTRAL)


def _neutral(field: Field) -> Mask:
    """`(h, w)`, candidates without hue."""
    neutral = np.zeros(field.size, dtype=np.bool_)
    xs, ys = field.positions.T
    neutral[ys, xs] = ~has_hue(field)
    return neutral


def _drop_short(masks: Sequence[Mask], colours: Sequence[Colours], ink: Mask, plot: tuple[int, int]) -> list[Mask]:
    """The inks without what is too short for a line."""
    every = np.logical_or.reduce(masks) if masks else np.zeros_like(ink)
    return [
        keep_lines(mask, every, plot, coloured=bool(np.hypot(colour[1], colour[2]) >= NEUTRAL))
        for mask, colour in zip(masks, colours, strict=True)
    ]


def _not_empty(masks: Sequence[Mask]) -> list[Mask]:
    return [mask for mask in masks if mask.any()]


def _without_lone_specks(ink: Mask) -> Mask:
    """The ink without pieces of fewer than `SPECK` pixels that have next to no other ink around: not dots of a line."""
    part = pieces(ink)
    around = cv2.boxFilter(ink.astype(np.float32), -1, (LONE, LONE), normalize=False, borderType=cv2.BORDER_CONSTANT)
    most = np.zeros(len(part.areas) + 1, dtype=np.float32)
    ys, xs = ink_pixels(ink)
    np.maximum.at(most, part.image[ys, xs], around[ys, xs])
    return part.select((part.areas >= SPECK) | (most[1:] >= part.areas + COMPANY))
