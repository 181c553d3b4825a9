"""COCO annotation files → samples: bad records are refused one by one, with their reason; the good ones are kept."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linegroup.errors import UserError
from linegroup.files import sha256_of
from linegroup.sample import Instance, Sample
from linegroup.sources.coco_parse import (
    BadRecord,
    CocoOptions,
    ImageHeader,
    load_picture,
    parse_category,
    parse_id,
    parse_ignored,
    parse_image,
    parse_line,
)
from linegroup.sources.coco_write import write_coco
from linegroup.sources.json_stream import Member, stream_members

__all__ = ["CocoOptions", "Partition", "Reject", "partition_coco", "read_coco", "read_part", "write_coco"]

ARRAYS = ("images", "annotations", "categories")
SPILL_CHARACTERS = 8 << 20
"""Text held back before it is appended to the parts' files."""


@dataclass(frozen=True)
class Reject:
    """A record that was left out.

    Attributes:
        image_id: Its picture, where that is known.
        annotation_id: The annotation, where it is one and has a number.
        reason: Why.
    """

    image_id: int | None
    annotation_id: int | None
    reason: str

    def to_json(self) -> dict[str, int | str | None]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Partition:
    """An annotation file cut into parts by ranges of image ids.

    Attributes:
        parts: Files of records, one per line, in the order of the ranges.
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
    annotations: Path, images: Path | None, options: CocoOptions | None = None
) -> tuple[list[Sample], list[Reject]]:
    """All samples of an annotation file in the order of their ids, and what was left out.

    Args:
        annotations: The file.
        images: Folder that file names are relative to; None: vectors only, no pictures.
        options: Dialect and category.

    Raises:
        UserError: the file is no usable COCO file at all.
    """
    options = options or CocoOptions()
    index = _index(annotations)
    rejects = list(index.rejects)
    _check_category(options, index.categories)
    records = list(_assigned(annotations, index, max(1, len(index.ids)), rejects))
    samples, more = _read_records((member for _, member in records), index.categories, images, options)
    return samples, rejects + more


def partition_coco(annotations: Path, folder: Path, images_per_part: int) -> Partition:
    """Cut an annotation file into one file per range of image ids, in `folder`.

    Memory: the ids of the pictures, and a few megabytes. The same input gives the same files.

    Raises:
        UserError: the file is no usable COCO file.
        OSError: the parts cannot be written.
    """
    index = _index(annotations)
    rejects = list(index.rejects)
    count = -(-len(index.ids) // images_per_part)
    parts = tuple(folder / f"part-{number:08d}.jsonl" for number in range(count))
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        part.write_bytes(b"")
    held: dict[int, list[str]] = {}
    size = 0
    for number, member in _assigned(annotations, index, images_per_part, rejects):
        held.setdefault(number, []).append(f"{member.key[0]} {member.text}\n")
        size += len(member.text)
        if size > SPILL_CHARACTERS:
            _append(parts, held)
            size = 0
    _append(parts, held)
    firsts = range(0, len(index.ids), images_per_part)
    ranges = tuple((index.ids[a], index.ids[min(a + images_per_part, len(index.ids)) - 1]) for a in firsts)
    return Partition(parts, ranges, index.categories, tuple(rejects), len(index.ids), sha256_of(annotations))


def read_part(
    part: Path, categories: Mapping[int, str], images: Path | None, options: CocoOptions
) -> tuple[list[Sample], list[Reject]]:
    """The samples of one part in the order of their ids, and what was left out (see `read_coco`)."""
    keys = {"i": "images", "a": "annotations"}
    with part.open(encoding="utf-8") as stream:
        records = [Member(keys[line[0]], json.loads(line[2:]), "") for line in stream]
    return _read_records(records, categories, images, options)


@dataclass(frozen=True, eq=False)
class _Index:
    """Ids of the pictures, ascending and unique; categories; records that could not be placed."""

    ids: array[int]
    categories: dict[int, str]
    rejects: tuple[Reject, ...]


def _index(annotations: Path) -> _Index:
    ids: array[int] = array("q")
    categories: dict[int, str] = {}
    rejects: list[Reject] = []
    seen: set[str] = set()
    for member in stream_members(annotations, ARRAYS):
        seen.add(member.key)
        if member.key == "images":
            try:
                if not isinstance(member.value, dict):
                    raise BadRecord("an image must be an object")
                ids.append(parse_id(member.value, "id"))
            except BadRecord as error:
                rejects.append(Reject(None, None, f"image: {error}"))
        elif member.key == "categories":
            _add_category(member.value, categories, rejects)
    missing = [key for key in ARRAYS if key not in seen]
    # An empty array leaves no element to see; files without any annotation are still files.
    if "images" in missing and "annotations" in missing:
        raise UserError(f"{annotations} is no COCO file: it has neither images nor annotations.")
    return _Index(array("q", np.unique(np.array(ids, dtype=np.int64)).tolist()), categories, tuple(rejects))


def _add_category(record: object, categories: dict[int, str], rejects: list[Reject]) -> None:
    try:
        if not isinstance(record, dict) or not isinstance(record.get("name"), str):
            raise BadRecord("a category must have an id and a name")
        number = parse_id(record, "id")
        if number in categories:
            raise BadRecord(f"category {number} is declared twice")
        categories[number] = record["name"]
    except BadRecord as error:
        rejects.append(Reject(None, None, f"category: {error}"))


def _check_category(options: CocoOptions, categories: Mapping[int, str]) -> None:
    known = [*categories.values(), *map(str, categories)]
    if options.category is not None and options.category not in known:
        raise UserError(f"There is no category {options.category!r}; there are: {', '.join(known) or 'none'}.")


def _assigned(
    annotations: Path, index: _Index, images_per_part: int, rejects: list[Reject]
) -> Iterator[tuple[int, Member]]:
    """Image and annotation records with the number of their part; those without a part become rejects."""
    for member in stream_members(annotations, ARRAYS):
        if member.key not in ("images", "annotations"):
            continue
        key = "id" if member.key == "images" else "image_id"
        try:
            if not isinstance(member.value, dict):
                raise BadRecord("an annotation must be an object")
            number = parse_id(member.value, key)
        except BadRecord as error:
            if member.key == "annotations":  # images of this kind were counted by the index
                rejects.append(Reject(None, _number(member.value), f"annotation: {error}"))
            continue
        place = bisect_right(index.ids, number) - 1
        if place < 0 or index.ids[place] != number:
            rejects.append(Reject(number, _number(member.value), f"there is no image {number}"))
            continue
        yield place // images_per_part, member


def _append(parts: tuple[Path, ...], held: dict[int, list[str]]) -> None:
    for number in sorted(held):
        with parts[number].open("a", encoding="utf-8", newline="") as stream:
            stream.writelines(held[number])
    held.clear()


def _read_records(
    records: Iterable[Member], categories: Mapping[int, str], images: Path | None, options: CocoOptions
) -> tuple[list[Sample], list[Reject]]:
    headers: dict[int, ImageHeader] = {}
    refused: dict[int, str] = {}
    lines: dict[int, list[dict[str, Any]]] = {}
    rejects: list[Reject] = []
    for member in records:
        if member.key == "annotations":
            lines.setdefault(member.value["image_id"], []).append(member.value)
            continue
        number = member.value["id"]
        try:
            if number in headers or number in refused:
                raise BadRecord("an image with this id came before; the first is kept")
            headers[number] = parse_image(member.value)
        except BadRecord as error:
            rejects.append(Reject(number, None, f"image: {error}"))
            if number not in headers:
                refused[number] = str(error)
    samples = []
    for number in sorted(headers):
        try:
            samples.append(_sample(headers[number], lines.get(number, []), categories, images, options, rejects))
        except BadRecord as error:
            refused[number] = str(error)
            lost = len(lines.get(number, []))
            rejects.append(Reject(number, None, f"image: {error}" + (f" (with its {lost} lines)" if lost else "")))
    return samples, rejects


def _sample(
    header: ImageHeader,
    records: list[dict[str, Any]],
    categories: Mapping[int, str],
    images: Path | None,
    options: CocoOptions,
    rejects: list[Reject],
) -> Sample:
    content, size = (None, header.size) if images is None else load_picture(images, header)
    if size is None:
        raise BadRecord("width and height are missing")
    instances: list[Instance] = []
    ignore = list(header.ignore)
    numbers: set[int] = set()
    for record in records:
        try:
            number = parse_id(record, "id")
            if number in numbers:
                raise BadRecord("an annotation with this id came before in the same image; the first is kept")
            if record.get("iscrowd") == 1:
                ignore += parse_ignored(record)
            elif _wanted(record, categories, options):
                instances.append(parse_line(record, categories, options))
            numbers.add(number)
        except BadRecord as error:
            rejects.append(Reject(header.id, _number(record), f"annotation: {error}"))
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


def _wanted(record: Mapping[str, Any], categories: Mapping[int, str], options: CocoOptions) -> bool:
    if options.category is None:
        return True
    name = parse_category(record, categories)
    return options.category in (name, str(record["category_id"]))


def _number(record: object) -> int | None:
    value = record.get("id") if isinstance(record, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
