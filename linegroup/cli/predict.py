"""`linegroup predict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linegroup.cli.common import DeviceOption, JsonFlag, ModelOption, note, plain, print_json, progress_bar
from linegroup.cli.export import (
    CalibrationOption,
    EmbedFlag,
    Export,
    SamplingOption,
    WorldOption,
    upright,
    write_formats,
)
from linegroup.cli.inputs import Input, collect, prepare_out
from linegroup.errors import UserError

if TYPE_CHECKING:
    from linegroup.predict import Prediction, Predictor

SHOWN_FAILURES = 20


@dataclass
class Outcome:
    """What became of the inputs: those done with their files, those skipped, those that failed with the reason."""

    done: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all done; 1 some failed; 2 every one did."""
        if not self.failed:
            return 0
        return 1 if self.done or self.skipped else 2


def predict(
    inputs: Annotated[list[Path], typer.Argument(metavar="IMAGE|DIR…", help="Pictures, and folders of pictures.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go; made when missing.")],
    model: ModelOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a grouping setting: grouping.eps=0.4. May be repeated."
        ),
    ] = None,
    device: DeviceOption = "auto",
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Leave out pictures that this model and these settings have done already."
        ),
    ] = False,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="NAMES",
            help="More files, joined by commas: csv, csv_wide, parquet, svg, geojson, coco, labelme, wpd"
            " (WebPlotDigitizer).",
        ),
    ] = None,
    calibration: CalibrationOption = None,
    sampling: SamplingOption = None,
    embed: EmbedFlag = False,
    world: WorldOption = None,
    as_json: JsonFlag = False,
) -> None:
    r"""Find the lines in pictures.

    For each picture STEM.labels.png (16 bit, 0 = none, 1..K = lines), STEM.json (schema linegroup.lines/1) and
    STEM.overlay.png. Of folders the pictures right in them are taken, not those in folders below. A picture that
    cannot be read is named at the end, and the others are done.

    Examples:
      linegroup predict chart.png --out lines
      linegroup predict scans/ extra.jpg --out lines --model models:/linegroup@champion
      linegroup predict chart.png --out lines --format csv,svg --calibration axes.json --sample step=0.5
      linegroup predict scans/ --out lines --model run/artifact \
                        --set grouping.eps=0.4 --set grouping.noise=drop
    """
    pictures = collect(inputs)
    from linegroup.vectors.export import choose_exporters

    exporters = choose_exporters(formats) if formats is not None else []
    export = Export.of(exporters, calibration, sampling, embed, world)
    prepare_out(out)
    from linegroup.predict import Predictor

    predictor = Predictor.load(model, device, overrides or ())
    if predictor.model is None and model is None:
        note(f"No model is packaged here: the {predictor.name} grouper, which has learned nothing.")
    outcome = run(pictures, out, predictor, skip_existing, export)
    if as_json:
        record = {"name": predictor.name, "version": predictor.version}
        print_json({"out": plain(str(out)), "model": record, **vars(outcome)})
    else:
        _show(outcome, out)
    export.tell()
    raise typer.Exit(outcome.exit_code)


def run(
    pictures: list[Input], out: Path, predictor: Predictor, skip_existing: bool = False, export: Export | None = None
) -> Outcome:
    """Predict one picture after the other; those that cannot be read are noted, the others done.

    Raises:
        OSError: the output folder cannot be written (any more).
    """
    from linegroup.predict import is_done

    outcome = Outcome()
    with progress_bar("Pictures") as show:
        for number, picture in enumerate(pictures):
            show(number, len(pictures))
            name = plain(str(picture.path))
            done = skip_existing and is_done(predictor, picture.path, out, picture.stem)
            if done and (export is None or export.is_done(out, picture.stem)):
                outcome.skipped.append(name)
                continue
            try:
                prediction = predictor.predict_file(picture.path)
                files = _write(prediction, picture, out, export)
            except UserError as error:
                outcome.failed.append({"input": name, "error": plain(str(error))})
                continue
            outcome.done.append({"input": name, "lines": prediction.groups.count, **files})
    return outcome


def _write(prediction: Prediction, picture: Input, out: Path, export: Export | None) -> dict[str, str]:
    """All files of one picture, the document last; by kind."""
    from linegroup.predict import write_prediction
    from linegroup.vectors.export import Picture

    made = Picture(prediction.document)
    written = {}
    if export is not None:
        made = export.calibrated(made)
        if export.exporters:
            image = upright(made.document, picture.path.read_bytes())
            written = write_formats(export, [Picture(made.document, image)], out, picture.stem)
    paths = write_prediction(prediction, out, picture.stem, made.document)
    return {**written, **{kind: plain(str(path)) for kind, path in paths.items()}}


def _show(outcome: Outcome, out: Path) -> None:
    lines = sum(entry["lines"] for entry in outcome.done)
    skipped = f", {len(outcome.skipped)} done before" if outcome.skipped else ""
    typer.echo(f"{len(outcome.done)} pictures with {lines} lines in {plain(str(out))}{skipped}")
    for entry in outcome.failed[:SHOWN_FAILURES]:
        note(f"Left out: {entry['error']}")
    if outcome.failed:
        hidden = len(outcome.failed) - SHOWN_FAILURES
        more = f"; {hidden} more are not shown, --json lists all" if hidden > 0 else ""
        note(f"{len(outcome.failed)} pictures could not be used{more}.")
