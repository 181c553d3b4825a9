"""`linegroup train`."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from linegroup.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Settings, for example training.epochs=20.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="YAML recipe, or the name of a packaged one: reference.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print every setting and stop.")] = False,
) -> None:
    """Train a model on shards, tracked by MLflow; run again, it goes on where it was killed.

    With `ray.num_workers` above 0 Ray Train runs that many DDP workers, on this machine or on the cluster
    that RAY_ADDRESS names; with 0 it is a plain loop in this process.

    Example: `linegroup train data.train=shards training.epochs=20 training.out=runs/first`
    """
    import yaml

    from linegroup.config import load_config

    settings = load_config(recipe_path(config), overrides or [])
    if show_config:
        typer.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
        return
    if settings.data.train is None:
        raise UserError("Say what to train on: data.train=SHARDS, a folder made by `linegroup shard`.")
    from linegroup.distributed.train import train_distributed

    result = train_distributed(settings)
    if as_json:
        record = {"artifact": str(result.artifact), "steps": result.steps, "run_id": result.run_id}
        typer.echo(json.dumps({**record, "metrics": result.metrics}))
        return
    shown = {name: value for name, value in result.metrics.items() if name in ("val_ari", "val_loss", "val_pair_f1")}
    typer.echo(f"{result.steps} steps; " + ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))
    typer.echo(f"Model: {result.artifact}")
    typer.echo(f"Try it: linegroup predict chart.png --out lines --model {result.artifact}")
    if result.run_id:
        from linegroup.training.tracking import tracking_uri

        typer.echo(f"Look: mlflow ui --backend-store-uri {tracking_uri(settings.tracking)}  (run {result.run_id})")


def recipe_path(name: str | None) -> Path | None:
    """A recipe file, or the packaged recipe of that name.

    Raises:
        UserError: there is neither.
    """
    if name is None:
        return None
    if Path(name).is_file():
        return Path(name)
    folder = files("linegroup") / "recipes"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name in known:
        return Path(str(folder / f"{name}.yaml"))
    raise UserError(f"There is no recipe file {name}, nor a packaged recipe of that name ({', '.join(known)}).")
