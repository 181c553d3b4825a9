"""The command line: one command per stage. Heavy libraries load inside the commands, so that help is quick."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import click
import typer
from rich.console import Console

from linegroup.cli import evaluate, models, predict, shard, train
from linegroup.errors import UserError

app = typer.Typer(
    name="linegroup",
    help="Pictures of lines go in; every line comes out as its own object.",
    epilog="Start with: linegroup predict chart.png --out lines",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
shard.register(app)
train.register(app)
evaluate.register(app)
predict.register(app)
models.register(app)


@app.command()
def version() -> None:
    """Print the version."""
    from linegroup import __version__

    typer.echo(__version__)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0: done; 1: done in part (bad files among good ones) or refused records in strict mode; 2: the
        user's mistake, with one line on standard error that says what to do; 130: interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    for chatty in ("alembic", "mlflow", "py4j", "numba", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        answer = app(list(arguments) if arguments is not None else None, standalone_mode=False)
        return answer if isinstance(answer, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("Interrupted.")
        return 130
    except UserError as error:
        _complain(str(error))
        return 2
    except OSError as error:
        # The system's own refusals: missing, forbidden, full. They name the file.
        _complain(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
        return 2


def main() -> None:
    """Entry point of the `linegroup` command."""
    sys.exit(run())


def _complain(message: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]Error:[/] {_escape(message)}")


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
