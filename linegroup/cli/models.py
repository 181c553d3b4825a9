"""`linegroup models …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

JSON_FLAG = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
NAME = Annotated[str, typer.Option(help="Name in the registry.")]

models = typer.Typer(no_args_is_help=True, help="Versions of models in the MLflow registry (MLFLOW_TRACKING_URI).")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models, name="models")


@models.command("register")
def register_model(
    reference: Annotated[str, typer.Argument(help="Run id, or artifact folder.")],
    name: NAME = "linegroup",
    as_json: JSON_FLAG = False,
) -> None:
    """Make a trained model a new version.

    Example: `linegroup models register runs/first/artifact`
    """
    from linegroup.training import tracking

    _show(tracking.register(reference, name), as_json)


@models.command()
def promote(
    version: Annotated[str, typer.Argument(help="Number of the version.")],
    name: NAME = "linegroup",
    alias: Annotated[str, typer.Option(help="Who is to be this version.")] = "champion",
    as_json: JSON_FLAG = False,
) -> None:
    """Point an alias at a version: what `models:/linegroup@champion` means from now on.

    Example: `linegroup models promote 3`
    """
    from linegroup.training import tracking

    _show(tracking.promote(name, version, alias), as_json)


@models.command("list")
def list_models(as_json: JSON_FLAG = False) -> None:
    """All versions, with aliases and validation scores."""
    from linegroup.training import tracking

    _show(tracking.list_models(), as_json)


@models.command()
def show(
    reference: Annotated[str, typer.Argument(help="models:/name@alias, models:/name/version, run id or folder.")],
    as_json: JSON_FLAG = False,
) -> None:
    """One model: its version, settings and scores."""
    from linegroup.training import tracking

    _show(tracking.show_model(reference), as_json)


@models.command("import")
def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint {epoch, model, opt, best_val} of the script.")],
    out: Annotated[Path, typer.Option(help="Artifact folder to make.")],
    as_json: JSON_FLAG = False,
) -> None:
    """Turn a checkpoint of the reference training script into a model of ours; nothing in it is executed.

    Example: `linegroup models import best.pt --out models/reference`
    """
    from linegroup.training.importing import import_reference

    artifact = import_reference(checkpoint, out)
    _show({"artifact": str(out), "version": artifact.version}, as_json)


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result, default=str))
        return
    for record in result if isinstance(result, list) else [result]:
        typer.echo("\n".join(f"{key}: {value}" for key, value in record.items()))
        if isinstance(result, list):
            typer.echo()
    if not result:
        typer.echo("There are no models yet: train one, then `linegroup models register RUN`.")
