"""`linegroup tune …`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from linegroup.cli.common import (
    DeviceOption,
    JsonFlag,
    counted,
    help_of,
    note,
    output,
    plain,
    print_json,
    progress_bar,
)
from linegroup.cli.inputs import check_out
from linegroup.interrupts import interrupts_held

if TYPE_CHECKING:
    from linegroup.tuning.grouping import Improvement, Tuning
    from linegroup.tuning.trials import Trial

SHOWN_METRICS = ("ari", "line_f1", "pair_f1", "count_error", "noise_ratio")


def start(context: typer.Context) -> None:
    r"""Choose settings by trying them on validation charts.

    The grouping of a finished model, in about a minute:
      linegroup tune grouping --model run/artifact --data shards --out tuned
      linegroup predict chart.png --out lines --model tuned/artifact

    The network and its training, with Ray Tune:
      linegroup tune training data.train=shards training.epochs=10 search.trials=12 search.out=runs/search
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def tune_grouping(
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="pretrained, an artifact folder, models:/NAME@ALIAS, or a run id."
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="SHARDS", help="Shard folder.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the new model, the table and the picture.")],
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, the present one included.")] = 50,
    charts: Annotated[int, typer.Option(min=0, help="Charts to use, at even distances; 0: all of the split.")] = 24,
    holdout: Annotated[
        float, typer.Option(min=0, max=0.95, help="Share of them, by document, that only measures what was gained.")
    ] = 0.5,
    objective: Annotated[str, typer.Option(help="ari, line_f1, or their mean ari_line_f1.")] = "ari",
    space: Annotated[str, typer.Option(metavar="SPACE", help="A packaged search space, or a YAML file.")] = "grouping",
    method: Annotated[
        list[str] | None, typer.Option(metavar="GROUPER", help="Only this grouper. May be repeated.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split of the shards.")] = "val",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="grouping.*: where to begin; data.*: how the truth is drawn."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Another seed, another search and another held-out half.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    maps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the network's answers here, for the next time.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    r"""Find a better grouping for a finished model: the network runs once for each chart, then settings are tried.

    What is there now is the first trial, so the result is never worse on the charts that are searched on. The other
    half of the charts says what was gained. Leaves DIR/artifact (a new model for predict, evaluate and models
    register), trials.csv, tuning.json and tuning.png.

    Examples:
      linegroup tune grouping --model run/artifact --data shards --out tuned
      linegroup tune grouping --model pretrained --data shards --out tuned --method link --trials 100
      linegroup tune grouping --model run/artifact --data shards --out tuned --objective line_f1 --charts 0
    """
    with interrupts_held():
        from linegroup.tuning.grouping import PICTURE
        from linegroup.tuning.grouping import tune_grouping as tune
        from linegroup.tuning.settings import DecoderSettings

    check_out(out)
    settings = DecoderSettings(
        trials=trials,
        charts=charts,
        holdout=holdout,
        objective=objective,
        space=space,
        methods=tuple(method or ()),
        seed=seed,
        workers=workers,
    )
    with progress_bar("Maps") as show_maps, progress_bar("Trials") as show_trials, interrupts_held():
        tuning = tune(
            model,
            data,
            out,
            settings,
            split=split,
            overrides=overrides or (),
            device=device,
            maps=maps,
            progress=show_trials,
            map_progress=show_maps,
        )
    if as_json:
        print_json(tuning.to_json())
        return
    _show(tuning)
    note(f"Trials: {out / 'trials.csv'}; what mattered: {out / PICTURE}")


def tune_training(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]…", help="Settings of the training, and search.*, dotted: search.trials=24."
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="RECIPE", help="YAML file, or the name of a packaged recipe."),
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the settings of the search, and stop.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    r"""Search network, loss and training: Ray Tune trains, each network is judged with the best grouping for it.

    The configuration is that of `linegroup train`; what is tried around it stands in the space (search.space). It is
    the first trial itself. Poor trainings are stopped early. Run again, a killed search goes on where it stood. Leaves
    artifact (the best model), search.csv, search.png and result.json in search.out.

    Examples:
      linegroup tune training data.train=shards training.epochs=10 search.trials=12 search.out=runs/search
      linegroup tune training --config recipe.yaml data.train=shards search.space=mine.yaml search.gpus=0.5
      linegroup tune training --show-config
    """
    from linegroup.cli.train import recipe_path
    from linegroup.distributed.search import PICTURE, TRIALS, search_method
    from linegroup.tuning.plans import SECTION, load_search, plan_search

    settings, search = load_search(recipe_path(config), overrides or ())
    if show_config:
        import yaml

        typer.echo(yaml.safe_dump({SECTION: search.model_dump(mode="json")}, sort_keys=False), nl=False)
        return
    plan = plan_search(settings, search)
    note(f"Search: {search.trials} trainings, {len(plan.space.parameters)} settings ({search.space}); into {plan.out}")
    result = search_method(plan)
    if as_json:
        print_json(result.to_json())
        return
    _show_gains([("searched on", result.tuned), *([("held out", result.held)] if result.held else [])])
    best = result.trials[result.best]
    typer.echo(f"Best of {len(result.trials)}: training {best.number}, {search.objective} {best.objective:.3f}")
    for key, value in best.settings.items():
        typer.echo(plain(f"  {key}: {value}"))
    _tell_failed(result.trials, "training")
    typer.echo(f"Model:  {result.artifact}")
    note(f"Trainings: {plan.out / TRIALS}; what mattered: {plan.out / PICTURE}")


def _show(tuning: Tuning) -> None:
    _show_gains([("searched on", tuning.tuned), *([("held out", tuning.held)] if tuning.held else [])])
    for key, (old, new) in tuning.changed.items():
        typer.echo(plain(f"grouping.{key}: {old} → {new}"))
    if not tuning.changed:
        typer.echo("Nothing that was tried is better by more than chance: the grouping stays as it was.")
    _tell_failed(tuning.found.trials, "trial")
    typer.echo(f"Model:  {tuning.artifact.path} (version {tuning.artifact.version})")
    if tuning.held is not None and tuning.held.change[0] < 0:
        note("On the held-out charts it is worse than before: do not use it, or tune on more charts.")


def _tell_failed(trials: Sequence[Trial], thing: str) -> None:
    notes = [trial.note for trial in trials if trial.state == "failed"]
    if notes:
        note(f"{len(notes)} of {counted(len(trials), thing)} failed, the first because: {notes[0]}")


def _show_gains(parts: Sequence[tuple[str, Improvement]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name, gain in parts:
        table.add_column(f"{name}: {counted(gain.charts, 'chart')}", justify="right")
    for metric in SHOWN_METRICS:
        table.add_row(metric, *(_before_after(gain, metric) for _, gain in parts))
    table.add_row("change (95 %)", *(_interval(gain) for _, gain in parts))
    output().print(table)


def _before_after(gain: Improvement, metric: str) -> str:
    if metric not in gain.after:
        return ""
    return f"{gain.before[metric]:.3f} → {gain.after[metric]:.3f}"


def _interval(gain: Improvement) -> str:
    mean, low, high = gain.change
    return f"{mean:+.3f} ({low:+.3f} … {high:+.3f})"


COMMANDS: dict[str, Callable[..., Any]] = {"grouping": tune_grouping, "training": tune_training}

tune = typer.Typer(rich_markup_mode="rich")
tune.callback(invoke_without_command=True, help=help_of(start))(start)
for word, function in COMMANDS.items():
    tune.command(word, help=help_of(function))(function)
