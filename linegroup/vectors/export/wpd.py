"""Lines as a WebPlotDigitizer project: a tar archive with info.json, wpd.json and the picture."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.sources.wpd import PART
from linegroup.vectors.calibration import SCALES, Axis, calibrate, date_of
from linegroup.vectors.export.base import ExportOptions, Picture
from linegroup.vectors.export.drawings import as_png
from linegroup.wire import AxisRecord, CalibrationRecord, LineRecord, LinesDocument

AXES = "axes"
CORNER = 0.5
"""WebPlotDigitizer counts from the corner of the first pixel, we from its centre."""


def wpd(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """A project of version 4: one dataset per part of a line, in its colour, its points being those of the polyline.

    Datasets of one line are called NAME (part 1), NAME (part 2), …, and a closed line ends with its first point:
    `read_wpd` makes the same lines of them. With a calibration the axes are XY axes as they were fitted; without one
    image axes, whose values are pixels. A natural logarithm becomes a decimal one: the values are the same.

    Raises:
        UserError: the picture, which a project holds, is not at hand.
    """
    picture = pictures[0]
    document = picture.document
    image = as_png(picture.needed)
    project = {
        "version": [4, 2],
        "axesColl": [_axes(document.calibration)],
        "datasetColl": _datasets(document),
        "measurementColl": [],
    }
    info = {"version": [4, 0], "json": "wpd.json", "images": ["image.png"]}
    folder = PurePosixPath(document.image.name or "chart").stem or "chart"
    files = {"info.json": _json(info), "wpd.json": _json(project), "image.png": image}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _axes(record: CalibrationRecord | None) -> dict[str, Any]:
    if record is None:
        return {"name": AXES, "type": "ImageAxes"}
    for name in ("x", "y"):
        if getattr(record, name).scale == "date" and any(
            not isinstance(point.value, str) for point in getattr(record, name).points
        ):
            raise UserError(f"The dates of the {name} axis must be given as text, such as 2024-05-31.")
    fitted = calibrate(record)
    return {
        "name": AXES,
        "type": "XYAxes",
        "isLogX": record.x.scale in ("log10", "ln"),
        "isLogY": record.y.scale in ("log10", "ln"),
        "noRotation": record.upright,
        "calibrationPoints": [
            *_points(record.x, fitted.x, fitted.y, 0),
            *_points(record.y, fitted.y, fitted.x, 1),
        ],
    }


def _points(record: AxisRecord, axis: Axis, other: Axis, which: int) -> list[dict[str, Any]]:
    """Where an axis has its smallest and its largest known value, along it through the middle of its points."""
    middle = np.mean([point.pixel for point in record.points], axis=0)
    # Along an axis the other one's values do not change.
    along = np.array([other.normal[1], -other.normal[0]])
    low, high = axis.known
    # A project's dates have whole seconds.
    ends = (float(np.floor(low)), float(np.ceil(high))) if axis.scale == "date" else (low, high)
    found = []
    for end in ends:
        x, y = middle + along * (end - axis.scaled(middle)) / (axis.normal @ along) + CORNER
        values = ["0", "0"]
        values[which] = _value(end, axis.scale)
        found.append({"px": float(x), "py": float(y), "dx": values[0], "dy": values[1], "dz": None})
    return found


def _value(scaled: float, scale: str) -> str:
    if scale == "date":
        return date_of(scaled).replace("-", "/").replace("T", " ").rstrip("Z")
    # Without the rounding of logarithms: 100, not 100.00000000000004.
    return f"{float(SCALES[scale].back(np.array(scaled))):.15g}"


def _datasets(document: LinesDocument) -> list[dict[str, Any]]:
    """Points in order, with their values."""
    calibration = calibrate(document.calibration) if document.calibration else None
    found = []
    for line in document.lines:
        for name, points in _named_parts(line):
            values = calibration.values(points) if calibration else points + CORNER
            data = [
                {"x": float(x + CORNER), "y": float(y + CORNER), "value": [float(v), float(w)]}
                for (x, y), (v, w) in zip(points, values, strict=True)
            ]
            found.append(
                {
                    "name": name,
                    "axesName": AXES,
                    "colorRGB": [*line.colour.rgb, 255],
                    "metadataKeys": [],
                    "data": data,
                    "autoDetectionData": None,
                }
            )
    return found


def _named_parts(line: LineRecord) -> list[tuple[str, NDArray[np.float64]]]:
    """Name and points `(n, 2)` of each dataset of a line."""
    name = line.name or f"line {line.id}"
    curves = [np.array(curve, dtype=np.float64) for curve in line.curves]
    if line.closed:
        curves = [np.concatenate([curve, curve[:1]]) for curve in curves]
    if len(curves) == 1:
        return [(name, curves[0])]
    return [(PART.format(name=name, number=number), curve) for number, curve in enumerate(curves, start=1)]


def _json(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=False, allow_nan=False).encode()
