"""Lines of very many pictures: a job that any number of machines share, killed and gone on with at will.

Processes that hold the network embed pictures, on GPUs where there are any; tasks on CPUs group and trace what was
embedded. Only candidate pixels travel between the two, and rows come back to the caller, who writes each part when it
is whole. The manifest comes last, so that a folder with a manifest is whole.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from linegroup.distributed import out_folder
from linegroup.distributed.batch_job import PredictJob, load_predict_job
from linegroup.distributed.batch_output import PartFile, Predictions, done_before, find_finished, finish, write_part
from linegroup.distributed.batch_stages import ray_plan, ray_rows
from linegroup.distributed.batch_work import Piece, Row, embed_piece, group_parcel
from linegroup.distributed.parts import Folder, Part, Plan, checked_plan, explain_os_error, try_plan
from linegroup.distributed.session import start_ray
from linegroup.errors import UserError
from linegroup.interrupts import safe_point
from linegroup.predict import Predictor
from linegroup.training.runtime import choose_device

__all__ = [
    "BatchProgress",
    "PredictJob",
    "Predictions",
    "load_predict_job",
    "predict_batch",
    "predict_batch_serial",
    "progress_bar",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchProgress:
    """How far a job is; `pictures` is 0 while the input is being listed."""

    done: int = 0
    pictures: int = 0
    lines: int = 0
    failed: int = 0


Watch = Callable[[BatchProgress], None]


@dataclass(frozen=True)
class _Engine:
    """Where the work happens: cutting the input, and the rows of pictures, which come as they are done."""

    plan: Callable[[PredictJob, Folder], tuple[Plan | None, str]]
    rows: Callable[[PredictJob, Predictor, Sequence[Piece]], Iterator[Row]]


def predict_batch(
    job: PredictJob, progress: Watch | None = None, *, address: str | None = None, num_cpus: int | None = None
) -> Predictions:
    """Run the job with Ray Data. All machines must reach the pictures; the output folder is written by this process.

    Args:
        job: What to do.
        progress: Called with the state of the job after each picture, and before the first.
        address: Ray cluster to join; None: `RAY_ADDRESS`, else a private Ray for the length of the call.
        num_cpus: CPUs of a private Ray; None: all of this machine.

    Returns:
        The manifest; its `made` is 0 where a finished folder of the same input, model and settings was found.

    Raises:
        UserError: input missing or unusable, output used by something else, disk full, no picture could be used, or
            some could not in strict mode.
    """
    return _run(job, progress, functools.partial(_ray_engine, address, num_cpus))


def predict_batch_serial(job: PredictJob, progress: Watch | None = None) -> Predictions:
    """The same job in this process, without Ray (see `predict_batch`)."""
    return _run(job, progress, _serial_engine)


@contextlib.contextmanager
def progress_bar() -> Iterator[Watch]:
    """A bar on standard error for `progress`; where that is no terminal, about ten lines in the log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[counts]}"), console=console, transient=True) as bar:
        task = bar.add_task("Listing pictures", total=None, counts="")

        def show(state: BatchProgress) -> None:
            if state.pictures:
                bar.update(
                    task, description="Pictures", total=state.pictures, completed=state.done, counts=_counts(state)
                )

        yield show


def _log_progress(state: BatchProgress) -> None:
    if state.done and 10 * state.done // state.pictures > 10 * (state.done - 1) // state.pictures:
        logger.info("%d/%d pictures, %s", state.done, state.pictures, _counts(state))


def _counts(state: BatchProgress) -> str:
    return f"{state.lines} lines, {state.failed} failed"


def _run(job: PredictJob, progress: Watch | None, start: Callable[[], AbstractContextManager[_Engine]]) -> Predictions:
    job = job.absolute()
    watch = progress or (lambda _state: None)
    try:
        out_folder.check_output(job)
        # Read once, here: every process gets this very model, whatever happens to the registry meanwhile.
        predictor = Predictor.load(job.model, "cpu", job.overrides)
        job = job.bound(predictor)
        digest = job.input_digest()
        finished = find_finished(job, digest)
        if finished is not None:
            return finished
        folder = Folder(job.out, job.key(digest))
        with out_folder.only_job(job.out), start() as engine:
            out_folder.drop_old_work(job, folder)
            watch(BatchProgress())
            plan = checked_plan(job, digest, *engine.plan(job, folder))
            out_folder.open_for_writing(job)
            return _all_parts(engine, job, folder, plan, predictor, watch)
    except OSError as error:
        if error.errno is None:
            raise
        raise UserError(explain_os_error(error, job.out)) from error


def _all_parts(
    engine: _Engine, job: PredictJob, folder: Folder, plan: Plan, predictor: Predictor, watch: Watch
) -> Predictions:
    parts = plan.all_parts()
    files = {part.number: file for part in parts if (file := done_before(job, folder, part)) is not None}
    missing = [part for part in parts if part.number not in files]
    state = _state_of(files.values(), plan)
    watch(state)
    waiting: dict[int, list[Row]] = {}
    for row in engine.rows(job, predictor, [_piece(folder, part) for part in missing]):
        if row.stop:
            raise UserError(row.stop)
        part, rows = parts[row.part], waiting.setdefault(row.part, [])
        rows.append(row)
        if len(rows) == part.last - part.first + 1:
            rows = sorted(waiting.pop(row.part), key=lambda row: row.id)
            files[row.part] = write_part(job, folder, part, rows, predictor.record)
        failed = state.failed + bool(row.error)
        state = replace(state, done=state.done + 1, lines=state.lines + row.lines, failed=failed)
        watch(state)
    if len(files) < len(parts):
        raise UserError(f"{job.input_name} has changed: some of its pictures are gone. Run the command again.")
    return finish(job, folder, plan, [files[part.number] for part in parts], len(missing))


def _state_of(files: Collection[PartFile], plan: Plan) -> BatchProgress:
    return BatchProgress(
        done=sum(file.rows for file in files),
        pictures=plan.images,
        lines=sum(file.lines for file in files),
        failed=sum(file.failed for file in files),
    )


def _piece(folder: Folder, part: Part) -> Piece:
    return Piece(part.number, str(folder.spill / part.file), part.first, 0, part.last - part.first + 1)


@contextlib.contextmanager
def _serial_engine() -> Iterator[_Engine]:
    yield _Engine(plan=try_plan, rows=_serial_rows)


def _serial_rows(job: PredictJob, predictor: Predictor, pieces: Sequence[Piece]) -> Iterator[Row]:
    predictor = predictor.on(choose_device(job.device))
    for piece in pieces:
        for row, parcel in embed_piece(predictor, piece):
            safe_point()
            grouped = group_parcel(row, parcel)
            safe_point()
            yield grouped


@contextlib.contextmanager
def _ray_engine(address: str | None, num_cpus: int | None) -> Iterator[_Engine]:
    with start_ray(address, num_cpus):
        yield _Engine(plan=ray_plan, rows=ray_rows)
