"""Calibrations as files, JSON or YAML, of the schema `linegroup.calibration/1`."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from linegroup.errors import UserError, plainly
from linegroup.files import write_text
from linegroup.vectors.calibration import Calibration, calibrate
from linegroup.wire import AxisPoint, AxisRecord, CalibrationRecord

_Place = tuple[int | str, ...]

_POINT = "point"


class _Loader(yaml.SafeLoader):
    """YAML whose dates stay text: so one that is wrong is found with its place."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_KINDS = {
    "schema": "linegroup.calibration/1",
    "x": "a mapping with scale and points",
    "y": "a mapping with scale and points",
    "upright": "true or false",
    "scale": "linear, log10, ln or date",
    "points": "a list of two or more points",
    _POINT: "a mapping with pixel and value",
    "pixel": "two finite numbers, x and y",
    "value": "a finite number, or on a date axis a date such as 2024-05-31 or 2024-05",
}
"""What stands under each key."""

_DECIMALS = "; decimals have a point, as 64.5"
"""What to do where 64,5 made two things of one number."""

_KEYS = {
    0: tuple(field.alias or name for name, field in CalibrationRecord.model_fields.items()),
    1: tuple(AxisRecord.model_fields),
    3: tuple(AxisPoint.model_fields),
}
"""Known keys by depth."""


def read_calibration(path: Path) -> Calibration:
    """From a file; unlike in a document, which may be of a newer version, unknown keys are refused: people write it.

    Raises:
        UserError: the file is missing or damaged, or as `calibrate`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the calibration {path}: {plainly(error)}.") from None
    try:
        tree: Any = json.loads(text) if path.suffix.lower() == ".json" else _of_yaml(text)
        # What else YAML makes of words is said to be no value.
        record = CalibrationRecord.model_validate(json.loads(json.dumps(tree, default=str)), extra="forbid")
    except ValidationError as error:
        raise UserError(f"{path} is no calibration: {_explain(error)}.") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        said = plainly(error)
        if isinstance(error, json.JSONDecodeError) and text.strip() and "line" not in said:
            said += f", in line {error.lineno}"
        raise UserError(f"{path} is no calibration: {said}.") from None
    for name, axis in (("x", record.x), ("y", record.y)):
        _check_dates(axis, f"{path}: {name}")
    try:
        return calibrate(record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _of_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def write_calibration(record: CalibrationRecord, path: Path) -> None:
    """As JSON, atomically."""
    tree = record.model_dump(mode="json", by_alias=True)
    write_text(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def _check_dates(axis: AxisRecord, where: str) -> None:
    """A number might mean a year as well as seconds: only text is clear."""
    for number, point in enumerate(axis.points, start=1):
        if axis.scale == "date" and not isinstance(point.value, str):
            raise UserError(
                f"{where}, point {number}: the value {point.value:g} is a number, and dates are text in ISO 8601, such"
                ' as "2020-01-01".'
            )


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong; unknown keys before missing ones, which they often explain."""
    first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    # Below a point's keys there are only parts of the value.
    place = first["loc"][:4]
    if first["type"] == "extra_forbidden":
        return _unknown_key(place)
    if first["type"] == "missing" and place == first["loc"]:
        return f"{_said(place)} is missing"
    kind = _KINDS[_POINT if isinstance(place[-1], int) else place[-1]] if place else "a mapping with x and y"
    hint = _DECIMALS if first["type"] == "too_long" and place[-1] == "pixel" else ""
    return f"{_said(place)} must be {kind}{hint}"


def _unknown_key(place: _Place) -> str:
    known, key = _KEYS[len(place) - 1], str(place[-1])
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    where = f"{_said(place[:-1])}: " if place[:-1] else ""
    if key.isdecimal():
        return f"{where}unknown key {key!r}{_DECIMALS}"
    return f"{where}unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else f"; keys: {', '.join(known)}")


def _said(place: _Place) -> str:
    """`x, point 1, value`."""
    words = [f"{_POINT} {word + 1}" if isinstance(word, int) else word for word in place]
    # The number of a point says that it is one of the points.
    return ", ".join(words[:1] + words[2:] if len(words) > 2 else words) or "it"
