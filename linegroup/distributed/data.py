"""A sharding job: COCO annotations and pictures, or generated charts → Parquet shards, by Ray Data or in one process.

Both ways write the same bytes. A job that was killed is run again by the same call and does only what
is missing; the manifest comes last, so that a folder with a manifest is whole.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import ray
import ray.data
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from linegroup.distributed import out_folder, shard_folder
from linegroup.distributed.coco_job import ShardJob
from linegroup.distributed.parts import Folder, Part, Plan, checked_plan, explain_os_error, try_plan
from linegroup.distributed.session import start_ray
from linegroup.distributed.shard_job import FolderJob, PartResult, do_part
from linegroup.errors import UserError
from linegroup.shards import Manifest

__all__ = ["ShardJob", "ShardProgress", "make_shards", "make_shards_serial", "progress_bar"]

logger = logging.getLogger(__name__)

_TASKS_PER_CPU = 16
_LEAST_TASKS = 32


@dataclass(frozen=True)
class ShardProgress:
    """How far a job is; `parts` is 0 while the input is being cut into parts."""

    done: int = 0
    parts: int = 0
    samples: int = 0
    rejects: int = 0


Watch = Callable[[ShardProgress], None]


@dataclass(frozen=True)
class _Engine:
    """Where the work happens: cutting the input, and one call per part, whose answers come as they finish."""

    plan: Callable[[FolderJob, Folder], tuple[Plan | None, str]]
    each: Callable[[Callable[[Part], PartResult], Sequence[Part]], Iterator[PartResult]]


def make_shards(
    job: FolderJob, progress: Watch | None = None, *, address: str | None = None, num_cpus: int | None = None
) -> Manifest:
    """Run the job with Ray Data. All machines must see the input and the output folder.

    The calling process cuts nothing and reads no picture: its memory does not grow with the data.

    Args:
        job: What to do.
        progress: Called with the state of the job after each part, and before the first.
        address: Ray cluster to join; None: `RAY_ADDRESS`, else a private Ray for the length of the call.
        num_cpus: CPUs of a private Ray; None: all of this machine.

    Returns:
        The manifest; its `made` is 0 where a finished folder of the same input was found.

    Raises:
        UserError: input missing or unusable, output used by other input, disk full, or rejects in strict mode.
    """
    return _run(job, progress, functools.partial(_ray_engine, address, num_cpus))


def make_shards_serial(job: FolderJob, progress: Watch | None = None) -> Manifest:
    """The same job in this process, without Ray; the same bytes (see `make_shards`)."""
    return _run(job, progress, _serial_engine)


@contextlib.contextmanager
def progress_bar() -> Iterator[Watch]:
    """A bar on standard error for `make_shards(progress=…)`; where that is no terminal, about ten lines in the log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log_progress
        return
    counts = TextColumn("{task.fields[counts]}")
    columns = (TextColumn("{task.description}"), BarColumn(), counts, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Reading annotations", total=None, counts="")

        def show(state: ShardProgress) -> None:
            if state.parts:
                bar.update(task, description="Shards", total=state.parts, completed=state.done, counts=_counts(state))

        yield show


def _log_progress(state: ShardProgress) -> None:
    if state.parts and 10 * state.done // state.parts > 10 * (state.done - 1) // state.parts:
        logger.info("Shards: %s", _counts(state))


def _counts(state: ShardProgress) -> str:
    return f"{state.done}/{state.parts} parts, {state.samples} charts, {state.rejects} rejects"


def _run(job: FolderJob, progress: Watch | None, start: Callable[[], AbstractContextManager[_Engine]]) -> Manifest:
    job = job.absolute()
    watch = progress or (lambda _state: None)
    try:
        job.check_input()
        out_folder.check_output(job)
        digest = job.input_digest()
        finished = shard_folder.find_finished(job, digest)
        if finished is not None:
            return finished
        folder = Folder(job.out, job.key(digest))
        with out_folder.only_job(job.out), start() as engine:
            out_folder.drop_old_work(job, folder)
            watch(ShardProgress())
            plan = checked_plan(job, digest, *engine.plan(job, folder))
            out_folder.open_for_writing(job)
            results = _all_parts(engine, job, folder, plan, watch)
            return shard_folder.finish(job, folder, plan, results)
    except OSError as error:
        if error.errno is None:
            raise
        raise UserError(explain_os_error(error, job.out)) from error


def _all_parts(engine: _Engine, job: FolderJob, folder: Folder, plan: Plan, watch: Watch) -> list[PartResult]:
    results: list[PartResult] = []
    samples, rejects = 0, plan.rejects
    for result in engine.each(functools.partial(do_part, job, folder, plan.categories), plan.all_parts()):
        if result.error is not None:
            raise UserError(result.error)
        results.append(result)
        samples += sum(file.rows for file in result.files)
        rejects += result.rejects
        watch(ShardProgress(len(results), len(plan.parts), samples, rejects))
    # They come as they finish; the manifest has them in the order of the ids.
    return sorted(results, key=lambda result: result.number)


@contextlib.contextmanager
def _serial_engine() -> Iterator[_Engine]:
    yield _Engine(plan=try_plan, each=map)


@contextlib.contextmanager
def _ray_engine(address: str | None, num_cpus: int | None) -> Iterator[_Engine]:
    with start_ray(address, num_cpus):
        yield _Engine(plan=_ray_plan, each=each_part)


def _ray_plan(job: FolderJob, folder: Folder) -> tuple[Plan | None, str]:
    result: tuple[Plan | None, str] = ray.get(ray.remote(num_cpus=1)(try_plan).remote(job, folder))
    return result


def each_part(work: Callable[[Part], PartResult], parts: Sequence[Part]) -> Iterator[PartResult]:
    """One call of `work` for each part, by Ray Data; Ray must be there. The answers come as they finish."""
    rows = [asdict(part) for part in parts]
    if not rows:
        return
    # Ray Data keeps some 60 kB per task in the caller: enough tasks to keep all CPUs busy to the end, not one per part.
    cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    tasks = min(len(rows), max(_LEAST_TASKS, _TASKS_PER_CPU * cpus))
    source = ray.data.from_items(rows, override_num_blocks=tasks)
    # The reservation shares object memory out for blocks of many megabytes, and so leaves half of the CPUs idle.
    source.context.op_resource_reservation_enabled = False
    # An answer is a few hundred bytes of text: hand each on at once, for the bar.
    source.context.target_max_block_size = 1
    for row in source.map(functools.partial(_ray_part, work), num_cpus=1).iter_rows():
        yield PartResult.model_validate_json(row["result"])


def _ray_part(work: Callable[[Part], PartResult], row: dict[str, Any]) -> dict[str, str]:
    return {"result": work(Part(**row)).model_dump_json()}
