"""`linegroup train`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linegroup.cli.common import JsonFlag, note, print_json
from linegroup.errors import UserError
from linegroup.interrupts import interrupts_held
from linegroup.tuning.tables import finite

if TYPE_CHECKING:
    from linegroup.config import Config
    from linegroup.training.loop import TrainResult

SHOWN_METRICS = ("val_ari", "val_pair_f1", "val_loss")


def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Settings, dotted: training.epochs=20.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="RECIPE", help="YAML file, or the name of a packaged recipe."),
    ] = None,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print every setting as YAML, and stop.")] = False,
    as_json: JsonFlag = False,
) -> None:
    r"""Train a model on shards or generated charts, tracked by MLflow. Run again, it goes on where it was killed.

    Settings: defaults < recipe < KEY=VALUE. With ray.num_workers of 1 or more, Ray Train runs that many DDP workers on
    this machine or on the cluster that RAY_ADDRESS names; with 0 it is a plain loop in this process.

    Examples:
      linegroup train data.train=shards training.out=run training.epochs=20
      linegroup train --config recipe.yaml data.train=shards training.lr=1e-3 ray.num_workers=2
      linegroup train data.train=synth:charts?seed=7 data.val=shards      (charts without end; data.mix for several)
      linegroup train --config reference data.train=shards      (the reference script's network and recipe)
      linegroup train --config reference --show-config > mine.yaml
    """
    from linegroup.config import load_config

    settings = load_config(recipe_path(config), overrides or ())
    if show_config:
        import yaml

        typer.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), nl=False)
        return
    for line in plan(settings):
        note(line)
    result = _train(settings)
    place = _tracking_uri(settings) if result.run_id else None
    if as_json:
        record = {name: getattr(result, name) for name in ("steps", "resumed_from", "skipped", "run_id")}
        record = {"artifact": str(result.artifact), **record}
        print_json({**record, "tracking_uri": place, "metrics": finite(dict(result.metrics))})
        return
    scores = ", ".join(f"{name} {result.metrics[name]:.3f}" for name in SHOWN_METRICS if name in result.metrics)
    typer.echo(f"Trained {result.steps} steps{': ' if scores else ''}{scores}")
    typer.echo(f"Model:  {result.artifact}")
    typer.echo(f"Score:  linegroup evaluate --model {result.artifact} --data {_scored(settings)}")
    typer.echo(f"Use:    linegroup predict chart.png --out lines --model {result.artifact}")
    if place:
        typer.echo(f"Look:   mlflow ui --backend-store-uri {place}   (run {result.run_id})")


def recipe_path(name: str | None) -> Path | None:
    """A recipe file, or the packaged recipe of that name.

    Raises:
        UserError: there is neither.
    """
    if name is None or Path(name).is_file():
        return None if name is None else Path(name)
    folder = Path(str(files("linegroup") / "recipes"))
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name in known:
        return folder / f"{name}.yaml"
    raise UserError(
        f"There is no recipe file {name}, nor a packaged recipe of that name ({', '.join(known) or 'none'})."
    )


def plan(settings: Config) -> list[str]:
    """What is going to happen, in a few lines.

    Raises:
        UserError: no training data are named, or there are none; or no such model to begin with.
    """
    from linegroup.training.data import batch_plan, training_sources, validation_path
    from linegroup.training.loop import run_length
    from linegroup.training.starting import as_started

    settings = as_started(settings)
    training, ray = settings.training, settings.ray
    world = max(1, ray.num_workers)
    batch, steps = training.batch_size * world, run_length(settings, world)
    epochs = steps * batch / batch_plan(settings, world).samples
    sources = training_sources(settings.data)
    data = " + ".join(f"{source.weight:g} × {source}" if len(sources) > 1 else str(source) for source in sources)
    own = "validated on its val split" if validation_path(settings.data) else "not validated"
    validated = f"validated on {settings.data.val}" if settings.data.val else own
    workers = f"{ray.num_workers} Ray worker{'s' if ray.num_workers != 1 else ''}" if ray.num_workers else "one process"
    start = f"begins as {training.init}, " if training.init else ""
    return [
        f"Data: {data}, {validated}",
        f"Steps: {steps} of {batch} charts ({epochs:.3g} epochs), {workers}, device {training.device}",
        f"Model: {start}{settings.model.backbone}, width {settings.model.width}, depth {settings.model.depth},"
        f" {settings.model.emb_dim} dimensions; into {training.out}",
    ]


def _train(settings: Config) -> TrainResult:
    if settings.ray.num_workers:
        from linegroup.distributed.train import train_distributed

        return train_distributed(settings)
    with interrupts_held():
        from linegroup.training.loop import train_local

        return train_local(settings)


def _scored(settings: Config) -> str:
    from linegroup.training.data import validation_path

    return validation_path(settings.data) or "SHARDS"


def _tracking_uri(settings: Config) -> str:
    from linegroup.training.mlflow_access import public_uri, tracking_uri

    return public_uri(tracking_uri(settings.tracking))
