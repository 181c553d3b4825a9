"""Lines as a WebPlotDigitizer project: a tar archive with info.json, wpd.json and the picture."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from linegroup.errors import UserError
from linegroup.vectors.calibration import calibrate
from linegroup.vectors.export.base import ExportOptions, Picture
from linegroup.vectors.export.drawings import as_png
from linegroup.wire import AxisRecord, CalibrationRecord, LinesDocument

AXES = "axes"
CORNER = 0.5
"""WebPlotDigitizer counts from the corner of the first pixel, we from its centre."""


def wpd(pictures: list[Picture], _options: ExportOptions) -> bytes:
    """A project of version 4: one dataset per line, in its colour, its points being those of the polyline.

    With a calibration the axes are XY axes through its first two points of each; without one image axes, whose
    values are pixels. A natural logarithm becomes a decimal one: the values are the same.

    Raises:
        UserError: the picture, which a project holds, is not at hand.
    """
    picture = pictures[0]
    document = picture.document
    if picture.image is None:
        raise UserError(
            f"{document.image.name or 'The picture'} is needed for a WebPlotDigitizer project and was not found; say"
            " --images DIR where it is."
        )
    project = {
        "version": [4, 2],
        "axesColl": [_axes(document.calibration)],
        "datasetColl": _datasets(document),
        "measurementColl": [],
    }
    info = {"version": [4, 0], "json": "wpd.json", "images": ["image.png"]}
    folder = PurePosixPath(document.image.name or "chart").stem or "chart"
    files = {"info.json": _json(info), "wpd.json": _json(project), "image.png": as_png(picture.image)}
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
    return {
        "name": AXES,
        "type": "XYAxes",
        "isLogX": record.x.scale in ("log10", "ln"),
        "isLogY": record.y.scale in ("log10", "ln"),
        "noRotation": record.upright,
        "calibrationPoints": [*_points(record.x, 0), *_points(record.y, 1)],
    }


def _points(axis: AxisRecord, which: int) -> list[dict[str, Any]]:
    """The first and the last point of an axis."""
    found = []
    for point in (axis.points[0], axis.points[-1]):
        value = str(point.value).split("T")[0].replace("-", "/") if axis.scale == "date" else repr(float(point.value))
        values = [value if which == 0 else "0", value if which == 1 else "0"]
        x, y = point.pixel
        found.append({"px": x + CORNER, "py": y + CORNER, "dx": values[0], "dy": values[1], "dz": None})
    return found


def _datasets(document: LinesDocument) -> list[dict[str, Any]]:
    """Points in order, with their values."""
    calibration = calibrate(document.calibration) if document.calibration else None
    found = []
    for line in document.lines:
        points = np.array(line.polyline, dtype=np.float64)
        values = calibration.values(points) if calibration else points + CORNER
        data = [
            {"x": float(x + CORNER), "y": float(y + CORNER), "value": [float(v), float(w)]}
            for (x, y), (v, w) in zip(points, values, strict=True)
        ]
        found.append(
            {
                "name": line.name or f"line {line.id}",
                "axesName": AXES,
                "colorRGB": [*line.colour.rgb, 255],
                "metadataKeys": [],
                "data": data,
                "autoDetectionData": None,
            }
        )
    return found


def _json(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=False, allow_nan=False).encode()
