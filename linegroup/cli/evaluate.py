"""`linegroup evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linegroup.cli.common import DeviceOption, JsonFlag, ModelOption, note, print_json, progress_bar
from linegroup.cli.inputs import prepare_out

if TYPE_CHECKING:
    from linegroup.config import DataConfig
    from linegroup.evaluation import Report
    from linegroup.predict import Predictor
    from linegroup.sample import Sample
    from linegroup.shards import ShardSet


def evaluate(
    data: Annotated[Path, typer.Option(metavar="SHARDS", help="Shard folder.")],
    model: ModelOption = None,
    split: Annotated[str, typer.Option(help="Which of its splits.")] = "val",
    limit: Annotated[int, typer.Option(min=0, help="Only so many charts, spread evenly over the split; 0: all.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.json and the contact sheet examples.png here.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="grouping.* of the model, or how the truth is drawn: data.*."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Score a model on charts with known lines, beside colour clustering and connected components.

    Means with 95 % bootstrap intervals, overall and by tag. The contact sheet shows the worst, median and best charts:
    picture, truth, model, baselines.

    \b
    Examples:
      linegroup evaluate --model run/artifact --data shards --out evaluation
      linegroup evaluate --model models:/linegroup@champion --data shards --split test --json
      linegroup evaluate --data shards --limit 50          # the classical grouper
    """
    from linegroup import evaluation
    from linegroup.shards import ShardSet

    shards = ShardSet(data, split)
    if out is not None:
        prepare_out(out)
    first, drawing = load_first(model, device, overrides or [], shards)
    predictors = {"model" if first.model else first.name: first, **evaluation.baselines()}
    chosen = spread(len(shards), limit)
    with progress_bar("Charts", len(chosen)) as step:
        report = evaluation.evaluate(predictors, (shards.read(i) for i in chosen), drawing, step)
    tree = {"model": first.record.model_dump(), "data": str(data), "split": split, "report": report.to_json()}
    if out is not None:
        write_report(out, tree, report, predictors, shards)
    if as_json:
        print_json(tree)
    else:
        from linegroup.cli.tables import show_report

        show_report(report, f"{first.name} {first.version} on {split} of {data}")
        if out is not None:
            note(f"Worst, median and best charts: {out / 'examples.png'}; all figures: {out / 'report.json'}")


def load_first(
    reference: str | None, device: str, overrides: Iterable[str], shards: ShardSet
) -> tuple[Predictor, DataConfig]:
    """The predictor to score, and how the truth of its task is drawn."""
    from linegroup.config import load_config
    from linegroup.evaluation import category_name
    from linegroup.predict import Predictor

    grouping = [text for text in overrides if not text.startswith("data.")]
    drawing = load_config(None, [text for text in overrides if text.startswith("data.")]).data
    predictor = Predictor.load(reference, device, grouping)
    changes = drawing.model_dump(exclude_unset=True)
    data = predictor.data.model_copy(update=changes)
    return predictor, data.model_copy(update={"category": category_name(data.category, shards.categories)})


def spread(count: int, limit: int) -> list[int]:
    """All of `count` numbers, or `limit` of them at even distances."""
    if not 0 < limit < count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def write_report(
    out: Path, tree: Mapping[str, Any], report: Report, predictors: Mapping[str, Predictor], shards: ShardSet
) -> None:
    """`report.json` and `examples.png`."""
    from linegroup import evaluation
    from linegroup.files import write_bytes, write_text
    from linegroup.images import encode_png

    kinds = dict((sample, kind) for kind, sample in evaluation.choose_examples(report))
    rows = {
        sample.id: evaluation.example_row(kinds[sample.id], sample, predictors, report)
        for sample in _samples(shards, list(kinds))
    }
    write_bytes(out / "examples.png", encode_png(evaluation.examples_sheet([rows[number] for number in kinds])))
    write_text(out / "report.json", json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _samples(shards: ShardSet, ids: list[int]) -> Iterator[Sample]:
    wanted = set(ids)
    for index, number in enumerate(shards.ids.tolist()):
        if number in wanted:
            yield shards.read(index)
