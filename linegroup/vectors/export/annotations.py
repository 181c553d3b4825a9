"""Lines as annotations: what labelling tools and training read."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np

from linegroup import __version__
from linegroup.errors import UserError
from linegroup.images import encode_png
from linegroup.masks import pixels_of
from linegroup.sample import Instance, Sample
from linegroup.sources.coco_write import write_coco_stream
from linegroup.targets import MOST_LINES, line_pixels
from linegroup.vectors.export.base import ExportOptions, Picture, check_size, line_runs, size_of
from linegroup.wire import LinesDocument

CATEGORY = "line"


def coco(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """COCO annotations as `linegroup shard` reads them: `polyline` or `pieces`, and masks as run lengths."""
    stream = io.BytesIO()
    write_coco_stream(
        stream, (to_sample(picture.document, number) for number, picture in enumerate(pictures)), {1: CATEGORY}
    )
    return stream.getvalue()


def to_sample(document: LinesDocument, number: int, image: bytes | None = None) -> Sample:
    """The lines of a document as a `Sample`, for training on them; scores, colours and names stand in `meta`."""
    size = size_of(document)
    lines = []
    for line in document.lines:
        xy = np.array(line.polyline, dtype=np.float32)
        if (xy == xy[0]).all():
            # A dot has no length, which annotations need.
            xy = np.stack([xy[0] - (0.25, 0), xy[0] + (0.25, 0)])
        lines.append(
            Instance(
                line.id,
                xy,
                CATEGORY,
                parts=line.parts if len(xy) == len(line.polyline) else (0,),
                closed=line.closed,
                thickness=line.thickness,
                meta={"score": line.score, "colour": line.colour.hex, **({"name": line.name} if line.name else {})},
                runs=line_runs(line, size),
            )
        )
    return Sample(number, size, tuple(lines), name=document.image.name, image=image)


def labelme(pictures: list[Picture], options: ExportOptions) -> bytes:
    """Labelme's JSON: a line strip per part of a line, a polygon for a closed one, a point for a dot.

    A shape's label is the name of its line, or line_1, line_2, … Parts of one line share a group_id. labelme counts
    from pixel corners.

    Raises:
        UserError: the picture is to be put in, and is not at hand.
    """
    picture = pictures[0]
    document = picture.document
    shapes = []
    for line in document.lines:
        for curve in line.curves:
            kind = "polygon" if line.closed and len(curve) > 2 else "linestrip" if len(curve) > 1 else "point"
            shapes.append(
                {
                    "label": line.name or f"{CATEGORY}_{line.id}",
                    "points": [[x + 0.5, y + 0.5] for x, y in curve],
                    "group_id": line.id,
                    "description": line.colour.hex,
                    "shape_type": kind,
                    "flags": {},
                    "mask": None,
                }
            )
    tree: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": picture.place or document.image.name,
        "imageData": base64.b64encode(picture.needed).decode() if options.embed else None,
        "imageHeight": document.image.height,
        "imageWidth": document.image.width,
        "linegroup": {"version": __version__, "model": document.model.model_dump()},
    }
    return (json.dumps(tree, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def label_png(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """16-bit PNG: 0 = none, else a line's id; where lines overlap, the one with fewer pixels is on top.

    A line without a mask is drawn along its polyline, in its thickness or the usual one.

    Raises:
        UserError: a mask is damaged, the picture is too large to be drawn, or an id too large for 16 bits.
    """
    document = pictures[0].document
    size = size_of(document)
    check_size(size)
    ids = [line.id for line in document.lines]
    if max(ids, default=0) > MOST_LINES:
        raise UserError(f"Line {max(ids)} has no label: they are numbers up to {MOST_LINES}.")
    labels = np.zeros(size, dtype=np.uint16)
    lines = to_sample(document, 0).instances
    inks = [(line.id, pixels_of(line.runs)) for line in lines if line.runs is not None]
    bare = tuple(line for line in lines if line.runs is None)
    inks += zip((line.id for line in bare), line_pixels(Sample(0, size, bare)), strict=True)
    for number, pixels in sorted(inks, key=lambda ink: -len(ink[1])):
        labels.ravel()[pixels] = number
    return encode_png(labels)
