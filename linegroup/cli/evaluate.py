"""`linegroup evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linegroup.cli.common import DeviceOption, JsonFlag, ModelOption, note, print_json, progress_bar
from linegroup.cli.inputs import check_out
from linegroup.interrupts import interrupts_held


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
        typer.Option("--set", metavar="KEY=VALUE", help="grouping.* of the model, or data.*: how the truth is drawn."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUPER", help="Another grouper on the same model's maps, as a column of its own. May be repeated."
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    r"""Score a model on charts with known lines, beside colour clustering, connected components and flat lines.

    Means with 95 % bootstrap intervals, overall and by tag. The contact sheet shows the worst, median and best charts:
    picture, truth, model, baselines.

    Examples:
      linegroup evaluate --model run/artifact --data shards --out evaluation
      linegroup evaluate --model models:/linegroup@champion --data shards --split test --json
      linegroup evaluate --model run/artifact --data shards --set grouping.method=link --against dbscan
      linegroup evaluate --data shards --limit 50          (the packaged model)
      linegroup evaluate --data shards --model none        (the grouper link, which has learned nothing)
    """
    with interrupts_held():
        from linegroup.cli.tables import show_evaluation
        from linegroup.evaluation import save_evaluation, score_model

    if out is not None:
        check_out(out)
    with progress_bar("Charts") as show, interrupts_held():
        evaluation = score_model(
            data,
            model,
            split=split,
            limit=limit,
            overrides=overrides or (),
            against=against or (),
            device=device,
            progress=show,
        )
    if out is not None:
        save_evaluation(evaluation, out)
    if as_json:
        print_json(evaluation.to_json())
        return
    show_evaluation(evaluation)
    if out is not None:
        note(f"Worst, median and best charts: {out / 'examples.png'}; all figures: {out / 'report.json'}")
