"""Lines as what goes on: the ink's strokes, linked at their ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.config import GroupingConfig
from linegroup.grouping.chain import Chain
from linegroup.grouping.chains import Looks
from linegroup.grouping.clustering import empty_groups, number_lines
from linegroup.grouping.furniture import (
    Inks,
    chart_inks,
    contrast_of,
    doubted_structure,
    foreground_inks,
    has_hue,
    likely_inks,
)
from linegroup.grouping.linking import bridges, drawn_over, link_lines, share_out
from linegroup.grouping.marks import Marks, find_marks
from linegroup.grouping.skew import find_skew, straighten
from linegroup.grouping.strokes import Strokes, find_strokes, ink_pixels, with_edges
from linegroup.grouping.workspace import Workspace
from linegroup.sample import Field, Groups

Mask = NDArray[np.bool_]

HIDDEN = 20.0
"""A line that is interrupted for at most so many pixels, where another one runs, goes on under it."""

BRIDGED = 4.0
"""Pixels; narrower gaps in a line's ink are of the line, too: it is dotted, badly printed or badly copied there."""

EDGE, BESIDE, FAR = 2.0, 1.5, 3.0
"""Pixels from a line: its soft edges; axes and grid under them; what a model says is of some line."""

ALONE = 0.8
"""An ink that holds this share of all is likely to be that of several lines."""

SEVERAL = 0.3
"""In an ink that holds this share of all marks are looked for; one with several kinds is that of several lines."""

SURE, CROWDED, MOSTLY, ODD = 0.5, 0.08, 0.4, 0.2
"""Where candidates are more than the second share of a picture, and the third share of them is not of lines that have a
hue, or where a model is as sure as the first of less than the fourth share, looks say little: paper, noise, filled
areas or text are most of what is not page, or one black line runs in the other."""

APART = 1.5
"""Distance of embeddings that are of two lines, where the configuration names no margin."""


def group_link(workspace: Workspace, config: GroupingConfig) -> Groups:
    """Lines are what goes on in itself: through crossings, over the gaps of dashes, under other lines.

    The ink is taken apart by colour; each ink's strokes, the branches of its skeleton, are linked at their ends by
    a matching of least cost (`linegroup.grouping.chains`). Pixels under a crossing belong to all its lines
    (`Groups.shared`); pixels of no line are dropped, whatever `config.noise` says.

    Without a model the candidates are everything that is not page (`non_background`), and what carries the lines
    of a chart goes first: axes, frame and grid, filled areas, text, legend keys. With a model the candidates are
    its foreground, or all ink, of which the foreground says what is likely, and where looks say little what there is;
    and its embeddings and tangents, where it has them, tell which ends go on in each other.
    """
    field = workspace.field
    if not len(field):
        return empty_groups(0)
    known, likely = field.foreground_known, field.foreground >= config.foreground_threshold
    if known and not likely.all() and _looks_say_little(field):
        threshold = max(SURE, config.foreground_threshold)
        drawing = workspace.keep(("sure", threshold), lambda: _sure_drawing(field, threshold))
    elif known and likely.all():
        drawing = workspace.keep("foreground", lambda: _Drawing(field, foreground_inks(field)))
    elif likely.all():
        drawing = workspace.keep("chart", lambda: _upright_drawing(field, likely))
    else:
        drawing = workspace.keep(("likely", config.foreground_threshold), lambda: _upright_drawing(field, likely))
    if not len(drawing.field):
        return empty_groups(len(field))
    groups = _group(drawing, _looks(drawing.field, config), config)
    return groups if drawing.order is None else _as_it_was(groups, drawing, field)


@dataclass(frozen=True, eq=False)
class _Drawing:
    """What is linked: the same whatever links may cost.

    Attributes:
        field: The candidates, straightened, or some of them.
        inks: Theirs.
        order: Which of all candidates they are; None: all, in order.
    """

    field: Field
    inks: Inks
    order: NDArray[np.int64] | None = None

    @cached_property
    def strokes(self) -> list[Strokes]:
        """Of each ink."""
        return [strokes for strokes, _ in self._marked]

    @property
    def marks(self) -> list[Marks | None]:
        """Of each ink, where it has several kinds of them: then it is that of several lines."""
        return [marks for _, marks in self._marked]

    @cached_property
    def amounts(self) -> list[int]:
        """Pixels of each ink."""
        return [int(np.count_nonzero(ink)) for ink in self.inks.masks]

    @cached_property
    def _marked(self) -> list[tuple[Strokes, Marks | None]]:
        whole = sum(self.amounts)
        contrast = contrast_of(self.field)
        return [
            find_marks(ink, contrast, find_strokes(ink)) if amount >= SEVERAL * whole else (find_strokes(ink), None)
            for ink, amount in zip(self.inks.masks, self.amounts, strict=True)
        ]


def _sure_drawing(field: Field, threshold: float) -> _Drawing:
    """What a model is sure of, and nothing else; nor axes and grid, some pixels of which it took for lines."""
    sure = field.foreground >= threshold
    order = np.flatnonzero(sure)
    part = field.part(order)
    return _Drawing(part, foreground_inks(part, doubted_structure(field)[sure]), order)


def _upright_drawing(field: Field, likely: Mask) -> _Drawing:
    """All candidates, the axes along rows and columns; `likely` `(N,)`: those that a model says are of lines."""
    order = np.arange(len(field))
    slope, lean = find_skew(field.mask)
    if slope or lean:
        field, order = straighten(field, slope, lean)
        likely = likely[order]
    return _Drawing(field, chart_inks(field) if likely.all() else likely_inks(field, likely), order)


def _looks_say_little(field: Field) -> bool:
    height, width = field.size
    sure = field.foreground >= SURE
    told_by_hue = np.count_nonzero(has_hue(field)[sure]) >= MOSTLY * len(field)
    crowded = len(field) > CROWDED * height * width and not told_by_hue
    return bool(crowded or np.count_nonzero(sure) < ODD * len(field))


def _looks(field: Field, config: GroupingConfig) -> Looks:
    where = np.full(field.size, -1, dtype=np.int32)
    embedded = config.embedding_cost > 0 and field.features.shape[1] > 0
    # Of what is not read nothing counts: it is not always asked for.
    if not (field.foreground_known or embedded or field.tangent.any()):
        return Looks(where, np.zeros((0, 0), np.float32), np.zeros((0, 2), np.float32), 1.0, 0.0)
    where[field.positions[:, 1], field.positions[:, 0]] = np.arange(len(field), dtype=np.int32)
    return Looks(where, field.features, field.tangent, 2 * (config.margin or APART), config.embedding_cost)


def _group(drawing: _Drawing, looks: Looks, config: GroupingConfig) -> Groups:
    """Number the lines of all inks; ink beside a line that is of none is its soft edge, or what lies under it."""
    field, inks = drawing.field, drawing.inks
    labels = np.zeros(field.size, dtype=np.int32)
    lines: list[list[Chain]] = []
    whole = sum(drawing.amounts)
    for ink, strokes, amount, marks in zip(inks.masks, drawing.strokes, drawing.amounts, drawing.marks, strict=True):
        seen = replace(looks, marks=marks) if looks.told or marks else None
        found = link_lines(ink, inks.plot, seen, alone=amount >= ALONE * whole or marks is not None, strokes=strokes)
        own = share_out(ink, found)
        np.add(own, len(lines), out=labels, where=own > 0)
        lines.extend(found)
    labels = with_edges(labels, (inks.free, EDGE))
    if field.foreground_known:
        wide = with_edges(labels, (inks.free & _believed(field, config), FAR))
        labels = np.where((labels == 0) & _grey_beside_hue(field, labels, wide), 0, wide)
    xs, ys = field.positions.T
    given = labels[ys, xs].astype(np.int64)
    sizes = np.bincount(given, minlength=len(lines) + 1)
    given = np.where((given > 0) & (sizes[given] >= config.min_pixels), given, 0)
    groups = number_lines(given - 1, given > 0)
    names = np.zeros(len(lines) + 1, dtype=np.int32)
    names[given] = groups.labels
    shared = _under_others(field, lines, given, groups.labels)
    return replace(groups, shared=shared, beside=_beside(field, lines, labels, names))


def _beside(
    field: Field, lines: list[list[Chain]], labels: NDArray[np.int32], names: NDArray[np.int32]
) -> NDArray[np.int32]:
    """`(B, 3)`, what fills up lines: narrow gaps, and what carries the chart right beside them, no way of theirs.

    Args:
        field: The candidates.
        lines: Chains of lines 1..n as they were found.
        labels: `(h, w)`, 0 or the line found of each pixel.
        names: `(n + 1,)`, 0 or the number in the answer of each line found.
    """
    wide = with_edges(labels, (field.mask, BESIDE))
    places, line = bridges(lines, wide, BRIDGED)
    free = ~field.mask[places[:, 1], places[:, 0]]
    ys, xs = ink_pixels(wide > labels)
    places = np.concatenate([places[free], np.stack([xs, ys], axis=1)])
    name = names[np.concatenate([line[free], wide[ys, xs]])]
    beside: NDArray[np.int32] = np.column_stack([places, name])[name > 0].astype(np.int32)
    return beside


def _under_others(
    field: Field, lines: list[list[Chain]], given: NDArray[np.int64], labels: NDArray[np.int32]
) -> NDArray[np.int32]:
    """`(M, 2)`, further lines of pixels: those whose own way leads over them.

    Args:
        field: The candidates.
        lines: Chains of lines 1..n as they were found.
        given: `(N,)`, 0 or the line found of each candidate.
        labels: `(N,)`, 0 or its number in the answer.
    """
    if len(lines) < 2:
        return np.zeros((0, 2), dtype=np.int32)
    xs, ys = field.positions.T
    pairs = []
    for k, line in enumerate(lines, start=1):
        own = labels[given == k]
        if not len(own):
            continue
        over = np.flatnonzero(drawn_over(line, field.size, HIDDEN)[ys, xs] & (given > 0) & (given != k))
        pairs.append(np.stack([over, np.full(len(over), own[0])], axis=1))
    shared = (np.concatenate(pairs) if pairs else np.zeros((0, 2))).astype(np.int32)
    return shared[np.lexsort(shared.T)]


def _grey_beside_hue(field: Field, labels: NDArray[np.int32], wide: NDArray[np.int32]) -> Mask:
    """`(h, w)`, ink without hue of lines with hue: grid that goes on from under them, whatever a model says."""
    hued = np.zeros(field.size, dtype=np.bool_)
    xs, ys = field.positions.T
    hued[ys, xs] = has_hue(field)
    most = int(labels.max(initial=0)) + 1
    share = np.bincount(labels[hued], minlength=most) / np.maximum(np.bincount(labels.ravel(), minlength=most), 1)
    return np.asarray((share > 0.5)[wide] & ~hued)


def _believed(field: Field, config: GroupingConfig) -> Mask:
    """`(h, w)`, candidates that are at least half as likely to be of a line as is asked for."""
    mask = np.zeros(field.size, dtype=np.bool_)
    xs, ys = field.positions[field.foreground >= 0.5 * config.foreground_threshold].T
    mask[ys, xs] = True
    return mask


def _as_it_was(groups: Groups, drawing: _Drawing, field: Field) -> Groups:
    """The groups of a straightened field, or of a part of one, candidate by candidate as in the field before."""
    order = np.arange(len(field)) if drawing.order is None else drawing.order
    labels = np.zeros(len(field), dtype=np.int64)
    labels[order] = groups.labels
    back = number_lines(labels - 1, labels > 0)
    renamed = np.zeros(groups.count + 1, dtype=np.int32)
    renamed[labels] = back.labels
    shared = np.stack([order[groups.shared[:, 0]], renamed[groups.shared[:, 1]]], axis=1).astype(np.int32)
    beside = groups.beside.copy()
    beside[:, 2] = renamed[beside[:, 2]]
    moved = field.positions[order] - drawing.field.positions
    if len(beside) and moved.any():
        # It was moved as the ink next to it.
        nearest = cKDTree(drawing.field.positions).query(beside[:, :2])[1]
        beside[:, :2] += moved[nearest]
        beside = _on_page(beside, field.label_image(back.labels))
    return replace(back, shared=shared[np.lexsort(shared.T)], beside=beside)


def _on_page(beside: NDArray[np.int32], labels: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Without what lies beyond the picture or has a label `(h, w)` already; each pixel once."""
    x, y = beside[:, 0], beside[:, 1]
    beside = beside[(x >= 0) & (y >= 0) & (x < labels.shape[1]) & (y < labels.shape[0])]
    beside = beside[labels[beside[:, 1], beside[:, 0]] == 0]
    first = np.unique(beside[:, :2], axis=0, return_index=True)[1]
    return np.asarray(beside[first])
