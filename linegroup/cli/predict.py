"""`linegroup predict`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linegroup.cli.batch import choose_workers, refuse_with_shards, write_shards
from linegroup.cli.common import (
    DeviceOption,
    JsonFlag,
    ModelOption,
    counted,
    note,
    plain,
    print_json,
    progress_bar,
    tell_failures,
)
from linegroup.cli.export import (
    WANTED,
    CalibrationOption,
    EmbedFlag,
    Export,
    SamplingOption,
    WorldOption,
    counts_of,
    make_formats,
    picture_at,
    write_formats,
)
from linegroup.cli.inputs import Input, check_free, check_out, collect
from linegroup.errors import UserError
from linegroup.files import remove_temporaries
from linegroup.interrupts import interrupts_held, safe_point

if TYPE_CHECKING:
    from linegroup.predict import Prediction, Predictor
    from linegroup.wire import LinesDocument

_log = logging.getLogger(__name__)


class Shards(StrEnum):
    """Files of many rows."""

    parquet = "parquet"
    jsonl = "jsonl"


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
    inputs: Annotated[list[str], typer.Argument(metavar="IMAGE|DIR…", help="Pictures, and folders of pictures.")],
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
            " (WebPlotDigitizer); json and label_png are written in any case.",
        ),
    ] = None,
    calibration: CalibrationOption = None,
    sampling: SamplingOption = None,
    embed: EmbedFlag = False,
    world: WorldOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes (Ray); 0: this one alone. Default: 0 for few pictures, else one for each core.",
        ),
    ] = None,
    shards: Annotated[
        Shards | None,
        typer.Option(help="In place of files for each picture, files of many rows; goes on where it was killed."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace finished shards of other input.")] = False,
    as_json: JsonFlag = False,
) -> None:
    r"""Find the lines in pictures.

    For each picture STEM.labels.png (16 bit, 0 = none, 1..K = lines), STEM.json (schema linegroup.lines/1) and
    STEM.overlay.png. Of folders the pictures right in them are taken, not those in folders below. A picture that
    cannot be read is named at the end, and the others are done. Of many pictures several are done at a time.

    With --shards DIR gets Parquet files or JSON lines with one row per picture, for millions of them; inputs may then
    also be patterns, lists (.txt), Parquet files and URIs.

    Examples:
      linegroup predict chart.png --out lines
      linegroup predict scans/ extra.jpg --out lines --model models:/linegroup@champion
      linegroup predict chart.png --out lines --format csv,svg --calibration axes.json --sample step=0.5
      linegroup predict scans/ --out lines --model run/artifact \
                        --set grouping.eps=0.4 --set grouping.noise=drop
      linegroup predict 's3://bucket/scans/**/*.png' --out lines --shards parquet
    """
    if shards is not None:
        refuse_with_shards(
            format=formats,
            calibration=calibration,
            sample=sampling,
            embed=embed,
            world=world,
            skip_existing=skip_existing,
        )
        job = {"pictures": inputs, "out": out, "format": shards.value, "model": model, "overwrite": overwrite}
        settings = {**job, "overrides": overrides or (), "device": device}
        raise typer.Exit(write_shards(settings, workers, as_json))
    pictures = collect(map(Path, inputs))
    with interrupts_held():
        from linegroup.compiling import is_cold
        from linegroup.predict import Predictor
        from linegroup.vectors.export import EXPORTERS, choose_exporters

    loose = [name for name in inputs if name in EXPORTERS and not Path(name).exists()]
    if formats is not None and loose:
        raise UserError(f"{loose[0]} is a format, not a picture: --format {','.join([formats, *loose])} (with commas).")
    exporters = choose_exporters(formats) if formats is not None else []
    export = Export.of(exporters, calibration, sampling, embed, world)
    if sampling is not None and calibration is None:
        raise typer.BadParameter(f"--sample reads lines in the units of their axes; {WANTED}")
    check_out(out)
    count = choose_workers(workers, len(pictures))
    with interrupts_held():
        predictor = Predictor.load(model, "cpu" if count else device, overrides or ())
    if predictor.model is None and model is None:
        note(f"No model is packaged here: the {predictor.name} grouper, which has learned nothing.")
    task = Task(out, skip_existing, export)
    if is_cold():
        _log.info("First run: compiling, about a minute.")
    outcome = run(pictures, predictor, task, count, device)
    if as_json:
        record = {"name": predictor.name, "version": predictor.version}
        print_json({"out": plain(str(out)), "model": record, **vars(outcome)})
    elif outcome.done or outcome.skipped:
        lines = sum(entry["lines"] for entry in outcome.done)
        found = f"{counted(len(outcome.done), 'picture')} with {counted(lines, 'line')}"
        skipped = f", {len(outcome.skipped)} done before" if outcome.skipped else ""
        typer.echo(f"{found} in {plain(str(out))}{skipped}")
    export.tell()
    tell_failures(outcome.failed, "picture")
    raise typer.Exit(outcome.exit_code)


@dataclass(frozen=True)
class Task:
    """What is to be done with each picture."""

    out: Path
    skip_existing: bool
    export: Export

    def __call__(self, predictor: Predictor, picture: Input) -> Done:
        """Do it; an interrupt comes before its files or after them, not among them.

        Raises:
            OSError: the output folder cannot be written (any more).
        """
        with interrupts_held():
            return self._do(predictor, picture)

    def clear(self, pictures: Iterable[Input]) -> None:
        """Remove what killed writers of the pictures' files left; nobody may be writing them now."""
        remove_temporaries(self.out, *(path.name for picture in pictures for path in self._files(picture.stem)))

    def _do(self, predictor: Predictor, picture: Input) -> Done:
        from linegroup.vectors.export import Picture

        name = plain(str(picture.path))
        if self.skip_existing and self._is_done(predictor, picture):
            return Done(skipped=name)
        try:
            check_free(self._files(picture.stem))
            prediction = predictor.predict_file(picture.path)
            document = self.export.calibrated(Picture(prediction.document)).document
            safe_point()
            files = _write(prediction, document, picture, self.out, self.export)
        except UserError as error:
            hint = ""
            if picture.path.suffix.lower() == ".json" and picture.path.is_file():
                hint = " Documents are no pictures: use `linegroup convert`."
            return Done(failed={"input": name, "error": plain(f"{error}{hint}")})
        return Done({"input": name, "lines": prediction.groups.count, **files}, told=counts_of(document))

    def _is_done(self, predictor: Predictor, picture: Input) -> bool:
        from linegroup.predict import is_done

        return (
            all(path.is_file() for path in self._files(picture.stem))
            and is_done(predictor, picture.path, self.out, picture.stem)
            and self.export.is_done(self.out, picture.stem, picture.path)
        )

    def _files(self, stem: str) -> list[Path]:
        from linegroup.predict import DOCUMENT, LABELS, OVERLAY

        return [*(self.out / f"{stem}{end}" for end in (DOCUMENT, LABELS, OVERLAY)), *self.export.files(self.out, stem)]


@dataclass(frozen=True)
class Done:
    """What became of one picture: one of the three; and what is to be told of its values, see `counts_of`."""

    done: dict[str, Any] | None = None
    skipped: str | None = None
    failed: dict[str, str] | None = None
    told: Counter[str] = field(default_factory=Counter)


def run(pictures: list[Input], predictor: Predictor, task: Task, workers: int = 0, device: str = "auto") -> Outcome:
    """Do the pictures; those that cannot be read are noted, the others done.

    Args:
        pictures: In the order of the report.
        predictor: Finds the lines; with workers on the CPU.
        task: What is to be done with each.
        workers: Processes; 0: this one, one picture after the other.
        device: Where the workers' networks run.

    Raises:
        OSError: the output folder cannot be written (any more).
    """
    results: dict[int, Done] = {}
    task.clear(pictures)
    with progress_bar("Pictures") as show:
        show(0, len(pictures))
        try:
            for number, result in _results(pictures, predictor, task, workers, device):
                results[number] = result
                show(len(results), len(pictures))
        except BaseException:
            # Processes that were ended were perhaps writing.
            task.clear(pictures)
            raise
    ordered = [results[number] for number in range(len(pictures))]
    for result in ordered:
        task.export.told.update(result.told)
    return Outcome(
        [result.done for result in ordered if result.done is not None],
        [result.skipped for result in ordered if result.skipped is not None],
        [result.failed for result in ordered if result.failed is not None],
    )


def _results(
    pictures: list[Input], predictor: Predictor, task: Task, workers: int, device: str
) -> Iterator[tuple[int, Done]]:
    if not workers:
        return ((number, task(predictor, picture)) for number, picture in enumerate(pictures))
    from linegroup.distributed.each import each
    from linegroup.training.runtime import choose_device

    return each(task, pictures, predictor, workers, device=str(choose_device(device)))


def _write(
    prediction: Prediction, document: LinesDocument, picture: Input, out: Path, export: Export
) -> dict[str, str]:
    """All files of one picture, the document last; by kind."""
    from linegroup.predict import write_prediction

    written = {}
    if export.exporters:
        made = make_formats(export, [picture_at(document, picture.path, out)])
        written = write_formats(made, out, picture.stem)
    paths = write_prediction(prediction, out, picture.stem, document)
    return {**written, **{kind: plain(str(path)) for kind, path in paths.items()}}
