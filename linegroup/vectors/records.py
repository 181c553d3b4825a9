"""Lines that somebody drew, as a document like those of lines that were found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linegroup.errors import UserError
from linegroup.geometry import bounding_box
from linegroup.sample import Sample
from linegroup.wire import CalibrationRecord, Colour, ImageRecord, LineRecord, LinesDocument, ModelRecord

DRAWN = ModelRecord(name="annotation", version="1")
"""What stands where the model would."""


def document_of(sample: Sample, calibration: CalibrationRecord | None = None) -> LinesDocument:
    """The lines of a sample, numbered 1..K; they are sure (score 1), black, and have no masks.

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
                colour=Colour.of(0, 0, 0),
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
