"""`linegroup predict` on very many pictures: how many processes, and rows in place of files."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from linegroup.cli.common import SHOWN_FAILURES, counted, note, plain, print_json
from linegroup.errors import UserError
from linegroup.interrupts import interrupts_held

if TYPE_CHECKING:
    from linegroup.distributed.batch import Predictions, PredictJob, Watch

FROM = 32
"""Pictures from which several processes are worth their start."""


def choose_workers(workers: int | None, pictures: int) -> int:
    """Processes for that many pictures: 0 is this one, which is the choice for few pictures or on one core."""
    if workers is not None:
        return min(workers, pictures)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if cores > 1 and pictures >= FROM else 0


def write_shards(settings: dict[str, Any], workers: int | None, as_json: bool) -> int:
    """Rows of all pictures in files of many rows; the exit code.

    Raises:
        UserError: see `predict_batch`.
    """
    with interrupts_held():
        from linegroup.distributed.batch import PredictJob, predict_batch, progress_bar

    job = PredictJob(**settings)
    with progress_bar() as bar:
        done = _in_this_process(job, bar) if workers == 0 else predict_batch(job, bar, num_cpus=workers)
    if as_json:
        print_json({"out": plain(str(job.out)), **done.summary()})
    else:
        state = "" if done.made else " (finished before; nothing to do)"
        count = done.pictures - done.failed
        found = f"{counted(count, 'picture')} with {counted(done.lines, 'line')}"
        typer.echo(f"{found} in {plain(str(job.out))}{state}")
        _show_failures(job.out / "failed.jsonl", done.failed)
    return 1 if done.failed else 0


def _in_this_process(job: PredictJob, bar: Watch) -> Predictions:
    from linegroup.distributed.batch import predict_batch_serial

    with interrupts_held():
        return predict_batch_serial(job, bar)


def refuse_with_shards(**given: Any) -> None:
    """Options that belong to files per picture.

    Raises:
        UserError: one of them was given.
    """
    wrong = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if wrong:
        raise UserError(
            f"{', '.join(wrong)} cannot be had with --shards, which makes rows, not files for each picture. Use"
            " `linegroup convert` on the documents."
        )


def _show_failures(path: Path, failed: int) -> None:
    if not failed:
        return
    note(f"{counted(failed, 'picture')} could not be used; {plain(str(path))} names each:")
    with path.open(encoding="utf-8") as lines:
        for line in itertools.islice(lines, SHOWN_FAILURES):
            note(f"Left out: {json.loads(line)['error']}")
