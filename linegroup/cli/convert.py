"""`linegroup convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    SamplingOption,
    WorldOption,
    make_formats,
    write_formats,
)
from linegroup.cli.inputs import check_free, check_out, stems_of
from linegroup.cli.predict import Outcome
from linegroup.errors import UserError
from linegroup.interrupts import interrupts_held, safe_point

if TYPE_CHECKING:
    from linegroup.vectors.export import Picture

DOCUMENT, PROJECTS = ".json", frozenset({".tar", ".zip"})


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
    calibrate its lines, unless --calibration says else. Files that were made of a document (STEM.tar, STEM.coco.json, …
    beside STEM.json) are left aside. A file that cannot be used is named at the end and leaves nothing; the others are
    done.

    Examples:
      linegroup convert lines/chart.json --format csv,svg --out files
      linegroup convert lines/ --format csv --together --calibration axes.json --sample step=0.5 --out files
      linegroup convert projects/*.tar --format coco --together --out digitised
      linegroup shard --annotations digitised/lines.coco.json --images digitised --out shards
    """
    with interrupts_held():
        from linegroup.cli.export import Export
        from linegroup.files import write_bytes
        from linegroup.vectors.export import choose_exporters

    exporters = choose_exporters(formats)
    if together and any(not exporter.together for exporter in exporters):
        raise typer.BadParameter("--together makes one file of csv, parquet and coco only")
    export = Export.of(exporters, calibration, sampling, embed, world)
    _check_images(images)
    check_out(out)
    if together:
        check_free(export.files(out, "lines"))
    outcome, pictures = Outcome(), []
    files, aside = _without_exports(_expand(inputs))
    stems = ["lines"] * len(files) if together else stems_of(files)
    with progress_bar("Files") as show, interrupts_held():
        for number, (path, stem) in enumerate(zip(files, stems, strict=True)):
            show(number, len(files))
            safe_point()
            name = plain(str(path))
            try:
                picture = export.calibrated(_read(path, images))
                # Also with --together: so the one that cannot be made is known.
                made = make_formats(export, [picture])
                check_free([] if together else export.files(out, stem))
            except UserError as error:
                outcome.failed.append({"input": name, "error": plain(str(error))})
                continue
            if export.needs_pictures_beside and path.suffix.lower() in PROJECTS and picture.image is not None:
                write_bytes(out / picture.document.image.name, picture.image)
            if together:
                pictures.append(picture)
            written = {} if together else write_formats(made, out, stem)
            outcome.done.append({"input": name, "lines": len(picture.document.lines), **written})
    if pictures:
        with interrupts_held():
            written = write_formats(make_formats(export, pictures), out, "lines")
        outcome.done = [{**entry, **written} for entry in outcome.done]
    if as_json:
        print_json({"out": plain(str(out)), **vars(outcome), "left_aside": [plain(str(path)) for path in aside]})
    elif outcome.done:
        lines = sum(entry["lines"] for entry in outcome.done)
        typer.echo(f"{counted(len(outcome.done), 'document')} with {counted(lines, 'line')} in {plain(str(out))}")
    if aside:
        note(f"{counted(len(aside), 'file')} made of these documents left aside, such as {aside[0]}.")
    export.tell()
    tell_failures(outcome.failed, "document")
    raise typer.Exit(outcome.exit_code)


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
    """The files to convert, and those that `predict` made of documents among them: STEM.tar beside STEM.json."""
    from linegroup.picture_files import RESULTS
    from linegroup.vectors.export import EXPORTERS

    suffixes = {exporter.suffix for exporter in EXPORTERS.values()} - {DOCUMENT} | set(RESULTS)
    documents = [path for path in files if path.suffix == DOCUMENT]
    made = {document.with_name(document.stem + suffix) for document in documents for suffix in suffixes}
    return [path for path in files if path not in made], [path for path in files if path in made]


def _read(path: Path, images: Path | None) -> Picture:
    """A document or a project, with its picture where that is to be had.

    Args:
        path: The file.
        images: Folder of the pictures of documents.
    """
    from linegroup.cli.export import picture_of_project, upright
    from linegroup.sources.wpd import read_wpd
    from linegroup.vectors.export import Picture
    from linegroup.wire import from_json

    if path.suffix.lower() in PROJECTS:
        return picture_of_project(read_wpd(path))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    try:
        document = from_json(content)
    except UserError as error:
        raise UserError(f"{path}: {error}{_instead(content)}") from None
    source = (images or path.parent) / Path(document.image.name).name if document.image.name else None
    image = source.read_bytes() if source is not None and source.is_file() else None
    return Picture(document, None if image is None else upright(document, image))


def _instead(content: bytes) -> str:
    """What to do about a JSON file that is no document but something known; "" for others."""
    try:
        tree = json.loads(content)
    except ValueError:
        return ""
    if not isinstance(tree, dict):
        return ""
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
