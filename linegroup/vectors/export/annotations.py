"""Lines as annotations: what labelling tools and training read."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np

from linegroup import __version__
from linegroup.images import encode_png
from linegroup.sample import Instance, Sample
from linegroup.sources.coco_write import write_coco_stream
from linegroup.vectors.export.base import ExportOptions, Picture, line_pixels_of, line_runs, size_of
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
    embedded = options.embed and picture.image is not None
    tree: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": document.image.name,
        "imageData": base64.b64encode(picture.image or b"").decode() if embedded else None,
        "imageHeight": document.image.height,
        "imageWidth": document.image.width,
        "linegroup": {"version": __version__, "model": document.model.model_dump()},
    }
    return (json.dumps(tree, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def label_png(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """16-bit PNG: 0 = none, else a line's id; where masks overlap, the line with fewer pixels is on top."""
    document = pictures[0].document
    size = size_of(document)
    labels = np.zeros(size, dtype=np.uint16)
    inks = [(line.id, line_pixels_of(line, size)) for line in document.lines]
    for number, pixels in sorted(inks, key=lambda ink: -(0 if ink[1] is None else len(ink[1]))):
        if pixels is not None:
            labels.ravel()[pixels] = number
    return encode_png(labels)
