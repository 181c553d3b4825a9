"""`linegroup …`: one command per stage. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

from typing import Annotated

import typer

from linegroup import __version__
from linegroup.cli.common import Commands, help_of, log_to_stderr
from linegroup.cli.convert import convert
from linegroup.cli.evaluate import evaluate
from linegroup.cli.models import models
from linegroup.cli.predict import predict
from linegroup.cli.serve import serve
from linegroup.cli.shard import shard
from linegroup.cli.synth import synth
from linegroup.cli.train import train
from linegroup.cli.tune import tune

app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


def start(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing of progress, only what goes wrong.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    r"""Pictures of lines go in; every line comes out as its own object: label image, JSON, overlay.

    The lines of a picture, with the packaged model:
      linegroup predict chart.png --out lines

    A look at generated charts, which training may use without end:
      linegroup synth preview

    The whole way, on the charts of this repository:
      linegroup shard --annotations examples/real_charts/annotations.json \
                      --images examples/real_charts --out shards
      linegroup train data.train=shards training.out=run training.epochs=20
      linegroup evaluate --model run/artifact --data shards
      linegroup predict chart.png more_charts/ --out lines --model run/artifact --format csv,svg

    Exit codes: 0 done; 1 a part failed (it is named); 2 the command or its input must be mended, one line says how;
    130 interrupted.
    """
    log_to_stderr(quiet)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


for command in (predict, shard, train, evaluate, serve, convert, version):
    app.command(help=help_of(command))(command)
app.add_typer(synth, name="synth")
app.add_typer(tune, name="tune")
app.add_typer(models, name="models")
app.callback(invoke_without_command=True, help=help_of(start))(start)


def main() -> None:
    """Entry point of the `linegroup` command."""
    app(prog_name="linegroup")
