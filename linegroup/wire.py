"""What leaves linegroup as JSON, versioned. Coordinates are pixels, (x, y), centres at integers, y down."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from linegroup.config import GroupingConfig


class Record(BaseModel):
    """Base of all records: closed, and never NaN or infinite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ImageRecord(Record):
    """The picture that coordinates refer to: after its EXIF orientation was applied."""

    name: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    orientation_applied: int = Field(1, ge=1, le=8, description="EXIF orientation that was undone; 1: none.")
    frames: int = Field(1, ge=1, description="Frames in the file; the first one is used.")


class Colour(Record):
    """An sRGB colour."""

    rgb: tuple[int, int, int]
    hex: str = Field(pattern="^#[0-9a-f]{6}$")


class Line(Record):
    """One line."""

    id: int = Field(ge=1, description="Its value in the label image.")
    score: float = Field(ge=0, le=1, description="Share of its pixels that were grouped without guessing.")
    pixel_count: int = Field(ge=1)
    bbox: tuple[int, int, int, int] = Field(description="x, y of the first pixel, width and height in pixels.")
    colour: Colour = Field(description="Mean colour of its pixels.")
    polyline: tuple[tuple[float, float], ...] = Field(description="Centre line from end to end.")


class ModelRecord(Record):
    """What found the lines."""

    name: str
    version: str


class LinesDocument(Record):
    """All lines of one picture: `<stem>.json` of `linegroup predict`."""

    schema_name: Literal["linegroup.lines/1"] = Field("linegroup.lines/1", alias="schema")
    image: ImageRecord
    lines: tuple[Line, ...]
    model: ModelRecord
    parameters: GroupingConfig
    timings_ms: dict[str, float]

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    def to_json(self) -> str:
        """The document as JSON text, one final newline."""
        return self.model_dump_json(by_alias=True) + "\n"
