"""One COCO record at a time: every value is checked before it is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.images import ImageError, decode
from linegroup.sample import COORDINATE_LIMIT, KINDS, Instance
from linegroup.sources.coco_masks import runs_of

LARGEST_ID = 2**63 - 1

LARGEST_FILE = 1 << 28
"""Bytes of an image file beyond which it is not read."""

OWN_KEY = "linegroup"
"""Key of an object with what COCO has no place for, in images and annotations."""

IMAGE_KEYS = frozenset({"id", "file_name", "width", "height", "group", "tags", OWN_KEY})
_LINE_FACTS = {"id", "image_id", "category_id", "iscrowd", "area", "bbox", "num_keypoints", "thickness", OWN_KEY}
LINE_KEYS = frozenset(_LINE_FACTS | {"pieces", "polyline", "segmentation", "keypoints"})
"""Keys that are understood; all others are carried in `meta`."""

Points = NDArray[np.float32]


class BadRecord(UserError):
    """A record that is refused; the message is the reason."""


@dataclass(frozen=True)
class CocoOptions:
    """How annotations are read.

    Attributes:
        dialect: `coco`; or `bbox_polyline`, where `bbox` holds a flat polyline of more than two points
            (unless the annotation has `pieces` or `polyline`).
        category: Name or number of the category to keep; None: all.
    """

    dialect: Literal["coco", "bbox_polyline"] = "coco"
    category: str | None = None


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What an image record says; see `Sample`. `size` is `(height, width)`, None where it does not say."""

    id: int
    name: str
    size: tuple[int | None, int | None]
    group: str
    tags: tuple[str, ...]
    ignore: tuple[Points, ...]
    meta: Mapping[str, Any]


def parse_image(record: Mapping[str, Any]) -> ImageHeader:
    """An image record, checked.

    Raises:
        BadRecord: with the reason.
    """
    name, group, tags = record.get("file_name", ""), record.get("group", ""), record.get("tags", [])
    if not isinstance(name, str):
        raise BadRecord(f"file_name must be text; got {_kind(name)}")
    if is_whole(group):
        group = str(group)
    if not isinstance(group, str):
        raise BadRecord(f"group must be text; got {_kind(group)}")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadRecord("tags must be an array of texts")
    own = _own(record)
    ignore = own.get("ignore", [])
    if not isinstance(ignore, list):
        raise BadRecord(f"{OWN_KEY}.ignore must be an array of polygons; got {_kind(ignore)}")
    return ImageHeader(
        id=parse_id(record, "id"),
        name=name,
        size=(_extent(record, "height"), _extent(record, "width")),
        group=group,
        tags=tuple(tags),
        ignore=tuple(parse_points(polygon, f"{OWN_KEY}.ignore") for polygon in ignore),
        meta=_meta(record, IMAGE_KEYS, own),
    )


def parse_line(
    record: Mapping[str, Any], categories: Mapping[int, str], options: CocoOptions, size: tuple[int, int]
) -> Instance:
    """An annotation record as a line of a picture of `size` (height, width), checked.

    Raises:
        BadRecord: with the reason.
    """
    parts = _parts(record, options)
    xy = np.concatenate(parts)
    if (xy == xy[0]).all():
        raise BadRecord(f"the line has no length: all its points ({len(xy)}) are the same")
    own = _own(record)
    kind, closed, z = own.get("kind", "polyline"), own.get("closed", False), own.get("z", 0)
    if kind not in KINDS:
        raise BadRecord(f"{OWN_KEY}.kind must be one of {', '.join(KINDS)}; got {_show(kind)}")
    if not isinstance(closed, bool):
        raise BadRecord(f"{OWN_KEY}.closed must be true or false; got {_show(closed)}")
    if not is_whole(z) or abs(z) > LARGEST_ID:
        raise BadRecord(f"{OWN_KEY}.z must be a whole number; got {_show(z)}")
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    return Instance(
        id=parse_id(own if "id" in own else record, "id"),
        xy=xy,
        category=parse_category(record, categories),
        kind=kind,
        parts=tuple(starts.tolist()),
        closed=closed,
        thickness=_thickness(record),
        z=z,
        meta=_meta(record, LINE_KEYS, own),
        runs=_ink(record, size),
    )


def is_crowd(record: Mapping[str, Any]) -> bool:
    """Whether an annotation marks a region without truth.

    Raises:
        BadRecord: `iscrowd` is neither 0 nor 1.
    """
    value = record.get("iscrowd", 0)
    if not isinstance(value, int) or value not in (0, 1):
        raise BadRecord(f"iscrowd must be 0 or 1; got {_show(value)}")
    return bool(value)


def parse_ignored(record: Mapping[str, Any]) -> tuple[Points, ...]:
    """The polygons of an `iscrowd` annotation: regions without truth.

    Raises:
        BadRecord: it has none.
    """
    value = record.get("segmentation")
    if isinstance(value, dict):
        raise BadRecord("segmentation is a run-length mask; give polygons")
    polygons = _several(value, "segmentation") if value else []
    if not polygons or min(map(len, polygons)) < 3:
        raise BadRecord("an iscrowd annotation needs polygons of at least 3 points in segmentation")
    return tuple(polygons)


def parse_id(record: Mapping[str, Any], key: str) -> int:
    """A number ≥ 0 that fits 64 bits.

    Raises:
        BadRecord: it is not one.
    """
    value = record.get(key)
    if not is_whole(value) or not 0 <= value <= LARGEST_ID:
        raise BadRecord(f"{key} must be a whole number ≥ 0; got {_show(value)}")
    return value


def parse_category(record: Mapping[str, Any], categories: Mapping[int, str]) -> str:
    """Name of an annotation's category.

    Raises:
        BadRecord: the category is not declared.
    """
    number = record.get("category_id")
    if not is_whole(number) or number not in categories:
        raise BadRecord(f"category_id {_show(number)} is not among the categories")
    return categories[number]


def parse_points(values: object, key: str) -> Points:
    """A flat list x1, y1, x2, y2, … or a list of [x, y] as `(n, 2) float32`, n ≥ 1.

    Raises:
        BadRecord: with the reason.
    """
    if not isinstance(values, list) or not values:
        raise BadRecord(f"{key} must be a list of coordinates; got {_kind(values)}")
    if all(isinstance(point, list) and len(point) == 2 for point in values):
        values = [coordinate for point in values for coordinate in point]
    if not {type(v) for v in values} <= {int, float}:
        raise BadRecord(f"{key} must hold numbers only")
    if len(values) % 2:
        raise BadRecord(f"{key} has an odd number of coordinates ({len(values)})")
    try:
        xy = np.array(values, dtype=np.float64).reshape(-1, 2)
    except OverflowError:
        raise BadRecord(f"{key} holds a number too large for a coordinate") from None
    if not np.isfinite(xy).all():
        raise BadRecord(f"{key} holds NaN or infinity")
    if np.abs(xy).max() > COORDINATE_LIMIT:
        raise BadRecord(f"{key} holds a coordinate beyond ±{COORDINATE_LIMIT:.0f} pixels")
    return xy.astype(np.float32)


def load_picture(root: Path, header: ImageHeader) -> tuple[bytes, tuple[int, int]]:
    """The bytes and the size `(height, width)` of an image's file, which must lie below `root`.

    Sides that the record does not say are taken from the picture.

    Raises:
        BadRecord: the name leads elsewhere, there is no such file, it cannot be decoded, or its size is
            not the one that the record says.
    """
    # Decoded as a whole: what cannot be decoded here would stop the training later.
    content = _read_file(safe_path(root, header.name), header.name)
    try:
        picture = decode(content)
    except ImageError as error:
        raise BadRecord(f"{header.name!r}: {error}") from None
    size = (picture.pixels.shape[0], picture.pixels.shape[1])
    if any(said not in (None, found) for said, found in zip(header.size, size, strict=True)):
        turned = f" after its EXIF orientation {picture.orientation} was undone" if picture.orientation != 1 else ""
        said = " × ".join("?" if side is None else str(side) for side in reversed(header.size))
        raise BadRecord(f"{header.name!r} is {size[1]} × {size[0]} pixels{turned}, its record says {said}")
    return content, size


def stated_size(header: ImageHeader) -> tuple[int, int]:
    """`(height, width)` by the record alone, for images that are read without their pictures.

    Raises:
        BadRecord: the record does not say it.
    """
    height, width = header.size
    if height is None or width is None:
        missing = " and ".join(name for name, side in (("width", width), ("height", height)) if side is None)
        raise BadRecord(f"{missing} missing, and no picture is read that would tell")
    return height, width


def safe_path(root: Path, name: str) -> Path:
    """The file of that name below `root`, symbolic links followed.

    Raises:
        BadRecord: the name is empty, absolute, a URL, holds NUL or a backslash, or leads out of `root`.
    """
    if not name or "\0" in name or "\\" in name or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name):
        raise BadRecord(f"file_name {_show(name)} is not a relative path")
    if name.startswith("/") or ".." in name.split("/"):
        raise BadRecord(f"file_name {_show(name)} leads out of the image folder")
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long or not of this system
        raise BadRecord(f"file_name {_show(name)} cannot be followed") from None
    if not path.is_relative_to(root.resolve()):
        raise BadRecord(f"file_name {_show(name)} leads out of the image folder")
    return path


def _read_file(path: Path, name: str) -> bytes:
    try:
        # A pipe or device would never end; a folder is no picture.
        if path.exists() and not path.is_file():
            raise BadRecord(f"{_show(name)} is no regular file")
        if path.stat().st_size > LARGEST_FILE:
            raise BadRecord(f"{_show(name)} has more than {LARGEST_FILE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise BadRecord(f"cannot read {_show(name)}: {error.strerror or error}") from None


def _parts(record: Mapping[str, Any], options: CocoOptions) -> list[Points]:
    for key in ("pieces", "polyline"):
        if record.get(key):
            return _several(record[key], key)
    if options.dialect == "bbox_polyline" and record.get("bbox"):
        return [_bbox_polyline(record["bbox"])]
    if record.get("segmentation"):
        return _several(record["segmentation"], "segmentation")
    if record.get("keypoints"):
        return [_keypoints(record["keypoints"])]
    box = " (a bbox alone is a box)" if record.get("bbox") and options.dialect == "coco" else ""
    raise BadRecord(f"no points: pieces, polyline, segmentation and keypoints are all missing or empty{box}")


def _ink(record: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.int32] | None:
    """The run-length mask beside a polyline."""
    mask = record.get("segmentation")
    if not isinstance(mask, dict):
        return None
    try:
        return runs_of(mask, size)
    except ValueError as error:
        raise BadRecord(f"segmentation is no run-length mask of the picture: {error}") from None


def _several(value: object, key: str) -> list[Points]:
    if isinstance(value, dict):
        raise BadRecord(f"{key} is a run-length mask; a polyline is needed")
    if not isinstance(value, list) or not all(isinstance(part, list) for part in value):
        return [parse_points(value, key)]
    # [[x, y], [x, y]] is one part as a list of points, but `pieces` may well be single dots.
    if key != "pieces" and all(len(part) == 2 and not isinstance(part[0], list) for part in value):
        return [parse_points(value, key)]
    return [parse_points(part, key) for part in value]


def _bbox_polyline(value: object) -> Points:
    if isinstance(value, list) and len(value) == 4:
        raise BadRecord("bbox has 4 numbers: that is a box, not a polyline")
    return parse_points(value, "bbox")


def _keypoints(value: object) -> Points:
    if not isinstance(value, list) or len(value) % 3:
        raise BadRecord("keypoints must be a flat list of x, y, visibility")
    if not all(type(v) in (int, float) and v in (0, 1, 2) for v in value[2::3]):
        raise BadRecord("keypoints must have a visibility of 0, 1 or 2")
    if not any(value[2::3]):
        raise BadRecord("keypoints has no visible point")
    visible = [c for i in range(0, len(value), 3) if value[i + 2] for c in value[i : i + 2]]
    return parse_points(visible, "keypoints")


def _thickness(record: Mapping[str, Any]) -> float | None:
    if "thickness" not in record:
        # Other programs' `style` may say its width in units of their own, as text; then there is none.
        style = record.get("style")
        width = style.get("width") if isinstance(style, dict) else None
        return float(width) if _is_width(width) else None
    value = record["thickness"]
    if value is not None and not _is_width(value):
        raise BadRecord(f"thickness must be a number of pixels above 0; got {_show(value)}")
    return None if value is None else float(value)


def _is_width(value: object) -> TypeGuard[float]:
    return type(value) in (int, float) and 0 < value <= COORDINATE_LIMIT  # type: ignore[operator]


def _extent(record: Mapping[str, Any], key: str) -> int | None:
    value = record.get(key)
    if value is None:
        return None
    if not is_whole(value) or not 1 <= value <= COORDINATE_LIMIT:
        raise BadRecord(f"{key} must be a whole number of pixels, at least 1; got {_show(value)}")
    return value


def _own(record: Mapping[str, Any]) -> Mapping[str, Any]:
    own = record.get(OWN_KEY, {})
    if not isinstance(own, dict):
        raise BadRecord(f"{OWN_KEY} must be an object; got {_kind(own)}")
    return own


def _meta(record: Mapping[str, Any], known: frozenset[str], own: Mapping[str, Any]) -> dict[str, Any]:
    meta = own.get("meta", {})
    if not isinstance(meta, dict):
        raise BadRecord(f"{OWN_KEY}.meta must be an object; got {_kind(meta)}")
    return {**{key: value for key, value in record.items() if key not in known}, **meta}


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a JSON value is a whole number; `true` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    names = {type(None): "nothing", dict: "an object", list: "an array", str: "text", bool: "true or false"}
    return names.get(type(value), "a number")


def _show(value: object) -> str:
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 60 else text[:57] + "…"
