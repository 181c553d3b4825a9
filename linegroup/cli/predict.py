"""`linegroup predict`."""

from __future__ import annotations

import collections
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from linegroup.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|DIR…", help="Picture files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made when missing.")],
    model: Annotated[
        str | None, typer.Option(help="Artifact folder, models:/name@alias, or a run id; default: the packaged model.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Grouping setting, for example eps=0.4.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
    skip_existing: Annotated[bool, typer.Option(help="Leave out pictures whose .json is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Find the lines of pictures.

    Writes for each picture `<stem>.labels.png` (16 bit, 0 = none, 1..K), `<stem>.json` (`linegroup.lines/1`:
    colour, polyline, box of every line) and `<stem>.overlay.png`. Pictures that cannot be used are named and
    the others done (exit code 1).

    Example: `linegroup predict charts/ --out lines`
    """
    paths = find_pictures(images)
    stems = choose_stems(paths)
    from rich.progress import track

    from linegroup.cli.shared import console, grouping_overrides, without_model
    from linegroup.predict import Predictor, write_prediction

    predictor = Predictor.load(model, device=device, overrides=grouping_overrides(settings or []))
    if predictor.model is None:
        log.warning(without_model(predictor))
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    bar = track(paths, "Pictures", console=console(), transient=True, disable=not console().is_terminal)
    for path in bar:
        if skip_existing and (out / f"{stems[path]}.json").exists():
            continue
        try:
            prediction = predictor.predict_file(path)
        except UserError as error:
            failed.append({"image": str(path), "error": str(error)})
            log.warning("Left out: %s", error)
            continue
        write_prediction(prediction, out, stems[path], path.name)
        done.append({"image": str(path), "stem": stems[path], "lines": prediction.groups.count})
    if as_json:
        typer.echo(json.dumps({"out": str(out), "done": done, "failed": failed}))
    else:
        lines = sum(entry["lines"] for entry in done)
        typer.echo(f"{out}: {len(done)} pictures with {lines} lines" + (f"; {len(failed)} left out" if failed else ""))
    return 0 if not failed else (1 if done else 2)


def find_pictures(inputs: Sequence[Path]) -> list[Path]:
    """The files among the inputs, and the pictures directly in the folders among them, sorted.

    Raises:
        UserError: an input does not exist, or there is no picture at all.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"There is no file or folder {path}.")
    if not found:
        raise UserError(f"There is no picture in {', '.join(map(str, inputs))} ({', '.join(sorted(SUFFIXES))}).")
    return list(dict.fromkeys(found))


def choose_stems(paths: Sequence[Path]) -> dict[Path, str]:
    """Names of the results: the file's stem; its whole name where two files of one run share a stem.

    Raises:
        UserError: two files have the same name, so that one would overwrite the other.
    """
    stems = collections.Counter(path.stem for path in paths)
    chosen = {path: path.stem if stems[path.stem] == 1 else path.name for path in paths}
    twice = [name for name, count in collections.Counter(chosen.values()).items() if count > 1]
    if twice:
        raise UserError(f"Two pictures are called {twice[0]}: give them one by one, each with its own --out.")
    return chosen
