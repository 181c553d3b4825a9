"""Samples → COCO annotation files that read back as the same samples."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.files import write_atomic, write_bytes
from linegroup.geometry import bounding_box, length
from linegroup.sample import Instance, Sample
from linegroup.sources.coco_masks import rle
from linegroup.sources.coco_parse import IMAGE_KEYS, LARGEST_ID, LINE_KEYS, OWN_KEY, BadRecord, safe_path

HELD_BYTES = 32 << 20
"""Annotations held in memory until all images are written; more wait in a temporary file."""


def write_coco(
    samples: Iterable[Sample],
    path: Path,
    images: Path | None = None,
    *,
    categories: Mapping[int, str] | None = None,
) -> None:
    """Write an annotation file, atomically; with `images`, the pictures below that folder too.

    `read_coco` gives equal samples back, in the order of their ids. What COCO has no key for stands in
    `polyline` or `pieces`, `thickness`, `group`, `tags` and the object `linegroup`; `bbox` (x, y, width,
    height) and `area` (length × thickness) are for other tools. Exact ink (`runs`) becomes `segmentation`
    as uncompressed RLE. Samples may come from a generator: one is
    held at a time, beside the ids.

    Args:
        samples: With ids ≥ 0, each once. Annotation ids that are used twice are numbered anew in `id`; the
            instance's own stands in `linegroup.id`.
        path: The file.
        images: Folder for the pictures, under the samples' names.
        categories: Numbers of the categories to keep; others are numbered after them as they come.

    Raises:
        UserError: a sample that could not be read back: an id twice or below 0, a line without length, no
            picture or a name that leads out of `images`, contents that JSON cannot hold.
        OSError: something could not be written.
    """
    write_atomic(path, lambda stream: write_coco_stream(stream, samples, categories, images))


def write_coco_stream(
    stream: IO[bytes],
    samples: Iterable[Sample],
    categories: Mapping[int, str] | None = None,
    images: Path | None = None,
) -> None:
    """As `write_coco`, into an open file or memory."""
    _Document(images, {name: number for number, name in (categories or {}).items()}).write(stream, samples)


@dataclass
class _Document:
    """A file on its way: the numbers given so far."""

    images: Path | None
    categories: dict[str, int]
    ids: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    line_ids: set[int] = field(default_factory=set)
    largest: int = -1

    def write(self, stream: IO[bytes], samples: Iterable[Sample]) -> None:
        with tempfile.SpooledTemporaryFile(HELD_BYTES) as later:
            stream.write(
                b'{"info":{"description":"linegroup","pixel_convention":"integer = pixel centre"},\n"images":['
            )
            for sample in samples:
                stream.write((b",\n" if self.ids else b"\n") + self.image(sample))
                for line in sample.instances:
                    later.write((b",\n" if self.line_ids else b"\n") + self.line(line, sample))
            categories = [{"id": number, "name": name} for name, number in self.categories.items()]
            stream.write(b'],\n"categories":' + _json(categories, "Categories") + b',\n"annotations":[')
            later.seek(0)
            while chunk := later.read(1 << 20):
                stream.write(chunk)
            stream.write(b"]}\n")

    def image(self, sample: Sample) -> bytes:
        where = f"Sample {sample.id}"
        _check_id(sample.id, where)
        if sample.id in self.ids:
            raise UserError(f"{where}: its id was written before; ids must differ within a file.")
        self.ids.add(sample.id)
        if self.images is not None:
            self._write_picture(sample, self.images)
        own: dict[str, Any] = {"ignore": [_flat(polygon) for polygon in sample.ignore]} if sample.ignore else {}
        facts = {
            "id": sample.id,
            "file_name": sample.name,
            "width": sample.size[1],
            "height": sample.size[0],
            "group": sample.group,
            "tags": list(sample.tags),
        }
        return _json(_with_meta(facts, own, sample.meta, IMAGE_KEYS), where)

    def line(self, line: Instance, sample: Sample) -> bytes:
        where = f"Sample {sample.id}, instance {line.id}"
        _check_id(line.id, where)
        if (line.xy == line.xy[0]).all():
            raise UserError(f"{where}: the line has no length and would not be read back; leave it out.")
        number = line.id if line.id not in self.line_ids else self.largest + 1
        self.line_ids.add(number)
        self.largest = max(self.largest, number)
        parts = line.part_arrays()
        x0, y0, x1, y1 = bounding_box(parts)
        facts = {
            "id": number,
            "image_id": sample.id,
            "category_id": self._category(line.category),
            "iscrowd": 0,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": round(sum(map(length, parts)) * (line.thickness or 1), 2),
            "segmentation": [] if line.runs is None else rle(line.runs, sample.size),
            **({"polyline": _flat(line.xy)} if len(parts) == 1 else {"pieces": [_flat(part) for part in parts]}),
            # Always there: without it a `style` in the meta would be asked.
            "thickness": line.thickness,
        }
        own: dict[str, Any] = {} if number == line.id else {"id": line.id}
        usual = {"kind": "polyline", "closed": False, "z": 0}
        own |= {key: getattr(line, key) for key, value in usual.items() if getattr(line, key) != value}
        return _json(_with_meta(facts, own, line.meta, LINE_KEYS), where)

    def _category(self, name: str) -> int:
        if name not in self.categories:
            self.categories[name] = max(self.categories.values(), default=0) + 1
        return self.categories[name]

    def _write_picture(self, sample: Sample, folder: Path) -> None:
        if sample.image is None:
            raise UserError(f"Sample {sample.id} has no picture to write; leave `images` out to write vectors only.")
        if sample.name in self.names:
            raise UserError(f"Sample {sample.id}: a picture named {sample.name!r} was written before; give it another.")
        self.names.add(sample.name)
        try:
            write_bytes(safe_path(folder, sample.name), sample.image)
        except BadRecord as error:
            raise UserError(f"Sample {sample.id}: {error}; give it another name.") from None


def _check_id(number: int, where: str) -> None:
    if not 0 <= number < LARGEST_ID:
        raise UserError(f"{where}: ids must be at least 0 and below {LARGEST_ID}.")


def _with_meta(
    facts: dict[str, Any], own: dict[str, Any], meta: Mapping[str, Any], known: frozenset[str]
) -> dict[str, Any]:
    """One record; keys of `meta` that mean something else in COCO go into our own object."""
    hidden = {key: value for key, value in meta.items() if key in known}
    own = {**own, **({"meta": hidden} if hidden else {})}
    shown = {key: value for key, value in meta.items() if key not in known}
    return {**facts, **shown, **({OWN_KEY: own} if own else {})}


def _flat(points: NDArray[np.float32]) -> list[float]:
    # The shortest decimals that read back as the same float32.
    return [float(str(value)) for value in points.ravel()]


def _json(value: object, where: str) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where} holds what JSON cannot: {error}.") from None
