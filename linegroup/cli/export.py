"""What `predict` and `convert` share: options of export, and writing the files."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linegroup.cli.common import counted, note, plain
from linegroup.errors import UserError

if TYPE_CHECKING:
    from linegroup.sources.wpd import Project
    from linegroup.vectors.calibration import Calibration
    from linegroup.vectors.export import Exporter, ExportOptions, Picture
    from linegroup.vectors.sampling import Sampling
    from linegroup.wire import LinesDocument

CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="What pixels mean: two or more points on each axis, JSON or YAML; for all pictures."
    ),
]
SamplingOption = Annotated[
    str | None,
    typer.Option(
        "--sample",
        metavar="HOW",
        help="Where calibrated lines are read: native (their own points), step=0.5 (in units of x; on a date axis"
        " seconds (a day is 86400), or 1d, 1mo, 1y; on a log axis decades), count=200 (points at even distances along"
        " each part, a dot has one).",
    ),
]
EmbedFlag = Annotated[bool, typer.Option("--embed", help="Put the picture into svg and labelme files.")]
WorldOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="World file of the pictures (.pgw, .jgw, .tfw, .wld), for geojson.")
]

WANTED = "say with --calibration FILE what pixels mean"
"""What to do about values that cannot be had."""

OF_PREDICT = frozenset({"json", "label_png"})
"""Formats that `predict` writes itself, from more than the document."""

BEYOND, EMPTY = "beyond:", "empty:"
"""What is counted of each picture, see `counts_of`."""

FAR = 2.0
"""Pixels; a calibration whose points disagree by more is told."""


@dataclass
class Export:
    """Formats with everything that they are made with, and what there is to tell in the end.

    Attributes:
        exporters: The formats.
        options: For all of them.
        calibration: For all pictures, or None: a document's own.
        sampling: Where calibrated lines are read; None: where they were, else at their own points.
        told: What was counted so far, see `counts_of`.
    """

    exporters: Sequence[Exporter]
    options: ExportOptions
    calibration: Calibration | None
    sampling: Sampling | None
    told: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls,
        exporters: Sequence[Exporter],
        calibration: Path | None,
        sampling: str | None,
        embed: bool,
        world: Path | None,
    ) -> Export:
        """From options of the command line.

        Raises:
            UserError: a file is missing or damaged, or the sampling is unknown.
        """
        from linegroup.vectors.calibration_file import read_calibration
        from linegroup.vectors.export import ExportOptions
        from linegroup.vectors.sampling import check_sampling, parse_sampling

        found = None if calibration is None else read_calibration(calibration)
        if found is not None and found.residual > FAR:
            note(
                f"The points of {calibration} lie up to {found.residual:.1f} pixels from where their values are: the"
                f" farthest is {found.worst}."
            )
        how = None if sampling is None else parse_sampling(sampling)
        if found is not None and how is not None:
            check_sampling(how, found)
        return cls(exporters, ExportOptions(embed, None if world is None else read_world(world)), found, how)

    @property
    def needs_pictures_beside(self) -> bool:
        """Whether one of the formats names the picture as a file that belongs to it."""
        return any(exporter.name in ("coco", "labelme") for exporter in self.exporters)

    def calibrated(self, picture: Picture) -> Picture:
        """The picture's lines with their values, where a calibration is known.

        Raises:
            UserError: values are asked for, and there is no calibration; or see `with_series`.
        """
        return replace(picture, document=self._read(picture.document))

    def _read(self, document: LinesDocument) -> LinesDocument:
        from linegroup.vectors.calibration import calibrate
        from linegroup.vectors.sampling import with_series

        calibration = self.calibration
        if calibration is None and document.calibration is not None:
            calibration = calibrate(document.calibration)
        if calibration is None and self.sampling is not None:
            words = f"Its axes are not calibrated, so --sample cannot read it; {WANTED}."
            raise UserError(words, cause=words)
        if calibration is None or (self.calibration is None and self.sampling is None and _is_read(document)):
            return document
        return with_series(document, calibration, self.sampling)

    def files(self, out: Path, stem: str) -> list[Path]:
        """Where the formats of one picture go."""
        return [out / f"{stem}{exporter.suffix}" for exporter in self.exporters]

    def is_done(self, out: Path, stem: str, image: Path) -> bool:
        """Whether the document of a picture has the values that are asked for, and the files what is made of it now.

        So no file of other settings is taken for done, whatever they were.
        """
        from linegroup.wire import from_json

        document = from_json((out / f"{stem}.json").read_bytes())
        lines = tuple(line.model_copy(update={"series": None}) for line in document.lines)
        exporters = [exporter for exporter in self.exporters if exporter.name not in OF_PREDICT]
        try:
            if self._read(document.model_copy(update={"lines": lines, "calibration": None})) != document:
                return False
            pictures = [picture_at(document, image, out)] if exporters else []
            return all(
                (out / f"{stem}{exporter.suffix}").read_bytes() == _made(exporter, pictures, self.options)
                for exporter in exporters
            )
        except UserError:
            return False

    def tell(self) -> None:
        """What a reader of the values should know."""
        number, where = self._count_of(BEYOND)
        if number:
            shown = "marked as extrapolated"
            if any(exporter.name == "csv_wide" for exporter in self.exporters):
                shown = "left empty in csv_wide, marked as extrapolated in csv, parquet and json"
            note(f"{where}{counted(number, 'point')} beyond the calibrated points of an axis: {shown}.")
        number, where = self._count_of(EMPTY)
        if number:
            note(f"{where}{counted(number, 'line')} without values: the sampling hit none of their points.")

    def _count_of(self, kind: str) -> tuple[int, str]:
        """How many of these, and `chart.png: ` where all are of one picture."""
        counts = {
            key.removeprefix(kind): number for key, number in self.told.items() if key.startswith(kind) and number
        }
        name = next(iter(counts)) if len(counts) == 1 else ""
        return sum(counts.values()), f"{name}: " if name else ""


def counts_of(document: LinesDocument) -> Counter[str]:
    """How many points lie beyond the calibrated ones of their axes, and how many lines the sampling left empty.

    By `BEYOND` or `EMPTY` and the name of the picture; what there is none of is not there.
    """
    if document.calibration is None:
        return Counter()
    beyond = sum(sum(line.series.extrapolated) for line in document.lines if line.series)
    empty = sum(line.series is None for line in document.lines)
    counts = {BEYOND + document.image.name: beyond, EMPTY + document.image.name: empty}
    return Counter({key: number for key, number in counts.items() if number})


def _is_read(document: LinesDocument) -> bool:
    """Whether its lines have values already."""
    return any(line.series is not None for line in document.lines)


def make_formats(export: Export, pictures: list[Picture]) -> dict[Exporter, bytes]:
    """What each format's file holds.

    All are made before the first is written: what is reported as left out leaves no files.

    Raises:
        UserError: a format cannot be made of these lines.
    """
    return {exporter: _made(exporter, pictures, export.options) for exporter in export.exporters}


def write_formats(made: Mapping[Exporter, bytes], out: Path, stem: str) -> dict[str, str]:
    """Write each format's file, atomically; the files by format.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    from linegroup.files import write_bytes

    written = {}
    for exporter, content in made.items():
        path = out / f"{stem}{exporter.suffix}"
        write_bytes(path, content)
        written[exporter.name] = plain(str(path))
    return written


def _made(exporter: Exporter, pictures: list[Picture], options: ExportOptions) -> bytes:
    try:
        return exporter.write(pictures, options)
    except UserError as error:
        cause = f"{exporter.name}: {error.cause}" if error.cause else ""
        raise UserError(f"{exporter.name}: {error}", cause=cause) from None


def read_world(path: Path) -> tuple[float, float, float, float, float, float]:
    """The six numbers of a world file, A, D, B, E, C, F.

    Raises:
        UserError: the file is missing, does not hold six numbers, or lays all pixels on one line.
    """
    try:
        numbers = [float(word) for word in path.read_text(encoding="ascii").split()]
    except OSError as error:
        raise UserError(f"Cannot read the world file {path}: {error.strerror}.") from None
    except ValueError:
        numbers = []
    if len(numbers) != 6 or not all(abs(number) < 1e300 for number in numbers):
        raise UserError(f"{path} is no world file: it must hold six numbers, one a line.")
    a, d, b, e, c, f = numbers
    if math.isclose(a * e, b * d, rel_tol=1e-12):
        raise UserError(
            f"{path} is no world file: its numbers {a:g}, {d:g}, {b:g} and {e:g} lay all pixels on one line."
        )
    return a, d, b, e, c, f


def upright(document: LinesDocument, image: bytes) -> bytes:
    """The picture as the document's coordinates mean it: turned as its EXIF says, its first frame.

    Raises:
        UserError: it cannot be decoded, or is not the document's.
    """
    from linegroup.images import decode, encode_png

    decoded = decode(image)
    height, width = decoded.pixels.shape[:2]
    if (width, height) != (document.image.width, document.image.height):
        raise UserError(
            f"{document.image.name} has {width} × {height} pixels, its document says {document.image.width} ×"
            f" {document.image.height}: it is another picture."
        )
    plain_file = document.image.orientation_applied == 1 and document.image.frames == 1
    return image if plain_file else encode_png(decoded.pixels)


def picture_at(document: LinesDocument, image: Path, out: Path) -> Picture:
    """A document with its picture, which lies there, for files in `out`.

    Raises:
        UserError: see `upright`.
        OSError: the picture cannot be read.
    """
    from linegroup.vectors.export import Picture

    # File names may hold bytes that are no UTF-8; the files may not.
    place = os.fsencode(os.path.relpath(image.parent.resolve() / image.name, out.resolve())).decode("utf-8", "replace")
    return Picture(document, upright(document, image.read_bytes()), Path(place).as_posix())


def picture_of_project(project: Project, stem: str) -> Picture:
    """A digitised project as if its lines had been found; its picture is called by the stem."""
    from linegroup.vectors.export import Picture
    from linegroup.vectors.records import document_of

    sample = replace(project.sample, name=f"{stem}{Path(project.sample.name).suffix}")
    return Picture(document_of(sample, project.calibration), sample.image)
