"""What all commands share: how errors end, where text goes, options of the same meaning."""

from __future__ import annotations

import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from linegroup.errors import UserError
from linegroup.interrupts import INTERRUPTED

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Artifact folder, models:/NAME@ALIAS, models:/NAME/VERSION, a run id, `pretrained` (the packaged model) or"
        " `none` (the grouper link: colour and shape, nothing learned). Default: pretrained where there is one.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, …")]

SHOWN_FAILURES = 20
LINE_EVERY = 10.0
_log = logging.getLogger(__name__)
_USERS_MISTAKES = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)


class Commands(TyperGroup):
    """A command line whose errors are one line on standard error and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit: 0 done, 1 something failed, 2 the caller's mistake, 130 interrupted."""
        call = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return call()
        return sys.exit(_exit_code(call))


def help_of(command: Callable[..., Any]) -> str:
    """The command's docstring as help: prose is wrapped, indented examples stay as they are."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{part}" if "\n  " in part else part.replace("\n", " ") for part in paragraphs)


def _exit_code(call: Callable[[], Any]) -> int:
    try:
        code = call()
    except typer.TyperException as error:
        return _fail(f"{_asked(error.format_message().rstrip('.') + '.')} See {_command_of(error)} --help.", 2)
    except UserError as error:
        return _fail(_asked(str(error)), 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}.", 2 if isinstance(error, _USERS_MISTAKES) else 1)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    # Commands return nothing; an integer is the code of `typer.Exit`, which typer also makes of an interrupt.
    return _fail("Interrupted.", code) if code == INTERRUPTED else code if isinstance(code, int) else 0


def _asked(message: str) -> str:
    """Without a full stop behind the question mark of a suggestion."""
    return message.removesuffix(".") if message.endswith("?.") else message


def _command_of(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context else "linegroup"


def _fail(message: str, code: int) -> int:
    note(f"linegroup: {message}")
    return code


def note(message: str) -> None:
    """One line on standard error, whatever is in the message."""
    typer.echo(plain(message), err=True)


def counted(number: int, thing: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def tell_failures(failed: Sequence[dict[str, str]], thing: str, causes: Mapping[str, str] | None = None) -> None:
    """What could not be done and why, on standard error: how many first, so that the last line is a reason.

    Args:
        failed: `input` and `error` of each.
        thing: What one of them is, `picture`.
        causes: By input, what others may have in common with it: told once, with how many they are.
    """
    if not failed:
        return
    alike: dict[str, list[str]] = {}
    for entry in failed:
        if causes and causes.get(entry["input"]):
            alike.setdefault(causes[entry["input"]], []).append(entry["input"])
    alike = {cause: inputs for cause, inputs in alike.items() if len(inputs) > 1}
    together = {name for inputs in alike.values() for name in inputs}
    if together:
        note(f"{counted(len(failed), thing)} could not be used:")
        for cause, inputs in alike.items():
            note(f"Left out: {counted(len(inputs), thing)}, such as {inputs[0]}: {cause}")
        tell_failures([entry for entry in failed if entry["input"] not in together], f"other {thing}")
        return
    more = f"; the first {SHOWN_FAILURES} of them (--json lists all)" if len(failed) > SHOWN_FAILURES else ""
    note(f"{counted(len(failed), thing)} could not be used{more}:")
    for entry in failed[:SHOWN_FAILURES]:
        named = entry["input"] in entry["error"]
        note(f"Left out: {'' if named else entry['input'] + ': '}{entry['error']}")


def plain(text: str) -> str:
    """Text on one line, without what a terminal would take for commands: names of files may hold anything."""
    one_line = " ".join(text.split())
    visible = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in one_line)
    return visible.encode("utf-8", "replace").decode()


def print_json(tree: object) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False))


def output() -> Console:
    """Where results for people go."""
    return Console(highlight=False)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, told how many of how many are done; where that is no terminal, now and then a line."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Lines:
    """Progress for a log: a line where the last one is `LINE_EVERY` seconds ago and something is left to do."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if 0 < done < total and now - self._told >= LINE_EVERY:
            self._told = now
            _log.info("%s: %d of %d", self._title, done, total)


def log_to_stderr(quiet: bool) -> None:
    """The library's notes on standard error; with `quiet` only its warnings."""
    logger = logging.getLogger("linegroup")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if not any(isinstance(handler, _StandardError) for handler in logger.handlers):
        logger.addHandler(_StandardError())


class _StandardError(logging.StreamHandler[IO[str]]):
    """Writes to what is standard error at that moment."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
