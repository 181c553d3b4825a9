"""Samples → COCO annotation files that read back as the same samples."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from linegroup.files import write_atomic, write_bytes
from linegroup.geometry import bounding_box
from linegroup.sample import Instance, Sample
from linegroup.sources.coco_parse import safe_path


def write_coco(samples: Iterable[Sample], path: Path, images: Path | None = None) -> None:
    """Write an annotation file, atomically; with `images`, the pictures below that folder too.

    What COCO has no key for stands in keys of our own (`polyline`, `pieces`, `thickness`, `z`, `group`,
    `ignore`, `meta`, …), so that `read_coco` gives equal samples back; `bbox` is for other tools.
    Samples may come from a generator: one is held at a time.

    Raises:
        BadRecord: a sample's name leads out of `images`.
        OSError: something could not be written.
    """
    write_atomic(path, lambda stream: _write(stream, samples, images))


def _write(stream: IO[bytes], samples: Iterable[Sample], images: Path | None) -> None:
    numbers: dict[str, int] = {}
    # Annotations stand after all images in the file; until then they wait on disk, not in memory.
    with tempfile.TemporaryFile() as later:
        stream.write(b'{"info":{"description":"linegroup","pixel_convention":"integer = pixel centre"},\n"images":[')
        separator, lines_separator = b"\n", b"\n"
        for sample in samples:
            if images is not None and sample.image is not None:
                write_bytes(safe_path(images, sample.name), sample.image)
            stream.write(separator + _json(_image_record(sample)))
            separator = b",\n"
            for line in sample.instances:
                number = numbers.setdefault(line.category, len(numbers) + 1)
                later.write(lines_separator + _json(_line_record(line, sample, number)))
                lines_separator = b",\n"
        categories = [{"id": number, "name": name} for name, number in numbers.items()]
        stream.write(b'],\n"categories":' + _json(categories) + b',\n"annotations":[')
        later.seek(0)
        while chunk := later.read(1 << 20):
            stream.write(chunk)
        stream.write(b"]}\n")


def _image_record(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "file_name": sample.name,
        "width": sample.size[1],
        "height": sample.size[0],
        "group": sample.group,
        "tags": list(sample.tags),
        "ignore": [_flat(polygon) for polygon in sample.ignore],
        "meta": dict(sample.meta),
    }


def _line_record(line: Instance, sample: Sample, category: int) -> dict[str, Any]:
    parts = [_flat(part) for part in line.part_arrays()]
    x0, y0, x1, y1 = bounding_box(line.part_arrays())
    return {
        "id": line.id,
        "image_id": sample.id,
        "category_id": category,
        "iscrowd": 0,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        **({"polyline": parts[0]} if len(parts) == 1 else {"pieces": parts}),
        "kind": line.kind,
        "closed": line.closed,
        "thickness": line.thickness,
        "z": line.z,
        "meta": dict(line.meta),
    }


def _flat(points: NDArray[np.float32]) -> list[float]:
    # The shortest decimals that read back as the same float32.
    return [float(str(value)) for value in points.ravel()]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
