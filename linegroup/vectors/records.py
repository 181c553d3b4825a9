"""Lines as records: those that were found, and those that somebody drew."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.geometry import bounding_box
from linegroup.masks import runs_of_pixels
from linegroup.sample import Field, Groups, Sample
from linegroup.sources.coco_masks import characters
from linegroup.vectors.trace import trace
from linegroup.wire import (
    CalibrationRecord,
    Colour,
    ImageRecord,
    LineRecord,
    LinesDocument,
    MaskRecord,
    ModelRecord,
)

DRAWN = ModelRecord(name="annotation", version="1")
"""What stands where the model would."""


def document_of(sample: Sample, calibration: CalibrationRecord | None = None) -> LinesDocument:
    """The lines of a sample, numbered 1..K; they are sure (score 1) and have no masks.

    Names and colours (`#rrggbb`) are those of their `meta`; what has none is black.

    Raises:
        UserError: the sample has no lines.
    """
    if not sample.instances:
        raise UserError(f"{sample.name or f'Sample {sample.id}'} has no lines.")
    lines = []
    for number, line in enumerate(sample.instances, start=1):
        x0, y0, x1, y1 = bounding_box(line.part_arrays())
        left, top = int(np.floor(x0)), int(np.floor(y0))
        points = tuple((round(float(x), 3), round(float(y), 3)) for x, y in line.xy)
        lines.append(
            LineRecord(
                id=number,
                name=str(line.meta.get("name", "")),
                score=1,
                pixel_count=max(1, len(points)),
                bbox=(left, top, int(np.ceil(x1)) - left + 1, int(np.ceil(y1)) - top + 1),
                colour=_colour_of(str(line.meta.get("colour", ""))),
                polyline=points,
                parts=line.parts,
                closed=line.closed,
                thickness=line.thickness,
            )
        )
    height, width = sample.size
    return LinesDocument(
        image=ImageRecord(name=Path(sample.name).name, width=width, height=height),
        lines=tuple(lines),
        calibration=calibration,
        parameters={},
        model=DRAWN,
        timings_ms={},
    )


def _colour_of(text: str) -> Colour:
    if not re.fullmatch("#[0-9a-f]{6}", text):
        return Colour.of(0, 0, 0)
    red, green, blue = bytes.fromhex(text[1:])
    return Colour.of(red, green, blue)


def line_records(field: Field, groups: Groups, rgb: NDArray[np.uint8]) -> tuple[LineRecord, ...]:
    """Lines 1..K traced.

    Args:
        field: The candidates.
        groups: Which line each belongs to.
        rgb: `(N, 3) uint8`, the candidates' colours in the picture.
    """
    return tuple(_line(field, groups, rgb, k + 1, part) for k, part in enumerate(groups.members))


def _line(field: Field, groups: Groups, rgb: NDArray[np.uint8], number: int, part: NDArray[np.int64]) -> LineRecord:
    xs, ys = field.positions[part].T
    beside = groups.beside[groups.beside[:, 2] == number, :2]
    whole = np.concatenate([field.positions[part], beside]).astype(np.int64)
    red, green, blue = (round(float(c)) for c in rgb[part].mean(axis=0, dtype=np.float64))
    (x, y), (right, bottom) = whole.min(axis=0).tolist(), whole.max(axis=0).tolist()
    traced = trace(xs, ys, _ink(field, part))
    runs = runs_of_pixels(np.sort(whole[:, 1] * field.size[1] + whole[:, 0]), field.size[1])
    return LineRecord(
        id=number,
        score=round(float(np.clip(groups.scores[number - 1], 0, 1)), 6),
        pixel_count=int(np.count_nonzero(groups.labels == number)) + len(beside),
        bbox=(x, y, right - x + 1, bottom - y + 1),
        colour=Colour.of(red, green, blue),
        polyline=tuple((px, py) for px, py in traced.points.round(2).tolist()),
        parts=traced.parts,
        closed=traced.closed,
        thickness=round(traced.thickness, 2),
        mask=MaskRecord(size=field.size, counts=characters(runs, field.size)),
    )


def _ink(field: Field, part: NDArray[np.int64]) -> NDArray[np.float32]:
    """How much ink each of a line's pixels holds: its distance from the page's colour, at most the line's usual."""
    if not len(field.page):
        return np.ones(len(part), dtype=np.float32)
    contrast = np.linalg.norm(field.colour[part] - field.page[0], axis=1)
    full = max(float(np.quantile(contrast, 0.7)), 1e-6)
    return np.asarray(np.clip(contrast / full, 0.05, 1), dtype=np.float32)
