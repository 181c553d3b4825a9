"""Files that people already use, made of `LinesDocument`s."""

from __future__ import annotations

from linegroup.errors import UserError, unknown_name
from linegroup.vectors.export.annotations import coco, label_png, labelme
from linegroup.vectors.export.base import Exporter, ExportOptions, Picture
from linegroup.vectors.export.drawings import geojson, svg
from linegroup.vectors.export.tables import csv_long, csv_wide, parquet
from linegroup.vectors.export.wpd import wpd
from linegroup.wire import to_json


def _json(pictures: list[Picture], _options: ExportOptions) -> bytes:
    return to_json(pictures[0].document).encode()


EXPORTERS: dict[str, Exporter] = {
    exporter.name: exporter
    for exporter in (
        Exporter("json", ".json", "the document itself, linegroup.lines/1", _json),
        Exporter("csv", ".csv", "a row for each point of each line", csv_long, together=True),
        Exporter("csv_wide", ".wide.csv", "a column of y for each line, on one common x", csv_wide),
        Exporter("parquet", ".parquet", "as csv, with types", parquet, together=True),
        Exporter("svg", ".svg", "a path for each line, over the picture with --embed", svg),
        Exporter("geojson", ".geojson", "a feature for each line, in world coordinates with --world", geojson),
        Exporter("coco", ".coco.json", "COCO annotations: polylines and run-length masks", coco, together=True),
        Exporter("labelme", ".labelme.json", "labelme: line strips and polygons", labelme),
        Exporter("wpd", ".tar", "a WebPlotDigitizer 4 project with the picture", wpd),
        Exporter("label_png", ".labels.png", "16-bit label image, 0 = no line", label_png),
    )
}
"""Formats by name."""


def choose_exporters(names: str) -> list[Exporter]:
    """Exporters from names joined by commas, each once.

    Raises:
        UserError: none are named, or there is no format of that name.
    """
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not chosen:
        raise UserError(f"Name at least one format: {', '.join(EXPORTERS)}.")
    for name in chosen:
        if name not in EXPORTERS:
            raise unknown_name("format", name, EXPORTERS)
    return [EXPORTERS[name] for name in chosen]


__all__ = ["EXPORTERS", "ExportOptions", "Exporter", "Picture", "choose_exporters"]
