"""One COCO record at a time: every value is checked before it is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.images import ImageError, decode
from linegroup.sample import COORDINATE_LIMIT, KINDS, Instance

LARGEST_ID = 2**63 - 1

_IMAGE_KEYS = frozenset({"id", "file_name", "width", "height", "group", "tags", "ignore", "meta"})
_LINE_KEYS = frozenset(
    [
        "id",
        "image_id",
        "category_id",
        "polyline",
        "pieces",
        "segmentation",
        "keypoints",
        "num_keypoints",
        "bbox",
        "area",
        "iscrowd",
        "kind",
        "closed",
        "thickness",
        "z",
        "meta",
    ]
)

Points = NDArray[np.float32]


class BadRecord(UserError):
    """A record that is refused; the message is the reason."""


@dataclass(frozen=True)
class CocoOptions:
    """How annotations are read.

    Attributes:
        dialect: `coco`; or `bbox_polyline`, where `bbox` holds a flat polyline of more than two points.
        category: Name or number of the category to keep; None: all.
    """

    dialect: Literal["coco", "bbox_polyline"] = "coco"
    category: str | None = None


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What an image record says."""

    id: int
    name: str
    size: tuple[int, int] | None
    group: str
    tags: tuple[str, ...]
    ignore: tuple[Points, ...]
    meta: Mapping[str, Any]


def parse_image(record: object) -> ImageHeader:
    """An image record, checked.

    Raises:
        BadRecord: with the reason.
    """
    if not isinstance(record, dict):
        raise BadRecord(f"an image must be an object; got {_kind(record)}")
    width, height = record.get("width"), record.get("height")
    for name, value in (("width", width), ("height", height)):
        if value is not None and (_is_no_int(value) or not 1 <= value <= COORDINATE_LIMIT):
            raise BadRecord(f"{name} must be a whole number of pixels, at least 1; got {_show(value)}")
    name = record.get("file_name", "")
    if not isinstance(name, str):
        raise BadRecord(f"file_name must be text; got {_kind(name)}")
    group, tags = record.get("group", ""), record.get("tags", [])
    if not isinstance(group, str):
        raise BadRecord(f"group must be text; got {_kind(group)}")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadRecord("tags must be an array of texts")
    ignore = record.get("ignore", [])
    if not isinstance(ignore, list):
        raise BadRecord(f"ignore must be an array of polygons; got {_kind(ignore)}")
    return ImageHeader(
        id=parse_id(record, "id"),
        name=name,
        size=None if width is None or height is None else (height, width),
        group=group,
        tags=tuple(tags),
        ignore=tuple(parse_points(polygon, "ignore") for polygon in ignore),
        meta=_meta(record, _IMAGE_KEYS),
    )


def parse_line(record: Mapping[str, Any], categories: Mapping[int, str], options: CocoOptions) -> Instance:
    """An annotation record as a line, checked.

    Raises:
        BadRecord: with the reason.
    """
    parts = _parts(record, options)
    xy = np.concatenate(parts)
    if len(xy) < 2:
        raise BadRecord("a line needs at least two points; got one")
    if (xy == xy[0]).all():
        raise BadRecord("all points are the same: the line has no length")
    kind = record.get("kind", "polyline")
    if kind not in KINDS:
        raise BadRecord(f"kind must be one of {', '.join(KINDS)}; got {_show(kind)}")
    closed = record.get("closed", False)
    if not isinstance(closed, bool):
        raise BadRecord(f"closed must be true or false; got {_show(closed)}")
    z = record.get("z", 0)
    if _is_no_int(z) or abs(z) > LARGEST_ID:
        raise BadRecord(f"z must be a whole number; got {_show(z)}")
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    return Instance(
        id=parse_id(record, "id"),
        xy=xy,
        category=parse_category(record, categories),
        kind=kind,
        parts=tuple(int(start) for start in starts),
        closed=closed,
        thickness=_thickness(record),
        z=z,
        meta=_meta(record, _LINE_KEYS),
    )


def parse_ignored(record: Mapping[str, Any]) -> tuple[Points, ...]:
    """The polygons of an `iscrowd` annotation: regions without truth.

    Raises:
        BadRecord: it has none.
    """
    polygons = record.get("segmentation")
    if not isinstance(polygons, list) or not polygons:
        raise BadRecord("an iscrowd annotation needs polygons in segmentation")
    return tuple(parse_points(polygon, "segmentation") for polygon in polygons)


def parse_id(record: Mapping[str, Any], key: str) -> int:
    """A number ≥ 0 that fits 64 bits.

    Raises:
        BadRecord: it is not one.
    """
    value = record.get(key)
    if _is_no_int(value) or not isinstance(value, int) or not 0 <= value <= LARGEST_ID:
        raise BadRecord(f"{key} must be a whole number ≥ 0; got {_show(value)}")
    return value


def parse_category(record: Mapping[str, Any], categories: Mapping[int, str]) -> str:
    """Name of an annotation's category.

    Raises:
        BadRecord: the category is not declared.
    """
    number = record.get("category_id")
    if isinstance(number, bool) or not isinstance(number, int) or number not in categories:
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

    Raises:
        BadRecord: the name leads elsewhere, there is no such file, it cannot be decoded, or its size is
            not the one that the record says.
    """
    path = safe_path(root, header.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadRecord(f"cannot read {header.name!r}: {error.strerror or error}") from None
    try:
        picture = decode(content)
    except ImageError as error:
        raise BadRecord(f"{header.name!r}: {error}") from None
    size = (picture.pixels.shape[0], picture.pixels.shape[1])
    if header.size is not None and header.size != size:
        turned = f" after its EXIF orientation {picture.orientation} was undone" if picture.orientation != 1 else ""
        said = f"{header.size[1]} × {header.size[0]}"
        raise BadRecord(f"{header.name!r} is {size[1]} × {size[0]} pixels{turned}, its record says {said}")
    return content, size


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
    except (OSError, RuntimeError):  # a loop of links, a name too long
        raise BadRecord(f"file_name {_show(name)} cannot be followed") from None
    if not path.is_relative_to(root.resolve()):
        raise BadRecord(f"file_name {_show(name)} leads out of the image folder")
    return path


def _parts(record: Mapping[str, Any], options: CocoOptions) -> list[Points]:
    if options.dialect == "bbox_polyline":
        return [_bbox_polyline(record.get("bbox"))]
    if record.get("pieces"):
        return _several(record["pieces"], "pieces")
    if record.get("polyline"):
        return _several(record["polyline"], "polyline")
    if record.get("segmentation"):
        return _several(record["segmentation"], "segmentation")
    if record.get("keypoints"):
        return [_keypoints(record["keypoints"])]
    raise BadRecord("no points: polyline, segmentation and keypoints are all missing or empty")


def _several(value: object, key: str) -> list[Points]:
    if isinstance(value, dict):
        raise BadRecord(f"{key} is a run-length mask; a polyline is needed")
    flat = not isinstance(value, list) or not all(isinstance(part, list) for part in value)
    pairs = not flat and isinstance(value, list) and all(len(p) == 2 and not isinstance(p[0], list) for p in value)
    if flat or pairs:
        return [parse_points(value, key)]
    assert isinstance(value, list)
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
    visible = [c for i in range(0, len(value), 3) if value[i + 2] for c in value[i : i + 2]]
    return parse_points(visible, "keypoints")


def _thickness(record: Mapping[str, Any]) -> float | None:
    style = record.get("style")
    value = record.get("thickness", style.get("width") if isinstance(style, dict) else None)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value <= COORDINATE_LIMIT:
        raise BadRecord(f"thickness must be a number of pixels above 0; got {_show(value)}")
    return float(value)


def _meta(record: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    meta = record.get("meta", {})
    if not isinstance(meta, dict):
        raise BadRecord(f"meta must be an object; got {_kind(meta)}")
    return {**{key: value for key, value in record.items() if key not in known}, **meta}


def _is_no_int(value: object) -> bool:
    return isinstance(value, bool) or not isinstance(value, int)


def _kind(value: object) -> str:
    names = {type(None): "nothing", dict: "an object", list: "an array", str: "text", bool: "true or false"}
    return names.get(type(value), "a number")


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
