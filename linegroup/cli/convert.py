"""`linegroup convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linegroup.cli.common import JsonFlag, note, plain, print_json, progress_bar
from linegroup.cli.export import (
    CalibrationOption,
    EmbedFlag,
    SamplingOption,
    WorldOption,
    write_formats,
)
from linegroup.cli.inputs import prepare_out
from linegroup.cli.predict import Outcome
from linegroup.errors import UserError

if TYPE_CHECKING:
    from linegroup.vectors.export import Picture

PROJECTS = frozenset({".tar", ".zip"})


def convert(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|DIR…", help="Documents (.json), WebPlotDigitizer projects (.tar, .zip), folders."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go; made when missing.")],
    formats: Annotated[
        str, typer.Option("--format", "-f", metavar="NAMES", help="Formats joined by commas; see linegroup predict.")
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
    calibrate its lines, unless --calibration says else.

    Examples:
      linegroup convert lines/chart.json --format csv,svg --out files
      linegroup convert lines/ --format csv --together --calibration axes.json --sample step=0.5 --out files
      linegroup convert projects/*.tar --format coco --together --out digitised
      linegroup shard --annotations digitised/lines.coco.json --images digitised --out shards
    """
    from linegroup.cli.export import Export
    from linegroup.vectors.export import choose_exporters

    exporters = choose_exporters(formats)
    if together and any(not exporter.together for exporter in exporters):
        raise typer.BadParameter("--together makes one file of csv, parquet and coco only")
    export = Export.of(exporters, calibration, sampling, embed, world)
    prepare_out(out)
    outcome, pictures = Outcome(), []
    files = _expand(inputs)
    stems = _stems(files)
    with progress_bar("Files") as show:
        for number, path in enumerate(files):
            show(number, len(files))
            name = plain(str(path))
            try:
                picture = export.calibrated(_read(path, images, out if export.needs_pictures_beside else None))
                if together:
                    pictures.append(picture)
                    written = {}
                else:
                    written = write_formats(export, [picture], out, stems[path])
            except UserError as error:
                outcome.failed.append({"input": name, "error": plain(str(error))})
                continue
            outcome.done.append({"input": name, "lines": len(picture.document.lines), **written})
    if pictures:
        written = write_formats(export, pictures, out, "lines")
        outcome.done = [{**entry, **written} for entry in outcome.done]
    if as_json:
        print_json({"out": plain(str(out)), **vars(outcome)})
    else:
        lines = sum(entry["lines"] for entry in outcome.done)
        typer.echo(f"{len(outcome.done)} documents with {lines} lines in {plain(str(out))}")
        for entry in outcome.failed:
            note(f"Left out: {entry['error']}")
    export.tell()
    raise typer.Exit(outcome.exit_code)


def _expand(inputs: list[Path]) -> list[Path]:
    """Files, and in folders the documents and projects right in them, each once."""
    found: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            inside = sorted(
                path
                for path in given.iterdir()
                if path.suffix.lower() in PROJECTS | {".json"} and not path.name.startswith(".") and path.is_file()
            )
            if not inside:
                raise UserError(f"The folder {given} holds no documents (.json) and no projects (.tar, .zip).")
            for path in inside:
                found.setdefault(path.resolve(), path)
        else:
            found.setdefault(given.resolve(), given)
    return list(found.values())


def _stems(files: list[Path]) -> dict[Path, str]:
    """What the results of each are called: its stem, or its whole name where another has the same stem."""
    stems = [path.stem for path in files]
    return {path: path.name if stems.count(path.stem) > 1 else path.stem for path in files}


def _read(path: Path, images: Path | None, beside: Path | None) -> Picture:
    """A document or a project, with its picture where that is to be had.

    Args:
        path: The file.
        images: Folder of the pictures of documents.
        beside: Where a project's picture is written, or None.
    """
    from linegroup.cli.export import picture_of_project, upright
    from linegroup.files import write_bytes
    from linegroup.sources.wpd import read_wpd
    from linegroup.vectors.export import Picture
    from linegroup.wire import from_json

    if path.suffix.lower() in PROJECTS:
        picture = picture_of_project(read_wpd(path))
        if beside is not None and picture.image is not None:
            write_bytes(beside / picture.document.image.name, picture.image)
        return picture
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    try:
        document = from_json(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    source = (images or path.parent) / Path(document.image.name).name if document.image.name else None
    image = source.read_bytes() if source is not None and source.is_file() else None
    return Picture(document, None if image is None else upright(document, image))
