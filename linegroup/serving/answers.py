"""The kinds of answers: from grouped candidates to the bytes that the client gets."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.images import encode_png
from linegroup.sample import Field, Groups
from linegroup.serving.deadline import check_time
from linegroup.serving.digits import json_by_id, json_rows
from linegroup.serving.formats import FORMATS
from linegroup.serving.limits import Limits
from linegroup.serving.schema import ClusterMeta, LabelledDocument
from linegroup.vectors.export import ExportOptions, Picture
from linegroup.vectors.records import line_records
from linegroup.wire import ImageRecord, LineRecord, LinesDocument, ModelRecord

JSON = "application/json"


@dataclass(frozen=True, eq=False)
class Found:
    """What is known of a picture once it is grouped; see `Parcel` and `Prediction`."""

    field: Field
    groups: Groups
    rgb: NDArray[np.uint8]
    image: ImageRecord
    parameters: GroupingConfig
    model: ModelRecord
    timings_ms: Mapping[str, float]
    picture: bytes | None
    limits: Limits
    deadline: float | None = None


@dataclass(frozen=True)
class Reply:
    """What the client gets for one picture, written already: the HTTP side passes it on.

    Attributes:
        body: The answer.
        media_type: Its type.
        suffix: End of the name of a file that it could be saved as; "" where it is not meant to be.
        lines: Number of lines (clusters).
        model: Name and version of what found them.
        timings_ms: Milliseconds by stage.
    """

    body: bytes
    media_type: str
    suffix: str
    lines: int
    model: ModelRecord
    timings_ms: Mapping[str, float]


@dataclass(frozen=True)
class Answer:
    """One kind of answer.

    Attributes:
        write: From what was found and the options to the reply.
        holds_picture: Whether, with these options, the reply contains the picture.
    """

    write: Callable[[Found, Mapping[str, Any]], Reply]
    holds_picture: Callable[[Mapping[str, Any]], bool]


def _clusters(found: Found, _options: Mapping[str, Any]) -> Reply:
    """The pixels of each cluster: see `ClusterAnswer`."""
    started = time.perf_counter()
    positions = found.field.positions
    chosen, counts = found.groups.by_line
    points, values = json_by_id(positions[chosen], counts), json_by_id(found.rgb[chosen], counts)
    noise = json_rows(positions[found.groups.labels == 0])
    timings = _with_stage(found.timings_ms, "write", started)
    meta = ClusterMeta(
        parameters=found.parameters.model_dump(mode="json"),
        image=found.image,
        model=found.model,
        num_candidates=len(found.field),
        notes=found.groups.notes,
        timings_ms=timings,
    )
    body = b'{"num_clusters":%d,"clusters":{%s},"cluster_pixel_values":{%s},"noise":%s,"meta":%s}' % (
        found.groups.count,
        points,
        values,
        noise,
        json.dumps(meta.model_dump(mode="json"), allow_nan=False).encode(),
    )
    return Reply(body, JSON, "", found.groups.count, found.model, timings)


def _lines(found: Found, options: Mapping[str, Any]) -> Reply:
    """The traced lines as a document or in a format of export."""
    found.limits.check_lines(found.field, found.groups)
    started = time.perf_counter()
    lines = line_records(found.field, found.groups, found.rgb)
    check_time(found.deadline)
    document = document_of(found, lines, _with_stage(found.timings_ms, "trace", started))
    started = time.perf_counter()
    chosen = FORMATS[str(options.get("format", "json"))]
    if chosen.takes_mask:
        document = MASKS[str(options.get("mask", "rle"))](found, document)
    export = ExportOptions(embed=bool(options.get("embed", False)))
    body = chosen.exporter.write([Picture(document, found.picture)], export)
    timings = _with_stage(document.timings_ms, "write", started)
    return Reply(body, chosen.media_type, chosen.exporter.suffix, len(lines), found.model, timings)


def document_of(found: Found, lines: tuple[LineRecord, ...], timings: Mapping[str, float]) -> LinesDocument:
    """What was found as a `linegroup.lines/1` document."""
    return LinesDocument(
        image=found.image,
        lines=lines,
        parameters=found.parameters.model_dump(mode="json"),
        model=found.model,
        notes=found.groups.notes,
        timings_ms=dict(timings),
    )


def _mask_rle(_found: Found, document: LinesDocument) -> LinesDocument:
    return document


def _mask_none(_found: Found, document: LinesDocument) -> LinesDocument:
    lines = tuple(line.model_copy(update={"mask": None}) for line in document.lines)
    return document.model_copy(update={"lines": lines})


def _mask_png(found: Found, document: LinesDocument) -> LinesDocument:
    labels = base64.b64encode(encode_png(found.groups.image(found.field))).decode()
    return LabelledDocument(**dict(_mask_none(found, document)), labels_png=labels)


def _with_stage(timings: Mapping[str, float], stage: str, started: float) -> dict[str, float]:
    """Milliseconds by stage, rounded as `Prediction.document` does."""
    return {name: round(ms, 3) for name, ms in {**timings, stage: 1e3 * (time.perf_counter() - started)}.items()}


def _never(_options: Mapping[str, Any]) -> bool:
    return False


def _in_format(options: Mapping[str, Any]) -> bool:
    return FORMATS[str(options.get("format", "json"))].holds_picture(bool(options.get("embed", False)))


MASKS: dict[str, Callable[[Found, LinesDocument], LinesDocument]] = {
    "rle": _mask_rle,
    "png": _mask_png,
    "none": _mask_none,
}
"""How a document says which pixels a line has: run lengths per line, one label image for all, not at all."""

ANSWERS: dict[str, Answer] = {"cluster": Answer(_clusters, _never), "lines": Answer(_lines, _in_format)}
"""Kinds of answers by name."""
