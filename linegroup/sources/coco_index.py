"""What an annotation file holds as a whole: ids, categories, and where each record belongs."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.sources.coco_parse import BadRecord, is_whole, parse_id
from linegroup.sources.json_stream import Element, JsonObject

ARRAYS = ("images", "annotations", "categories")
"""The keys of a COCO file that are read; others (`info`, `licenses`, …) are passed over."""

DEEPEST = 50
"""Levels of brackets in a record; later stages copy it recursively and must not run out of stack."""

_IMAGE_ID = re.compile(r'"image_id"\s*:\s*(\d{1,18})\s*[,}]')


@dataclass(frozen=True)
class Reject:
    """A record that was left out.

    Attributes:
        image_id: Its picture, where that is known.
        annotation_id: The annotation, where it is one and has a number.
        reason: Why.
        where: Its place in the file, as `annotations[17]`, where that is known.
    """

    image_id: int | None
    annotation_id: int | None
    reason: str
    where: str = ""

    def to_json(self) -> dict[str, int | str | None]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Record:
    """An image or an annotation of a known image.

    Attributes:
        key: `images` or `annotations`.
        index: Place in the file's array.
        image_id: The image's id.
        value: The JSON object.
        text: The same as one line of JSON.
    """

    key: str
    index: int
    image_id: int
    value: dict[str, Any]
    text: str = ""

    @property
    def where(self) -> str:
        """Place in the file."""
        return f"{self.key}[{self.index}]"


@dataclass(frozen=True, eq=False)
class Index:
    """The first look at an annotation file: 8 bytes per record.

    Attributes:
        path: The file.
        digest: Its SHA-256.
        ids: `(n,) int64` ids of the images, ascending, each once.
        repeated: Annotation ids that stand there more than once.
        categories: Names by number.
        rejects: Categories that were refused.
    """

    path: Path
    digest: str
    ids: NDArray[np.int64]
    repeated: frozenset[int]
    categories: dict[int, str]
    rejects: tuple[Reject, ...]

    def place(self, image_id: int) -> int | None:
        """Place of an image among all by id; None where there is no such image."""
        at = int(np.searchsorted(self.ids, image_id))
        return at if at < len(self.ids) and self.ids[at] == image_id else None


def make_index(path: Path) -> Index:
    """Read an annotation file for its ids and categories.

    Raises:
        UserError: the file is no usable COCO file at all.
    """
    reader = JsonObject(path)
    ids: dict[str, array[int]] = {"images": array("q"), "annotations": array("q")}
    categories: dict[int, str] = {}
    rejects: list[Reject] = []
    for element in reader.elements():
        if element.key in ARRAYS and element.index is None:
            raise UserError(f"{path}: {element.key!r} must be an array […] of objects.")
        try:
            if element.key == "categories":
                _add_category(element, categories)
            elif element.key in ids:
                ids[element.key].append(parse_id(_object(element), "id"))
        except BadRecord as error:
            # Images and annotations are refused by `records`, which meets them again.
            if element.key == "categories":
                rejects.append(Reject(None, None, f"category: {error}", f"categories[{element.index}]"))
    missing = [key for key in ARRAYS if key not in reader.keys]
    if missing:
        lost = " and no ".join(map(repr, missing))
        raise UserError(f"{path} is no COCO annotation file: it has no {lost} (an array may be empty).")
    images, repeats = _sorted(ids["images"])
    _, repeated = _sorted(ids["annotations"])
    images = np.unique(images) if len(repeats) else images
    return Index(path, reader.digest, images, frozenset(repeated.tolist()), categories, tuple(rejects))


def records(index: Index) -> Iterator[Record | Reject]:
    """The images and annotations in the file's order; a reject for each that cannot be placed.

    Raises:
        UserError: the file changed since `make_index`.
    """
    reader = JsonObject(index.path)
    seen: set[int] = set()
    for element in reader.elements():
        if element.key in ("images", "annotations") and element.index is not None:
            yield _record(element, element.index, index, seen)
    if reader.digest != index.digest:
        raise UserError(f"{index.path} changed while it was read; try again when nothing writes to it.")


def _sorted(numbers: array[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers sorted in place, without a copy, and those that stand there again."""
    ascending = np.asarray(numbers, dtype=np.int64)
    ascending.sort()
    return ascending, ascending[1:][ascending[1:] == ascending[:-1]]


def _record(element: Element, number: int, index: Index, seen: set[int]) -> Record | Reject:
    kind = element.key.removesuffix("s")
    try:
        value = _object(element)
        own = parse_id(value, "id")
        image_id = own if element.key == "images" else parse_id(value, "image_id")
        if index.place(image_id) is None:
            raise BadRecord(f"there is no image {image_id}")
        if element.key == "annotations" and own in index.repeated:
            if own in seen:
                raise BadRecord(f"the id {own} was used before; the first annotation is kept")
            seen.add(own)
    except BadRecord as error:
        return Reject(*_numbers(element), f"{kind}: {error}", f"{element.key}[{number}]")
    return Record(element.key, number, image_id, value, element.text)


def _object(element: Element) -> dict[str, Any]:
    if element.problem:
        raise BadRecord(element.problem)
    if not isinstance(element.value, dict):
        raise BadRecord("it must be an object {…}")
    if element.text.count("[") + element.text.count("{") > DEEPEST and _depth_exceeds(element.value, DEEPEST):
        raise BadRecord(f"it is nested too deeply: more than {DEEPEST} levels")
    return element.value


def _depth_exceeds(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        children = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [child for several in children for child in several if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _add_category(element: Element, categories: dict[int, str]) -> None:
    record = _object(element)
    number, name = parse_id(record, "id"), record.get("name")
    if not isinstance(name, str) or not name:
        raise BadRecord(f"category {number} has no name")
    if number in categories:
        raise BadRecord(f"category {number} is declared twice; it stays {categories[number]!r}")
    categories[number] = name


def _numbers(element: Element) -> tuple[int | None, int | None]:
    """Image and annotation id of a refused record, as far as they can be told."""
    if not isinstance(element.value, dict):
        # Too deep to be held: the id still stands in the text, but only once is it certain.
        found = _IMAGE_ID.findall(element.text) if element.key == "annotations" else []
        return (int(found[0]) if len(found) == 1 else None), None
    own = _whole(element.value.get("id"))
    return (own, None) if element.key == "images" else (_whole(element.value.get("image_id")), own)


def _whole(value: object) -> int | None:
    return value if is_whole(value) else None
