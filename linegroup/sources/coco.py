"""COCO annotation files → samples: bad records are refused one by one, with their reason; the good ones are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linegroup.errors import UserError, unknown_name
from linegroup.files import sync_folder
from linegroup.sample import Instance, Sample
from linegroup.sources.coco_index import Record, Reject, make_index, records
from linegroup.sources.coco_parse import (
    BadRecord,
    CocoOptions,
    ImageHeader,
    Points,
    is_crowd,
    load_picture,
    parse_category,
    parse_ignored,
    parse_image,
    parse_line,
    stated_size,
)
from linegroup.sources.coco_write import write_coco

__all__ = ["CocoOptions", "Partition", "Reject", "partition_coco", "read_coco", "read_part", "write_coco"]

SPILL_CHARACTERS = 8 << 20
"""Text held back before it is appended to the parts' files."""

_DEFAULT = CocoOptions()


@dataclass(frozen=True)
class Partition:
    """An annotation file cut into parts by ranges of image ids.

    Attributes:
        parts: Files of records, one JSON object per line, in the order of the ranges.
        ranges: First and last image id of each part.
        categories: Names by number.
        rejects: Records that belong to no part.
        images: Number of pictures.
        digest: SHA-256 of the annotation file.
    """

    parts: tuple[Path, ...]
    ranges: tuple[tuple[int, int], ...]
    categories: dict[int, str]
    rejects: tuple[Reject, ...]
    images: int
    digest: str


def read_coco(
    annotations: Path, images: Path | None, options: CocoOptions = _DEFAULT
) -> tuple[list[Sample], list[Reject]]:
    """All samples of an annotation file in the order of their ids, and what was left out.

    Args:
        annotations: The file.
        images: Folder that file names are relative to; None: vectors only, no pictures.
        options: Dialect and category.

    Raises:
        UserError: the file is no usable COCO file at all, or there is no such category.
    """
    index = make_index(annotations)
    rejects = list(index.rejects)
    kept: list[Record] = []
    for found in records(index):
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            kept.append(found)
    samples, more = _to_samples(kept, index.categories, images, options)
    return samples, rejects + more


def partition_coco(annotations: Path, folder: Path, images_per_part: int) -> Partition:
    """Cut an annotation file into one file per range of image ids, in `folder`.

    The same input gives the same files; they get their names when all are whole. Memory: 8 bytes per
    record for the ids, some megabytes of text, and the rejects; never more than one open file.

    Raises:
        UserError: the file is no usable COCO file.
        OSError: the parts cannot be written; nothing is left of them.
    """
    index = make_index(annotations)
    rejects = list(index.rejects)
    starts = range(0, len(index.ids), images_per_part)
    spill = _Spill(folder, len(starts))
    try:
        for found in records(index):
            if isinstance(found, Reject):
                rejects.append(found)
            else:
                place = index.place(found.image_id)
                assert place is not None
                spill.add(place // images_per_part, found)
        parts = spill.finish()
    except BaseException:
        spill.remove()
        raise
    count = len(index.ids)
    ends = [min(start + images_per_part, count) - 1 for start in starts]
    ranges = tuple((int(index.ids[a]), int(index.ids[b])) for a, b in zip(starts, ends, strict=True))
    return Partition(parts, ranges, index.categories, tuple(rejects), count, index.digest)


def read_part(
    part: Path, categories: Mapping[int, str], images: Path | None, options: CocoOptions
) -> tuple[list[Sample], list[Reject]]:
    """The samples of one part in the order of their ids, and what was left out (see `read_coco`)."""
    with part.open(encoding="utf-8") as stream:
        kept = [Record(**json.loads(line)) for line in stream]
    return _to_samples(kept, categories, images, options)


class _Spill:
    """Lines of text on their way to many files, with few of them in memory and one file open at a time."""

    def __init__(self, folder: Path, parts: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._paths = tuple(folder / f"part-{number:08d}.jsonl" for number in range(parts))
        self._unfinished = [path.with_name(f".{path.name}.tmp") for path in self._paths]
        self._held: dict[int, list[str]] = {}
        self._size = 0
        for path in self._unfinished:
            path.write_bytes(b"")

    def add(self, part: int, record: Record) -> None:
        head = f'{{"key":"{record.key}","index":{record.index},"image_id":{record.image_id},"value":'
        self._held.setdefault(part, []).append(f"{head}{record.text}}}\n")
        self._size += len(record.text)
        if self._size > SPILL_CHARACTERS:
            self._flush()

    def finish(self) -> tuple[Path, ...]:
        self._flush()
        for unfinished, path in zip(self._unfinished, self._paths, strict=True):
            with unfinished.open("rb+") as stream:
                os.fsync(stream.fileno())
            unfinished.replace(path)
        sync_folder(self._folder)
        return self._paths

    def remove(self) -> None:
        for path in (*self._unfinished, *self._paths):
            path.unlink(missing_ok=True)

    def _flush(self) -> None:
        for part in sorted(self._held):
            with self._unfinished[part].open("a", encoding="utf-8", newline="") as stream:
                stream.writelines(self._held[part])
        self._held.clear()
        self._size = 0


@dataclass(frozen=True)
class _Reading:
    """What all records of a file are read with."""

    categories: Mapping[int, str]
    images: Path | None
    options: CocoOptions

    def check(self) -> None:
        wanted = self.options.category
        known = [*self.categories.values(), *map(str, self.categories)]
        if wanted is not None and wanted not in known:
            raise unknown_name("category", wanted, known)
        if self.images is not None and not self.images.is_dir():
            raise UserError(f"There is no image folder {self.images}.")

    def wants(self, record: Mapping[str, Any]) -> bool:
        name = parse_category(record, self.categories)
        return self.options.category in (None, name, str(record["category_id"]))


def _to_samples(
    kept: Iterable[Record], categories: Mapping[int, str], images: Path | None, options: CocoOptions
) -> tuple[list[Sample], list[Reject]]:
    reading = _Reading(categories, images, options)
    reading.check()
    groups: dict[int, tuple[list[Record], list[Record]]] = {}
    for record in kept:
        headers, lines = groups.setdefault(record.image_id, ([], []))
        (headers if record.key == "images" else lines).append(record)
    samples: list[Sample] = []
    rejects: list[Reject] = []
    for image_id in sorted(groups):
        headers, lines = groups.pop(image_id)
        try:
            samples.append(_to_sample(headers, lines, reading, rejects))
        except BadRecord as error:
            lost = f" (its {len(lines)} annotations are left out too)" if lines else ""
            rejects.append(Reject(image_id, None, f"image: {error}{lost}", headers[0].where))
    return samples, rejects


def _to_sample(headers: list[Record], lines: list[Record], reading: _Reading, rejects: list[Reject]) -> Sample:
    for other in headers[1:]:
        # Of two pictures with one id nobody knows to which one the lines belong.
        if other.value != headers[0].value:
            raise BadRecord(f"its id stands there {len(headers)} times with different contents")
    header = parse_image(headers[0].value)
    content, size = (None, stated_size(header)) if reading.images is None else load_picture(reading.images, header)
    repeated = f"image: repeats {headers[0].where} word by word"
    rejects += [Reject(header.id, None, repeated, other.where) for other in headers[1:]]
    instances, ignore = _to_instances(header, size, lines, reading, rejects)
    return Sample(
        id=header.id,
        size=size,
        instances=tuple(instances),
        group=header.group,
        name=header.name,
        image=content,
        tags=header.tags,
        ignore=tuple(ignore),
        meta=header.meta,
    )


def _to_instances(
    header: ImageHeader, size: tuple[int, int], lines: list[Record], reading: _Reading, rejects: list[Reject]
) -> tuple[list[Instance], list[Points]]:
    instances: list[Instance] = []
    ignore = list(header.ignore)
    for record in lines:
        try:
            if not reading.wants(record.value):
                continue
            if is_crowd(record.value):
                ignore += parse_ignored(record.value)
            else:
                instances.append(parse_line(record.value, reading.categories, reading.options, size))
        except BadRecord as error:
            rejects.append(Reject(header.id, record.value["id"], f"annotation: {error}", record.where))
    return instances, ignore
