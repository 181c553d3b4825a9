"""`linegroup convert`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linegroup.cli.common import (
    JsonFlag,
    counted,
    note,
    plain,
    print_json,
    progress_bar,
    tell_failures,
)
from linegroup.cli.export import (
    CalibrationOption,
    EmbedFlag,
    Export,
    SamplingOption,
    WorldOption,
    counts_of,
    make_formats,
    write_formats,
)
from linegroup.cli.inputs import check_free, check_out, check_same, stems_of
from linegroup.cli.predict import Outcome
from linegroup.errors import UserError
from linegroup.interrupts import interrupts_held, safe_point

if TYPE_CHECKING:
    from linegroup.vectors.export import Exporter, Picture

DOCUMENT, PROJECTS = ".json", frozenset({".tar", ".zip"})

TAKEN = "convert reads STEM.json of predict and WebPlotDigitizer projects (.tar, .zip)"

_PICTURE = "a picture, in which `linegroup predict` finds lines"
_STARTS = {
    b"\x89PNG": _PICTURE,
    b"\xff\xd8\xff": _PICTURE,
    b"GIF8": _PICTURE,
    b"BM": _PICTURE,
    b"II*\0": _PICTURE,
    b"MM\0*": _PICTURE,
    b"RIFF": _PICTURE,
    b"PAR1": "a Parquet file",
}
"""How files of other kinds begin."""

_KEYS = {
    ("shapes", "imagePath"): "a labelme file",
    ("images", "annotations"): "COCO annotations, which `linegroup shard` reads",
    ("type", "features"): "GeoJSON",
}
"""What stands in JSON files of other kinds."""


def convert(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|DIR…", help="Documents (.json), WebPlotDigitizer projects (.tar, .zip), folders."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go; made when missing.")],
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="NAMES",
            help="Formats joined by commas: json, csv, csv_wide, parquet, svg, geojson, coco, labelme, wpd"
            " (WebPlotDigitizer), label_png.",
        ),
    ],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures are; default: beside each document.")
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One file for all pictures, lines.SUFFIX, in csv, parquet and coco.")
    ] = False,
    calibration: CalibrationOption = None,
    sampling: SamplingOption = None,
    embed: EmbedFlag = False,
    world: WorldOption = None,
    as_json: JsonFlag = False,
) -> None:
    r"""Turn documents that `predict` wrote, and WebPlotDigitizer projects, into other files.

    Digitised projects become training data: their curves and pictures as COCO, then as shards. A project's own axes
    calibrate its lines, unless --calibration says else. Files that were made of documents (STEM.tar, STEM.coco.json, …
    beside STEM.json; lines.coco.json beside others) are left aside. A file that cannot be used is named at the end and
    leaves nothing; the others are done.

    A calibration (axes.yaml) says what pixels mean by two points on each axis, from the top left pixel 0, 0:
      x: {scale: date, points: [{pixel: [64, 430], value: 2020-01-01}, {pixel: [612, 430], value: 2024-01-01}]}
      y: {points: [{pixel: [64, 430], value: 0}, {pixel: [64, 22], value: 10}]}
    Scales: linear (the default), log10, ln, date. docs/export.md says how to find the pixels, and all else of formats.

    Examples:
      linegroup convert lines/chart.json --format csv,svg --out files
      linegroup convert lines/ --format csv --together --calibration axes.yaml --sample step=0.5 --out files
      linegroup convert projects/*.tar --format coco --together --out digitised
      linegroup shard --annotations digitised/lines.coco.json --images digitised --out shards
    """
    with interrupts_held():
        from linegroup.vectors.export import choose_exporters

    exporters = choose_exporters(formats)
    if together and any(not exporter.together for exporter in exporters):
        raise typer.BadParameter("--together makes one file of csv, parquet and coco only")
    export = Export.of(exporters, calibration, sampling, embed, world)
    _check_images(images)
    check_out(out)
    files, aside = _without_exports(_expand(inputs))
    task = Conversion(export, out, images, together, frozenset(path.resolve() for path in files))
    if together:
        check_free(export.files(out, "lines"), task.inputs)
    # With --together only the pictures of projects need names of their own.
    named = [path for path in files if not together or _is_project(path)]
    stems = dict(zip(named, stems_of(named), strict=True))
    outcome = Outcome()
    causes: dict[str, str] = {}
    pictures: dict[Path, Picture] = {}
    beside: dict[Path, bytes] = {}
    with progress_bar("Files") as show, interrupts_held():
        for number, path in enumerate(files):
            show(number, len(files))
            safe_point()
            name = plain(str(path))
            try:
                source = task.read(path, stems.get(path, "lines"))
            except UserError as error:
                outcome.failed.append({"input": name, "error": plain(str(error))})
                causes[name] = plain(error.cause)
                continue
            written = {}
            if together:
                pictures[path] = source.picture
                beside |= source.beside
            else:
                written = _write(source.made, source.beside, out, stems[path])
            left_out = {"left_out": [plain(words) for words in source.left_out]} if source.left_out else {}
            export.told.update(counts_of(source.picture.document))
            outcome.done.append({"input": name, "lines": len(source.picture.document.lines), **left_out, **written})
    if pictures:
        _check_names(pictures)
        with interrupts_held():
            written = _write(make_formats(export, list(pictures.values())), beside, out, "lines")
        outcome.done = [{**entry, **written} for entry in outcome.done]
    if as_json:
        print_json({"out": plain(str(out)), **vars(outcome), "left_aside": [plain(str(path)) for path in aside]})
    elif outcome.done:
        lines = sum(entry["lines"] for entry in outcome.done)
        typer.echo(f"{counted(len(outcome.done), 'document')} with {counted(lines, 'line')} in {plain(str(out))}")
    if aside:
        note(f"{counted(len(aside), 'file')} made of these documents left aside, such as {aside[0]}.")
    export.tell()
    for entry in outcome.done:
        for words in entry.get("left_out", ()):
            note(f"Left out: {entry['input']}: {words}")
    tell_failures(outcome.failed, "document", causes)
    raise typer.Exit(outcome.exit_code)


@dataclass(frozen=True, eq=False)
class Source:
    """What a file holds, ready to be written.

    Attributes:
        picture: Its lines with their values, and the picture where it is at hand.
        made: What each format's file holds.
        beside: Pictures that belong to these files, by their places.
        left_out: What was left out of it, a sentence each.
    """

    picture: Picture
    made: dict[Exporter, bytes]
    beside: dict[Path, bytes]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Conversion:
    """What is to be done with each file.

    Attributes:
        export: The formats.
        out: Where their files go.
        images: Folder of the pictures of documents; None: beside each.
        together: Whether all go into one file.
        inputs: All files that are read, resolved.
    """

    export: Export
    out: Path
    images: Path | None
    together: bool
    inputs: frozenset[Path]

    def read(self, path: Path, stem: str) -> Source:
        """A file, checked as far as that nothing of it is written if it cannot be used.

        Also with --together its formats are made: so the one that cannot be is known.

        Raises:
            UserError: it cannot be read, a format cannot be made of it, or files cannot be written.
        """
        picture, left_out = _read(path, stem, self.images, self.out)
        picture = self.export.calibrated(picture)
        made = make_formats(self.export, [picture])
        beside = {}
        if self.export.needs_pictures_beside and _is_project(path) and picture.image is not None:
            beside[self.out / picture.document.image.name] = picture.image
        check_free([*beside, *([] if self.together else self.export.files(self.out, stem))], self.inputs)
        check_same(beside)
        return Source(picture, made, beside, left_out)


def _check_names(pictures: Mapping[Path, Picture]) -> None:
    """In one file pictures are known by their names."""
    first: dict[str, Path] = {}
    for path, picture in pictures.items():
        other = first.setdefault(picture.document.image.name, path)
        if other != path:
            raise UserError(
                f"{other} and {path} are both of a picture called {picture.document.image.name!r}, which one file would"
                " mix up; convert them without --together, or apart."
            )


def _write(made: Mapping[Exporter, bytes], beside: Mapping[Path, bytes], out: Path, stem: str) -> dict[str, str]:
    """Pictures first; the formats' files by format."""
    from linegroup.files import write_bytes

    for path, content in beside.items():
        write_bytes(path, content)
    return write_formats(made, out, stem)


def _is_project(path: Path) -> bool:
    return path.suffix.lower() in PROJECTS


def _check_images(images: Path | None) -> None:
    if images is None or images.is_dir():
        return
    if images.exists():
        raise UserError(f"{images} is a file; --images is the folder where the pictures are.")
    raise UserError(f"There is no image folder {images}.")


def _expand(inputs: list[Path]) -> list[Path]:
    """Files, and in folders the documents and projects right in them, each once."""
    found: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            inside = sorted(
                path
                for path in given.iterdir()
                if path.suffix.lower() in PROJECTS | {DOCUMENT} and not path.name.startswith(".") and path.is_file()
            )
            if not inside:
                raise UserError(f"The folder {given} holds no documents (.json) and no projects (.tar, .zip).")
            for path in inside:
                found.setdefault(path.resolve(), path)
        else:
            found.setdefault(given.resolve(), given)
    return list(found.values())


def _without_exports(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """The files to convert, and those that were made of documents among them: STEM.tar beside STEM.json.

    And what `convert --together` makes of all, lines.coco.json, beside anything else that is to be converted.
    """
    from linegroup.picture_files import RESULTS
    from linegroup.vectors.export import EXPORTERS

    suffixes = {exporter.suffix for exporter in EXPORTERS.values()} - {DOCUMENT} | set(RESULTS)
    documents = [path for path in files if path.suffix == DOCUMENT]
    made = {document.with_name(document.stem + suffix) for document in documents for suffix in suffixes}
    united = {"lines" + exporter.suffix for exporter in EXPORTERS.values() if exporter.together}
    folders = {path.parent for path in files if path.name not in united and path not in made}
    made |= {path for path in files if path.name in united and path.parent in folders}
    return [path for path in files if path not in made], [path for path in files if path in made]


def _read(path: Path, stem: str, images: Path | None, out: Path) -> tuple[Picture, tuple[str, ...]]:
    """A document or a project, with its picture where that is to be had; and what was left out of it.

    Args:
        path: The file.
        stem: What a project's picture is called.
        images: Folder of the pictures of documents.
        out: Where files of it go.
    """
    from linegroup.cli.export import picture_at, picture_of_project
    from linegroup.sources.wpd import read_wpd
    from linegroup.vectors.export import Picture
    from linegroup.wire import from_json

    if _is_project(path):
        project = read_wpd(path)
        return picture_of_project(project, stem), project.left_out
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    try:
        document = from_json(content)
    except UserError as error:
        other = _looks_like(content)
        if other:
            raise UserError(f"{path}: {TAKEN}; this looks like {other}.") from None
        raise UserError(f"{path}: {error}{_instead(content)}") from None
    source = (images or path.parent) / Path(document.image.name).name if document.image.name else None
    if source is None or not source.is_file():
        return Picture(document), ()
    return picture_at(document, source, out), ()


def _looks_like(content: bytes) -> str:
    """What a file is that is neither document nor project, and what it is for; "" for what is not known."""
    for start, what in _STARTS.items():
        if content.startswith(start):
            return what
    if b"<svg" in content[:2000]:
        return "an SVG drawing"
    tree = _tree(content)
    if tree.get("schema") == "linegroup.calibration/1":
        return "a calibration, which goes to --calibration"
    return next((what for keys, what in _KEYS.items() if tree.keys() >= set(keys)), "")


def _tree(content: bytes) -> dict[str, Any]:
    """The mapping in a JSON file; nothing where it holds none."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _instead(content: bytes) -> str:
    """What to do about a JSON file that is no document but something known; "" for others."""
    tree = _tree(content)
    if "datasetColl" in tree or "wpd" in tree:
        return (
            " It is the inner file of a WebPlotDigitizer project: give the .tar or .zip, which holds the picture, too."
        )
    if tree.get("schema") == "linegroup.predictions/1":
        return (
            " It is the list of what `predict --shards` wrote: its documents stand in the rows of pictures/part-*, in"
            " the column `document`; write those to convert to .json files."
        )
    return ""
