"""What of one ink is a line: pieces that go on; not text, legend keys, filled areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.grouping.inks import Tones, lengths
from linegroup.grouping.strokes import ink_box, ink_pixels
from linegroup.unions import unite

Mask = NDArray[np.bool_]
Size = tuple[int, int]

GAP = 7
"""Pieces at most twice this many pixels apart may be dashes of one line."""

SPACED = 21
"""The same for pieces that a model is sure of."""

SURE = 0.75
"""Pieces are surely of lines if their pixels are as likely on average."""

FILL = 13
"""Ink this many pixels thick is an area, not a line; narrower bands look like lines."""

FILL_SHARE = 0.014
"""In large pictures, whose lines are thicker, this share of the diagonal."""


SPECK = 8
"""Pieces of so few pixels are specks, if they are everywhere."""

CELL = 24
"""Side in pixels of the cells by which it is seen whether something is everywhere."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """The 8-connected pieces of a mask.

    Attributes:
        runs: `(r, 4) int32`, the rows of pixels that they are made of, in raster order: row, first column, the
            column after the last, number of the piece (1..n).
        boxes: `(n, 4)`, x, y, width, height.
        areas: `(n,)`, pixels.
        size: `(h, w)` of the mask.
    """

    runs: NDArray[np.int32]
    boxes: NDArray[np.int32]
    areas: NDArray[np.int32]
    size: Size

    @cached_property
    def image(self) -> NDArray[np.int32]:
        """`(h, w)`, 0 = none, 1..n."""
        image = np.zeros(self.size, dtype=np.int32)
        _fill(image, self.runs, np.arange(len(self.areas) + 1, dtype=np.int32))
        return image

    def select(self, chosen: Mask) -> Mask:
        """The pixels of the pieces where `chosen (n,)`."""
        image = np.zeros(self.size, dtype=np.uint8)
        _fill(image, self.runs, np.append(np.uint8(0), chosen.astype(np.uint8)))
        return image.view(np.bool_)

    def pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows, columns and pieces (0..n-1) of all pixels `(m,)`, in raster order."""
        y, first, past, number = self.runs.astype(np.int64).T
        lengths = past - first
        before = np.cumsum(lengths) - lengths
        columns = np.arange(int(lengths.sum())) + np.repeat(first - before, lengths)
        return np.repeat(y, lengths), columns, np.repeat(number - 1, lengths)

    def numbers_at(self, ys: NDArray[np.integer[Any]], xs: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """`(m,)`, which piece (1..n) each place is in; all of them are in some piece."""
        starts = self.runs[:, 0].astype(np.int64) * self.size[1] + self.runs[:, 1]
        run = np.searchsorted(starts, ys.astype(np.int64) * self.size[1] + xs, side="right") - 1
        return np.asarray(self.runs[run, 3], dtype=np.int64)


def pieces(mask: Mask) -> Pieces:
    """The 8-connected pieces of a mask, numbered as `cv2.connectedComponents` does: by their first 2x2 block."""
    flat = np.ascontiguousarray(mask).reshape(-1).view(np.uint8)
    eights = flat[: len(flat) // 8 * 8].view(np.uint64)
    runs, boxes, areas, block = _name_pieces(flat, eights, mask.shape[1])
    order = np.argsort(block, kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    runs[:, 3] = rank[runs[:, 3]]
    return Pieces(runs, boxes[order], areas[order], (mask.shape[0], mask.shape[1]))


@compiled
def _name_pieces(
    flat: NDArray[np.uint8], eights: NDArray[np.uint64], width: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Runs of pixels and which piece each is of (0..n-1), boxes and areas of the pieces, their first 2x2 blocks.

    Args:
        flat: A mask, row by row.
        eights: The same, eight at once, as far as there are so many: most are 0.
        width: Of its rows.
    """
    runs = _runs(flat, eights, width)
    count = len(runs)
    parent = np.arange(count)
    above, row = 0, 0
    for at in range(count):
        y, first, past = runs[at, 0], runs[at, 1], runs[at, 2]
        if at and y != runs[at - 1, 0]:
            # Runs `above..row` are those of the row before.
            above, row = row if y == runs[at - 1, 0] + 1 else at, at
        while above < row and runs[above, 2] < first:
            above += 1
        touching = above
        while touching < row and runs[touching, 1] <= past:
            unite(parent, touching, at)
            touching += 1
    number = 0
    for k in range(count):
        if parent[k] == k:
            runs[k, 3] = number
            number += 1
        else:
            runs[k, 3] = runs[parent[k], 3]
    boxes = np.zeros((number, 4), dtype=np.int32)
    areas = np.zeros(number, dtype=np.int32)
    block = np.empty(number, dtype=np.int64)
    for k in range(count):
        y, first, past, n = runs[k]
        key = (y // 2) * np.int64(width) + first // 2
        if areas[n] == 0:
            boxes[n] = first, y, past, y
            block[n] = key
        boxes[n, 0], boxes[n, 2], boxes[n, 3] = min(boxes[n, 0], first), max(boxes[n, 2], past), y
        block[n] = min(block[n], key)
        areas[n] += past - first
    boxes[:, 2] -= boxes[:, 0]
    boxes[:, 3] -= boxes[:, 1] - 1
    return runs, boxes, areas, block


@compiled
def _runs(flat: NDArray[np.uint8], eights: NDArray[np.uint64], width: int) -> NDArray[np.int32]:
    """`(m, 4)`, row, first column and the one after the last of each run, and room for a number; see `_name_pieces`."""
    found = np.empty((64, 4), dtype=np.int32)
    count, at, total = 0, 0, len(flat)
    while at < total:
        if flat[at] == 0:
            at += 1
            if at % 8 == 0:
                word = at // 8
                while word < len(eights) and eights[word] == 0:
                    word += 1
                at = 8 * word
            continue
        y = at // width
        first, end = at, (y + 1) * width
        while at < end and flat[at]:
            at += 1
        if count == len(found):
            more = np.empty((2 * count, 4), dtype=np.int32)
            more[:count] = found
            found = more
        found[count, 0], found[count, 1], found[count, 2] = y, first - y * width, at - y * width
        count += 1
    return found[:count].copy()


@compiled
def _fill(image: NDArray[Any], runs: NDArray[np.int32], values: NDArray[Any]) -> None:
    """Write the value of its piece (`values[0]` is of none) into each run, where that is not 0."""
    for k in range(len(runs)):
        value = values[runs[k, 3]]
        if value:
            image[runs[k, 0], runs[k, 1] : runs[k, 2]] = value


def filled_areas(tones: Tones, ink: Mask) -> Mask:
    """Bands, bars and panels: `(h, w) bool`, ink of the colours that fill discs wider than any line."""
    side = _thickness(ink.shape)
    every = side // FILL
    if every > 1:
        # In a large picture every second or third pixel tells an area from a line as well.
        some = np.s_[::every, ::every]
        small = filled_areas(replace(tones, where=tones.where[some]), ink[some])
        return ink & small.repeat(every, axis=0).repeat(every, axis=1)[: ink.shape[0], : ink.shape[1]]
    flat = _flat(tones, ink, side)
    answer = np.zeros_like(ink)
    if np.count_nonzero(flat) < side:
        return answer
    area = _around(flat, 2 * side)
    flat, where = flat[area], tones.where[area]
    reach = (2 * side + 1, 2 * side + 1)
    shown = np.zeros((*flat.shape, 3), dtype=np.float32)
    shown[flat] = tones.vectors[where[flat]]
    weight, colour = cv2.blur(flat.astype(np.float32), reach), cv2.blur(shown, reach)
    ys, xs = ink_pixels(ink[area] & (weight > 1e-4))
    away = tones.vectors[where[ys, xs]] - colour[ys, xs] / np.maximum(weight[ys, xs], 1e-6)[:, None]
    alike = lengths(away) < 10
    answer[area][ys[alike], xs[alike]] = True
    return answer


def _flat(tones: Tones, ink: Mask, side: int) -> Mask:
    """`(h, w)`, ink in the middle of discs of one colour."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # Lab differences go beyond what 8 bits hold only where ink is far from flat; eight bits are much faster.
    coded = np.full((len(tones.vectors) + 1, 3), 128, dtype=np.uint8)  # the last one is that of the page
    coded[:-1] = np.clip(tones.vectors + 128, 0, 255)
    picture = np.take(coded, tones.where, axis=0, mode="wrap")
    # First by the square within the disc, which is much faster and leaves little to look at.
    inner = int(side // 2 / 2**0.5)
    flat = np.asarray(ink & _even(picture, np.ones((2 * inner + 1, 2 * inner + 1), np.uint8)))
    if flat.any():
        area = _around(flat, side)
        flat[area] &= _even(np.ascontiguousarray(picture[area]), disc)
    return flat


def _even(picture: NDArray[np.uint8], window: NDArray[Any]) -> Mask:
    """`(h, w)`, where all channels of `(h, w, 3)` differ by little within a window."""
    one, two, three = cv2.split(cv2.subtract(cv2.dilate(picture, window), cv2.erode(picture, window)))
    return np.asarray(cv2.max(cv2.max(one, two), three) < 14)


def _around(mask: Mask, reach: int) -> tuple[slice, slice]:
    """Rows and columns of what is set and so many pixels around."""
    rows, columns = ink_box(mask)
    return (
        slice(max(0, rows.start - reach), rows.stop + reach),
        slice(max(0, columns.start - reach), columns.stop + reach),
    )


def drop_outlines(inks: Sequence[Mask], fills: Mask, page: Mask) -> list[Mask]:
    """The inks; those that mostly run around filled areas are empty.

    A line in a band has the band on both sides; the band's outline has the page on one.

    Args:
        inks: `(h, w)` each.
        fills: `(h, w)`, the filled areas.
        page: `(h, w)`, no ink at all.
    """
    if not fills.any():
        return list(inks)
    window = np.ones((7, 7), np.uint8)
    edge = _grown(fills, window) & _grown(page, window)
    counts = [(np.count_nonzero(edge & ink), np.count_nonzero(ink)) for ink in inks]
    return [
        np.zeros_like(ink) if there and beside / there > 0.6 else ink
        for ink, (beside, there) in zip(inks, counts, strict=True)
    ]


def _grown(mask: Mask, window: NDArray[np.uint8]) -> Mask:
    return np.asarray(cv2.dilate(mask.view(np.uint8), window), dtype=np.uint8).view(np.bool_)


def _thickness(shape: tuple[int, ...]) -> int:
    return max(FILL, round(FILL_SHARE * float(np.hypot(shape[0], shape[1])))) | 1


def text(ink: Mask, neutral: Mask, plot: Size) -> Mask:
    """`(h, w) bool`, rows of small neutral pieces, many with strokes one above the other: letters, unlike dashes."""
    part = pieces(ink)
    _, _, width, height = part.boxes.T
    ys, xs, number = part.pixels()
    grey = np.bincount(number[neutral[ys, xs]], minlength=len(part.areas)) > 0.6 * part.areas
    small = grey & (width <= max(24, 0.06 * plot[1])) & (height <= max(24, 0.08 * plot[0]))
    starts = (ys == 0) | ~ink[ys - 1, xs]
    runs = np.bincount(number[starts], minlength=len(small))
    letters = small & (runs > 1.25 * width)
    rows = pieces(_grown(part.select(small), np.ones((3, 15), np.uint8)))
    row_of = np.zeros(len(small), dtype=np.int64)
    in_row = part.runs[small[part.runs[:, 3] - 1]]
    row_of[in_row[:, 3] - 1] = rows.numbers_at(in_row[:, 0], in_row[:, 1])
    number_of_rows = len(rows.areas) + 1
    share = np.bincount(row_of, letters, number_of_rows) / np.maximum(np.bincount(row_of, minlength=number_of_rows), 1)
    return part.select(small & (share[row_of] >= 0.3))


def drop_legend_keys(masks: Sequence[Mask], plot: Size) -> list[Mask]:
    """The inks without the short strokes that legends show: flat, alone, and aligned over several inks."""
    every = np.zeros(masks[0].shape, dtype=np.uint8) if masks else np.zeros(plot, dtype=np.uint8)
    for mask in masks:
        every += mask.view(np.uint8)
    found = [pieces(mask) for mask in masks]
    keys: list[tuple[int, int]] = []
    for ink, part in enumerate(found):
        _, _, width, height = part.boxes.T
        flat = (width >= 10) & (width <= 0.15 * plot[1]) & (height <= 16) & (height <= 0.5 * width)
        keys.extend((ink, int(n)) for n in np.flatnonzero(flat) if _alone(part, int(n), every))
    drop = [np.zeros(len(part.areas), dtype=bool) for part in found]
    inks = np.array([ink for ink, _ in keys])
    boxes = np.array([found[ink].boxes[n] for ink, n in keys]).reshape(-1, 4)
    for (ink, n), (x, y, width, _) in zip(keys, boxes, strict=True):
        beside = (np.abs(boxes[:, 0] - x) <= 2) & (np.abs(boxes[:, 2] - width) <= 3)
        away = np.abs(boxes[:, 1] - y)
        drop[ink][n] = bool((beside & (inks != ink) & (away >= 8) & (away <= 80)).any())
    return [mask & ~part.select(out) if out.any() else mask for mask, part, out in zip(masks, found, drop, strict=True)]


def _alone(part: Pieces, n: int, every: NDArray[np.uint8]) -> bool:
    """Whether no other ink is within 3 pixels of a piece."""
    x, y, width, height = part.boxes[n]
    around = np.s_[max(0, y - 3) : y + height + 3, max(0, x - 3) : x + width + 3]
    return int(np.count_nonzero(every[around])) <= int(part.areas[n])


def keep_lines(mask: Mask, others: Mask, plot: Size, *, coloured: bool) -> Mask:
    """The pieces of one ink that make up lines: chains of pieces that run through a good part of the plot.

    Args:
        mask: `(h, w)`, the ink.
        others: `(h, w)`, all inks; pieces hidden under another ink go on behind it.
        plot: `(height, width)` of the plot area.
        coloured: Inks without colour may be text and must be longer.
    """
    part = pieces(mask)
    if not coloured:
        part = pieces(part.select(~_like_frame(part)))
    chains, wide, high, columns = _in_reach(part, GAP, others if coloured else None)
    if coloured:
        kept = (columns / plot[1] >= 0.04) & ((wide / plot[1] >= 0.12) | (high / plot[0] >= 0.3))
    else:
        kept = (columns / plot[1] >= 0.15) & (wide / plot[1] >= 0.3)
    answer = chains.select(kept)
    return answer | part.select(_marks(part, plot)) if coloured else answer


def keep_believed(mask: Mask, belief: NDArray[np.float32], plot: Size) -> Mask:
    """The pieces of one ink that a model is sure of, where they lie in a row at least as long as a part of a line.

    Args:
        mask: `(h, w)`, ink that by its looks alone would be too short.
        belief: `(h, w)`, how likely pixels are to be of lines.
        plot: `(height, width)` of the plot area.
    """
    chains, wide, _, columns = _in_reach(pieces(sure_pieces(mask, belief)), SPACED)
    return chains.select((columns / plot[1] >= 0.08) & (wide / plot[1] >= 0.15))


def sure_pieces(mask: Mask, belief: NDArray[np.float32]) -> Mask:
    """The pieces of ink whose pixels are likely to be of lines, `belief (h, w)`, by `SURE` on average."""
    part = pieces(mask)
    ys, xs, number = part.pixels()
    total = np.bincount(number, belief[ys, xs], len(part.areas))
    return part.select(total >= SURE * part.areas)


def _in_reach(
    part: Pieces, gap: int, behind: Mask | None = None
) -> tuple[Pieces, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pieces up to twice a gap from each other, or joined by what they may lie behind, as one.

    Returns:
        The pieces so joined; width, height and number of columns of each `(n,)`.
    """
    own = part.select(np.ones(len(part.areas), dtype=np.bool_))
    reach = _grown(own, np.ones((2 * gap + 1, 2 * gap + 1), np.uint8))
    chains = pieces(reach if behind is None else reach | behind)
    runs = part.runs.copy()
    runs[:, 3] = chains.numbers_at(runs[:, 0], runs[:, 1])
    order = np.argsort(runs[:, 3], kind="stable")
    extents = _extents(runs[order], len(chains.areas), part.size[1])
    return (Pieces(runs, chains.boxes, chains.areas, chains.size), *extents)


@compiled
def _extents(
    runs: NDArray[np.int32], count: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Width, height and number of columns of each of so many pieces; 0 of those without runs.

    Args:
        runs: As in `Pieces`, sorted by piece.
        count: How many pieces there are.
        width: Of the picture.
    """
    wide, high, columns = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    last = np.zeros(width, dtype=np.int32)
    left, right, top, bottom = 0, 0, 0, 0
    for k in range(len(runs)):
        y, first, past, number = runs[k]
        if k == 0 or runs[k - 1, 3] != number:
            left, right, top, bottom = first, past, y, y
        left, right, top, bottom = min(left, first), max(right, past), min(top, y), max(bottom, y)
        wide[number - 1], high[number - 1] = right - left, bottom - top + 1
        for x in range(first, past):
            if last[x] != number:
                last[x] = number
                columns[number - 1] += 1
    return wide, high, columns


def _marks(part: Pieces, plot: Size) -> Mask:
    """`(n,)`: pieces of one size, several, spread over the plot: a line of nothing but marks."""
    if len(part.areas) < 4:
        return np.zeros(len(part.areas), dtype=np.bool_)
    x, _, width, height = part.boxes.T
    usual = np.median(part.areas)
    alike = (part.areas > 0.4 * usual) & (part.areas < 2.5 * usual) & (np.maximum(width, height) < 0.06 * plot[1])
    spread = len(np.unique((x[alike] * 12) // plot[1])) >= 4
    return np.asarray(alike & (spread and bool(alike.mean() > 0.6)))


def without_specks(ink: Mask) -> Mask:
    """The ink, without its smallest pieces where they lie all over the picture: grain, dust, not dots of a line."""
    part = pieces(ink)
    small = part.areas <= SPECK
    if not small.any():
        return ink
    cells = (part.boxes[small, 1] // CELL).astype(np.int64) * (ink.shape[1] // CELL + 1) + part.boxes[small, 0] // CELL
    everywhere = len(np.unique(cells)) > 0.5 * (ink.size / CELL**2)
    if not everywhere:
        return ink
    return part.select(part.areas > max(SPECK, 2 * float(np.quantile(part.areas, 0.97))))


def _like_frame(part: Pieces) -> Mask:
    """`(n,)`: pieces that run along their own bounding box, as the frame of a legend does."""
    ys, xs, n = part.pixels()
    x, y, width, height = part.boxes[n].T
    edge = (xs - x < 4) | (x + width - xs <= 4) | (ys - y < 4) | (y + height - ys <= 4)
    share = np.bincount(n, edge, minlength=len(part.areas)) / np.maximum(part.areas, 1)
    return np.asarray((share > 0.85) & (part.boxes[:, 2] > 20) & (part.boxes[:, 3] > 16))
