"""What leaves the house as JSON: the document `linegroup.lines/1`, one per picture.

Coordinates are those of the decoded picture (after its EXIF orientation): x to the right, y down,
pixel centres at integers. Numbers are finite; NaN and Infinity are refused when a document is made.
Within `/1` keys may be added, none is removed or changes its meaning; a reader passes over what it
does not know.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from linegroup.errors import UserError, plainly

SCHEMA = "linegroup.lines/1"

Channel = Annotated[int, Field(ge=0, le=255)]
Scalar = bool | int | float | str | None


class Record(BaseModel):
    """Base of all records: immutable, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False)


class ImageRecord(Record):
    """The picture as it was decoded; every coordinate of the document refers to it."""

    name: str = Field("", description="File name without folders; empty where there is none.")
    width: int = Field(ge=1, description="Columns, after the orientation was applied.")
    height: int = Field(ge=1, description="Rows, after the orientation was applied.")
    orientation_applied: int = Field(1, ge=1, le=8, description="EXIF orientation that was applied; 1: none.")
    frames: int = Field(1, ge=1, description="Frames or pages in the file; the first one was read.")


class Colour(Record):
    """Mean sRGB colour of a line's pixels, rounded."""

    hex: str = Field(pattern=r"^#[0-9a-f]{6}$", examples=["#1f77b4"])
    rgb: tuple[Channel, Channel, Channel]

    @classmethod
    def of(cls, red: int, green: int, blue: int) -> Colour:
        """From three channels 0..255."""
        return cls(hex=f"#{red:02x}{green:02x}{blue:02x}", rgb=(red, green, blue))


class MaskRecord(Record):
    """Pixels as COCO has them: run lengths, column by column, in pycocotools' characters."""

    size: tuple[int, int] = Field(description="[height, width] of the picture.")
    counts: str = Field(description="Pixels without and with ink in turn, compressed as by pycocotools.")


class AxisPoint(Record):
    """A place in the picture whose value on an axis is known."""

    pixel: tuple[float, float] = Field(description="x, y in pixels.")
    value: float | str = Field(description="A number; on a date axis text in ISO 8601, UTC where it names no zone.")


class AxisRecord(Record):
    """One axis."""

    scale: Literal["linear", "log10", "ln", "date"] = "linear"
    points: tuple[AxisPoint, ...] = Field(min_length=2, description="Two or more places on the axis.")


class CalibrationRecord(Record):
    """What pixels mean: the schema `linegroup.calibration/1`, also as a file of its own."""

    schema_: Literal["linegroup.calibration/1"] = Field("linegroup.calibration/1", alias="schema")
    x: AxisRecord
    y: AxisRecord
    upright: bool = Field(
        False,
        description="The axes are along rows and columns, and each point counts for one of its coordinates only."
        " Otherwise the axes lead through their points, turned and skewed as these say.",
    )


class SeriesRecord(Record):
    """A line's values. Dates are seconds since 1970-01-01 UTC."""

    x: tuple[float, ...] = Field(min_length=1)
    y: tuple[float, ...] = Field(min_length=1)
    parts: tuple[int, ...] = Field((0,), min_length=1, description="Where each part begins, as in the polyline.")
    extrapolated: tuple[bool, ...] = Field(
        min_length=1, description="Whether a point lies beyond the calibrated points of an axis, by over a pixel."
    )

    @model_validator(mode="after")
    def _as_long_as_each_other(self) -> SeriesRecord:
        if not len(self.x) == len(self.y) == len(self.extrapolated):
            raise ValueError("x, y and extrapolated must be equally long")
        _check_parts(self.parts, len(self.x))
        return self


class LineRecord(Record):
    """One line."""

    id: int = Field(ge=1, description="Its number in the label image.")
    name: str = Field("", description="What it is called, where somebody has said so.")
    score: float = Field(
        ge=0,
        le=1,
        description="Share of its pixels that the grouper gave it itself, not as the nearest line to leftovers; not how"
        " likely it is a line.",
    )
    pixel_count: int = Field(ge=1, description="Pixels that bear its number in the label image.")
    bbox: tuple[int, int, int, int] = Field(
        description="x, y, width, height of the box of its pixels: first column, first row, number of columns, number"
        " of rows. The last column is x + width - 1."
    )
    colour: Colour
    polyline: tuple[tuple[float, float], ...] = Field(
        min_length=1,
        description="Its centre line, (x, y) pixels in order from end to end, all parts one after another; one point"
        " for a dot. Open lines begin at the left end (the upper one where the ends lie above each other), closed"
        " ones at the leftmost point, clockwise.",
    )
    parts: tuple[int, ...] = Field(
        (0,),
        min_length=1,
        description="Where in `polyline` each part begins, ascending from 0: between parts the line is interrupted for"
        " longer than between dashes. In order along the line; short pieces beside it last.",
    )
    closed: bool = Field(False, description="Whether its only part ends where it begins; that point stands once.")
    thickness: float | None = Field(None, gt=0, description="Drawn width in pixels.")
    mask: MaskRecord | None = Field(
        None, description="All its pixels, those under crossings included, which may be in other lines' masks, too."
    )

    series: SeriesRecord | None = Field(None, description="Its values, where the axes were calibrated.")

    @model_validator(mode="after")
    def _parts_lie_in_the_polyline(self) -> LineRecord:
        _check_parts(self.parts, len(self.polyline))
        if self.closed and len(self.parts) > 1:
            raise ValueError(f"a closed line has one part; got {len(self.parts)}")
        return self

    @property
    def curves(self) -> list[tuple[tuple[float, float], ...]]:
        """The points of each part."""
        return [self.polyline[a:b] for a, b in pairwise((*self.parts, len(self.polyline)))]


class ModelRecord(Record):
    """What found the lines."""

    name: str = Field(description="Name of the model, or of the grouper where there was no model.")
    version: str = Field(description="Version of the model, or of linegroup where there was no model.")


class LinesDocument(Record):
    """All lines of one picture: the schema `linegroup.lines/1`."""

    schema_: Literal["linegroup.lines/1"] = Field("linegroup.lines/1", alias="schema")
    image: ImageRecord
    lines: tuple[LineRecord, ...] = Field(description="By id, 1..K without gaps.")
    calibration: CalibrationRecord | None = Field(None, description="What the lines' series were read by.")
    parameters: dict[str, Scalar] = Field(description="Every setting of the grouping that was used.")
    model: ModelRecord
    notes: tuple[str, ...] = Field(
        (), description="What was done otherwise than asked, for example that a sample was grouped."
    )
    timings_ms: dict[str, float] = Field(description="Milliseconds by stage.")


def _check_parts(parts: tuple[int, ...], count: int) -> None:
    starts = (*parts, count)
    if starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
        raise ValueError(f"parts must ascend from 0 below {count}; got {parts}")


def to_json(document: LinesDocument) -> str:
    """The document as JSON text; each line found stands on a row of its own."""
    tree = document.model_dump(mode="json", by_alias=True)
    parts = {key: _compact(value) for key, value in tree.items()}
    if tree["lines"]:
        parts["lines"] = "[\n  " + ",\n  ".join(map(_compact, tree["lines"])) + "\n ]"
    return "{\n" + ",\n".join(f' "{key}": {text}' for key, text in parts.items()) + "\n}\n"


def from_json(text: str | bytes) -> LinesDocument:
    """Read a document.

    Raises:
        UserError: not JSON, of another schema, or a value is missing or out of range.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Not a {SCHEMA} document: {plainly(error)}.") from None
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        found = tree.get("schema") if isinstance(tree, dict) else None
        raise UserError(
            f"Not a {SCHEMA} document: it names {'no schema' if found is None else f'the schema {found!r}'}."
        )
    try:
        return LinesDocument.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"Not a {SCHEMA} document: {where}: {first['msg']}.") from None


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the document."""
    return LinesDocument.model_json_schema(by_alias=True, mode="serialization")


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
