"""The formats that `/v1/lines` answers in, by name and by media type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from linegroup.vectors.export import EXPORTERS, Exporter

NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        exporter: What writes it.
        media_type: As it is asked for and answered.
        picture: Whether its files contain the picture.
        takes_mask: Whether the client chooses how it holds the lines' pixels.
    """

    exporter: Exporter
    media_type: str
    picture: Literal["never", "embedded", "always"] = "never"
    takes_mask: bool = False

    def holds_picture(self, embed: bool) -> bool:
        """Whether a file made with or without `embed` contains the picture."""
        return self.picture == "always" or (embed and self.picture == "embedded")


FORMATS: dict[str, Format] = {
    "json": Format(EXPORTERS["json"], "application/json", takes_mask=True),
    "csv": Format(EXPORTERS["csv"], "text/csv"),
    "csv_wide": Format(EXPORTERS["csv_wide"], "text/csv"),
    "parquet": Format(EXPORTERS["parquet"], "application/vnd.apache.parquet"),
    "svg": Format(EXPORTERS["svg"], "image/svg+xml", "embedded"),
    "geojson": Format(EXPORTERS["geojson"], "application/geo+json"),
    "coco": Format(EXPORTERS["coco"], "application/vnd.coco+json"),
    "labelme": Format(EXPORTERS["labelme"], "application/vnd.labelme+json", "embedded"),
    "wpd": Format(EXPORTERS["wpd"], "application/x-tar", "always"),
    "label_png": Format(EXPORTERS["label_png"], "image/png"),
}
"""By the exporters' names; of formats with one media type the first is what that type means."""


def format_accepted(accept: str) -> str | None:
    """The format that an `Accept` header likes best, "json" where it likes all alike; None: none of ours.

    Args:
        accept: As RFC 9110 has it: `text/csv;q=0.8, */*;q=0.1`.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return "json"
    best, liked = None, 0.0
    for name, entry in FORMATS.items():
        quality = _quality(entry.media_type, ranges)
        if quality > liked:
            best, liked = name, quality
    return best


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return kind, min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return kind, 0.0
    return kind, 1.0


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """What the most specific range that fits says."""
    whole = media_type.partition("/")[0] + "/*"
    for wanted in (media_type, whole, "*/*"):
        found = [quality for kind, quality in ranges if kind == wanted]
        if found:
            return max(found)
    return 0.0
