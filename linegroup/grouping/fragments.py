"""What of one ink is a line: pieces that go on; not text, legend keys, filled areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Size = tuple[int, int]

GAP = 7
"""Pieces at most twice this many pixels apart may be dashes of one line."""

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
        image: `(h, w) int32`, 0 = none, 1..n.
        boxes: `(n, 4)`, x, y, width, height.
        areas: `(n,)`, pixels.
    """

    image: NDArray[np.int32]
    boxes: NDArray[np.int32]
    areas: NDArray[np.int32]

    def select(self, chosen: Mask) -> Mask:
        """The pixels of the pieces where `chosen (n,)`."""
        return np.asarray(np.concatenate([[False], chosen])[self.image])


def pieces(mask: Mask) -> Pieces:
    """The 8-connected pieces of a mask."""
    _, image, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    numbers, table = np.asarray(image, dtype=np.int32), np.asarray(stats, dtype=np.int32)
    return Pieces(numbers, table[1:, :4], table[1:, 4])


def filled_areas(vectors: NDArray[np.float32], ink: Mask) -> Mask:
    """Bands, bars and panels: `(h, w) bool`, ink of the colours that fill discs wider than any line.

    Args:
        vectors: `(h, w, 3)`, colours.
        ink: `(h, w)`, where to look.
    """
    every = max(1, _thickness(ink.shape) // FILL)
    if every > 1:
        # In a large picture every second or third pixel tells an area from a line as well.
        small = filled_areas(np.ascontiguousarray(vectors[::every, ::every]), ink[::every, ::every])
        return ink & small.repeat(every, axis=0).repeat(every, axis=1)[: ink.shape[0], : ink.shape[1]]
    side = _thickness(ink.shape)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # Lab differences go beyond what 8 bits hold only where ink is far from flat; eight bits are much faster.
    coded = np.clip(vectors + 128, 0, 255).astype(np.uint8)
    flat = ink & ((cv2.dilate(coded, disc) - cv2.erode(coded, disc)).max(axis=2) < 14)
    if flat.sum() < side:
        return np.zeros_like(ink)
    reach = (2 * side + 1, 2 * side + 1)
    weight = cv2.blur(flat.astype(np.float32), reach)
    colour = cv2.blur(np.where(flat[..., None], vectors, 0), reach) / np.maximum(weight, 1e-6)[..., None]
    alike = np.linalg.norm(vectors - colour, axis=2) < 10
    return np.asarray(ink & (weight > 1e-4) & alike)


def drop_outlines(inks: Sequence[Mask], fills: Mask, page: Mask) -> list[Mask]:
    """The inks; those that mostly run around filled areas are empty.

    A line in a band has the band on both sides; the band's outline has the page on one.

    Args:
        inks: `(h, w)` each.
        fills: `(h, w)`, the filled areas.
        page: `(h, w)`, no ink at all.
    """
    window = np.ones((7, 7), np.uint8)
    edge = (cv2.dilate(fills.astype(np.uint8), window) > 0) & (cv2.dilate(page.astype(np.uint8), window) > 0)
    return [np.zeros_like(ink) if ink.any() and float(np.mean(edge[ink])) > 0.6 else ink for ink in inks]


def _thickness(shape: tuple[int, ...]) -> int:
    return max(FILL, round(FILL_SHARE * float(np.hypot(shape[0], shape[1])))) | 1


def text(ink: Mask, neutral: Mask, plot: Size) -> Mask:
    """`(h, w) bool`, rows of small neutral pieces, many with strokes one above the other: letters, unlike dashes."""
    part = pieces(ink)
    _, _, width, height = part.boxes.T
    grey = np.bincount(part.image[neutral], minlength=len(part.areas) + 1)[1:] > 0.6 * part.areas
    small = grey & (width <= max(24, 0.06 * plot[1])) & (height <= max(24, 0.08 * plot[0]))
    starts = (part.image > 0) & (np.pad(part.image, ((1, 0), (0, 0)))[:-1] != part.image)
    runs = np.bincount(part.image[starts], minlength=len(small) + 1)[1:]
    letters = small & (runs > 1.25 * width)
    rows = pieces(cv2.dilate(part.select(small).astype(np.uint8), np.ones((3, 15), np.uint8)) > 0)
    row_of = np.zeros(len(small) + 1, dtype=np.int64)
    row_of[part.image.ravel()] = rows.image.ravel()
    row_of = np.where(small, row_of[1:], 0)
    number = len(rows.areas) + 1
    share = np.bincount(row_of, letters, number) / np.maximum(np.bincount(row_of, minlength=number), 1)
    return part.select(small & (share[row_of] >= 0.3))


def drop_legend_keys(masks: Sequence[Mask], plot: Size) -> list[Mask]:
    """The inks without the short strokes that legends show: flat, alone, and aligned over several inks."""
    every = np.zeros(masks[0].shape, dtype=np.uint8) if masks else np.zeros(plot, dtype=np.uint8)
    for mask in masks:
        every += mask
    found = [pieces(mask) for mask in masks]
    keys: list[tuple[int, int]] = []
    for ink, part in enumerate(found):
        _, _, width, height = part.boxes.T
        flat = (width >= 10) & (width <= 0.15 * plot[1]) & (height <= 16) & (height <= 0.5 * width)
        keys.extend((ink, int(n)) for n in np.flatnonzero(flat) if _alone(part, int(n), every))
    drop = [np.zeros(len(part.areas), dtype=bool) for part in found]
    for i, (ink, n) in enumerate(keys):
        x, y, width, _ = found[ink].boxes[n]
        for other, m in keys[i + 1 :]:
            x2, y2, width2, _ = found[other].boxes[m]
            if other != ink and abs(x - x2) <= 2 and abs(width - width2) <= 3 and 8 <= abs(y - y2) <= 80:
                drop[ink][n] = drop[other][m] = True
    return [mask & ~part.select(out) for mask, part, out in zip(masks, found, drop, strict=True)]


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
    own = part.image > 0
    reach = cv2.dilate(own.astype(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8))
    chains = pieces((reach > 0) | others) if coloured else pieces(reach > 0)
    answer = np.zeros_like(mask)
    if coloured:
        answer |= part.select(_marks(part, plot))
    chain_of = np.where(own, chains.image, 0)
    for n in np.unique(chain_of[chain_of > 0]):
        ys, xs = np.nonzero(chain_of == n)
        wide = (xs.max() - xs.min() + 1) / plot[1]
        high = (ys.max() - ys.min() + 1) / plot[0]
        columns = len(np.unique(xs)) / plot[1]
        if columns >= (0.04 if coloured else 0.15) and (wide >= 0.3 or (coloured and (wide >= 0.12 or high >= 0.3))):
            answer[ys, xs] = True
    return answer


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
    ys, xs = np.nonzero(part.image)
    n = part.image[ys, xs] - 1
    x, y, width, height = part.boxes[n].T
    edge = (xs - x < 4) | (x + width - xs <= 4) | (ys - y < 4) | (y + height - ys <= 4)
    share = np.bincount(n, edge, minlength=len(part.areas)) / np.maximum(part.areas, 1)
    return np.asarray((share > 0.85) & (part.boxes[:, 2] > 20) & (part.boxes[:, 3] > 16))
