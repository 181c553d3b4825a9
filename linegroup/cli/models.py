"""`linegroup models …`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from linegroup.cli.common import JsonFlag, help_of, output, plain, print_json
from linegroup.cli.promote import compare, history, promote, rollback
from linegroup.tuning.tables import finite


def start(context: typer.Context) -> None:
    r"""Versions of models in the MLflow registry (MLFLOW_TRACKING_URI, else mlruns/mlflow.db in this folder).

    From a training run to the model that everybody uses:
      linegroup models register run/artifact
      linegroup models promote linegroup 1 --data shards
      linegroup predict chart.png --out lines --model models:/linegroup@champion
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def register_model(
    reference: Annotated[str, typer.Argument(metavar="RUN|FOLDER", help="Run id, or artifact folder.")],
    name: Annotated[str, typer.Option(help="Name in the registry; made when missing.")] = "linegroup",
    as_json: JsonFlag = False,
) -> None:
    r"""Make a trained model a new version.

    Examples:
      linegroup models register run/artifact
      linegroup models register 0f0d4dfae2c94b53b4b5b3e1c4a3ad8f --name charts
    """
    from linegroup.training import registry

    made = registry.register(reference, name)
    if as_json:
        print_json(made)
        return
    typer.echo(f"{made['name']} version {made['version']} (artifact {made['artifact_version']}, run {made['run_id']})")
    typer.echo(f"Use it:  linegroup models promote {made['name']} {made['version']} --data SHARDS")


def list_models(as_json: JsonFlag = False) -> None:
    r"""All versions of all models, with aliases and validation scores.

    Example:
      linegroup models list --json
    """
    from linegroup.training import registry

    versions = registry.list_models()
    if as_json:
        print_json(finite(versions))
    elif versions:
        _show_versions(versions)
    else:
        typer.echo("There are no models yet: train one, then `linegroup models register FOLDER`.")


def show(
    reference: Annotated[str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS, a run id or a folder.")],
    as_json: JsonFlag = False,
) -> None:
    r"""One model: version, size, settings, scores.

    Examples:
      linegroup models show models:/linegroup@champion
      linegroup models show run/artifact --json
    """
    from linegroup.training import registry

    record = registry.show_model(reference)
    if as_json:
        print_json(finite(record))
        return
    for key, value in record.items():
        if isinstance(value, Mapping):
            typer.echo(f"{key}:")
            for name, entry in value.items():
                typer.echo(f"  {name}: {entry}")
        else:
            typer.echo(f"{key}: {value}")


def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT.pt", help="Checkpoint {epoch, model, opt, best_val}.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Artifact folder to make.")],
    as_json: JsonFlag = False,
) -> None:
    r"""Turn a checkpoint of the reference training script into an artifact. Nothing in it is executed.

    Example:
      linegroup models import best.pt --out models/reference
    """
    from linegroup.training.importing import import_reference

    artifact = import_reference(checkpoint, out)
    if as_json:
        print_json({"artifact": str(out), "version": artifact.version})
    else:
        typer.echo(f"Model:  {out} (version {artifact.version})")


def _show_versions(versions: list[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("model", "version", "aliases", "artifact", "created", "ARI"):
        table.add_column(heading, overflow="fold")
    for entry in versions:
        ari = entry["metrics"].get("best_val_ari")
        cells = [entry[key] or "" for key in ("name", "version", "artifact_version", "created")]
        cells.insert(2, ", ".join(entry["aliases"]))
        table.add_row(*(plain(str(cell)) for cell in cells), "" if ari is None else f"{ari:.3f}")
    output().print(table)


COMMANDS: dict[str, Callable[..., None]] = {
    "register": register_model,
    "compare": compare,
    "promote": promote,
    "rollback": rollback,
    "history": history,
    "list": list_models,
    "show": show,
    "import": import_checkpoint,
}

models = typer.Typer(rich_markup_mode="rich")
models.callback(invoke_without_command=True, help=help_of(start))(start)
for word, function in COMMANDS.items():
    models.command(word, help=help_of(function))(function)
