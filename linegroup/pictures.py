"""Pictures of results, for people: overlays and contact sheets."""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from linegroup.errors import UserError
from linegroup.images import decode
from linegroup.sample import Sample
from linegroup.targets import draw_targets

Pixels = NDArray[np.uint8]
Cell = tuple[str, Pixels]
"""Caption and picture `(h, w, 3) uint8`."""

_GOLDEN = 0.618033988749895
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DIGIT = 21
"""Pixels that its digits are high at scale 1."""
_PLACES = (0.5, 0.55, 0.45, 0.62, 0.38, 0.7, 0.3, 0.8, 0.2, 0.9, 0.1, 1.0, 0.0)
"""Where along a line its number may stand, best first."""
_MANY, _CROWD = 30, 300
"""From so many lines on numbers are smaller; from so many on fewer places are tried."""
_NUMBER = 50
"""A number covers another one rather than this many times its area of lines."""
_CAPTION = 22
_GAP = 8


def palette(count: int) -> NDArray[np.uint8]:
    """`(count, 3) uint8` strong colours; neighbours in the list differ most."""
    colours = [
        colorsys.hsv_to_rgb((0.98 + k * _GOLDEN) % 1, (1.0, 0.75)[k // 7 % 2], (0.9, 0.65)[k // 14 % 2])
        for k in range(count)
    ]
    return np.asarray(np.rint(np.array(colours).reshape(-1, 3) * 255), dtype=np.uint8)


def overlay(pixels: Pixels, labels: NDArray[np.integer]) -> Pixels:
    """The chart, pale and grey, with each line of a label image `(h, w)` in its own colour.

    Lines are drawn one pixel fatter than they are, so that thin ones are seen.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    pale = (255 - (255 - grey) * 0.35)[..., None].repeat(3, axis=2).astype(np.uint8)
    colours = np.concatenate([np.zeros((1, 3), dtype=np.uint8), palette(int(labels.max(initial=0)))])
    fat = cv2.dilate(labels.astype(np.uint16), np.ones((3, 3), dtype=np.uint8))
    shown = np.where(labels > 0, labels, fat)
    pale[shown > 0] = colours[shown[shown > 0]]
    return pale


def numbered_overlay(pixels: Pixels, labels: NDArray[np.integer]) -> Pixels:
    """The `overlay` with each line's number beside it in its colour, near its middle where there is room.

    Lines without a pixel of their own in `labels` have no number.
    """
    shown = overlay(pixels, labels)
    inked = np.flatnonzero(labels)
    ids, counts = np.unique(labels.flat[inked], return_counts=True)
    if not len(ids):
        return shown
    page = tuple(int(value) for value in np.median(shown[labels == 0], axis=0)) if (labels == 0).any() else (255,) * 3
    colours = palette(int(ids[-1])).tolist()
    # By line, and of each from left to right.
    ys, xs = np.unravel_index(inked, labels.shape)
    order = np.lexsort((xs, labels.flat[inked]))
    scale, places = _text_scale(labels.shape, len(ids)), _PLACES if len(ids) < _CROWD else _PLACES[:3]
    taken = (labels > 0).astype(np.uint8)
    for k, pixels_of in zip(ids.tolist(), np.split(order, np.cumsum(counts)[:-1]), strict=True):
        along = [pixels_of[round(place * (len(pixels_of) - 1))] for place in places]
        box = _room(taken, [(int(xs[at]), int(ys[at])) for at in along], _text_size(str(k), scale))
        taken[max(0, box[1]) : box[3], max(0, box[0]) : box[2]] = _NUMBER
        where, thickness = (box[0] + 1, box[3] - 2), max(1, round(1.6 * scale))
        for colour, width in ((page, thickness + 2), (tuple(colours[k - 1]), thickness)):
            cv2.putText(shown, str(k), where, _FONT, scale, colour, width, cv2.LINE_AA)
    return shown


def _text_scale(shape: tuple[int, ...], lines: int) -> float:
    """Digits as high as a small part of the picture, smaller where there are many lines, never below eight pixels."""
    height = math.sqrt(shape[0] * shape[1]) / 36 * (1 if lines < _MANY else 0.7)
    return max(8.0, height) / _DIGIT


def _text_size(text: str, scale: float) -> tuple[int, int]:
    """Width and height in pixels, with a margin for the outline."""
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, max(1, round(1.6 * scale)))
    return width + 2, height + 3


def _room(
    taken: NDArray[np.uint8], points: Sequence[tuple[int, int]], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The box `(left, top, right, bottom)` beside one of a line's points that covers least."""
    (width, height), (rows, columns) = size, taken.shape
    best, least = (0, 0, width, height), np.inf
    for x, y in points:
        middle, centre = x - width // 2, y - height // 2
        for across, top in ((middle, y - height - 3), (middle, y + 4), (x + 4, centre), (x - width - 3, centre)):
            left, upper = max(0, min(across, columns - width)), max(0, min(top, rows - height))
            covered = int(taken[upper : upper + height, left : left + width].sum())
            if covered < least:
                best, least = (left, upper, left + width, upper + height), covered
        if not least:
            break
    return best


def contact_sheet(rows: Sequence[Sequence[Cell]], cell: tuple[int, int] = (300, 400)) -> Pixels:
    """Rows of captioned pictures, each fitted into `cell` `(height, width)` without distortion.

    Returns:
        `(H, W, 3) uint8` on white; one white pixel row when there is nothing to show.
    """
    height, width = cell
    columns = max((len(row) for row in rows), default=0)
    step = (height + _CAPTION + _GAP, width + _GAP)
    sheet = Image.new("RGB", (max(1, columns * step[1] + _GAP), max(1, len(rows) * step[0] + _GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, row in enumerate(rows):
        for j, (caption, pixels) in enumerate(row):
            x, y = _GAP + j * step[1], _GAP + i * step[0]
            draw.text((x, y + 2), _shorten(caption, font, width), fill=(40, 40, 40), font=font)
            fitted = Image.fromarray(_fit(pixels, cell))
            sheet.paste(fitted, (x, y + _CAPTION))
            draw.rectangle(
                (x - 1, y + _CAPTION - 1, x + fitted.width, y + _CAPTION + fitted.height), outline=(190, 190, 190)
            )
    return np.asarray(sheet)


def _fit(pixels: Pixels, cell: tuple[int, int]) -> Pixels:
    scale = min(cell[0] / pixels.shape[0], cell[1] / pixels.shape[1])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def sample_sheet(samples: Sequence[Sample], columns: int = 3, cell: tuple[int, int] = (240, 320)) -> Pixels:
    """Samples beside their truth, `columns` of them in a row: `(H, W, 3) uint8`.

    Raises:
        UserError: a sample has no picture.
    """
    cells: list[list[Cell]] = []
    for sample in samples:
        if sample.image is None:
            raise UserError(f"Sample {sample.id} has no picture to show.")
        pixels, truth = decode(sample.image).pixels, draw_targets(sample)
        words = " ".join(tag for tag in sample.tags if not tag.startswith(("renderer_", "synthetic")))
        cells.append([(f"{sample.id}: {words}", pixels), (f"{truth.count} lines", overlay(pixels, truth.labels))])
    rows = [list(itertools.chain(*cells[start : start + columns])) for start in range(0, len(cells), columns)]
    return contact_sheet(rows, cell)
