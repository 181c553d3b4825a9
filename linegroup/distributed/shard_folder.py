"""The output folder of a sharding job: whether it may be written, what is left over in it, how it is finished."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from linegroup import __version__
from linegroup.distributed.shard_job import PARTIAL, Folder, FolderJob, PartResult, Plan, copy_rejects
from linegroup.errors import UserError
from linegroup.files import write_atomic
from linegroup.shards import MANIFEST, REJECTS, Manifest, ShardFile, Source, SplitCounts, load_manifest, save_manifest

logger = logging.getLogger(__name__)

_SHOWN_REJECTS = 3


def check_output(job: FolderJob) -> None:
    """Refuse a job whose output folder holds something else.

    Raises:
        UserError: says which, and what to do.
    """
    if not job.out.exists():
        return
    if not job.out.is_dir():
        raise UserError(f"{job.out} is a file. Choose a folder for the shards.")
    known = (job.out / MANIFEST).exists() or (job.out / PARTIAL).exists()
    if not known and any(job.out.iterdir()):
        raise UserError(f"{job.out} holds other files. Choose a new or empty folder for the shards.")


def find_finished(job: FolderJob, digest: str) -> Manifest | None:
    """The manifest of a folder that holds all that the job would make; None where there is work to do.

    Raises:
        UserError: the folder is finished, but of other input or settings, or with shards missing, and the
            job does not say `overwrite`; or it has rejects and the job is strict.
    """
    if job.overwrite or not (job.out / MANIFEST).exists():
        return None
    manifest = load_manifest(job.out)
    if manifest.key != job.key(digest):
        raise UserError(
            f"{job.out} holds finished shards of other input or settings ({manifest.source.annotations}). "
            "Choose another folder, or say --overwrite to replace them."
        )
    missing = [file.path for file in manifest.files if not _has_size(job.out / file.path, file.bytes)]
    if missing:
        raise UserError(
            f"{job.out} has lost {len(missing)} of its shards, {missing[0]} first. Say --overwrite to make them again."
        )
    _check_strict(job, manifest.rejects)
    logger.info("Nothing to do: %s holds these shards already.", job.out)
    shutil.rmtree(job.out / PARTIAL, ignore_errors=True)
    return manifest


@contextlib.contextmanager
def only_job(out: Path) -> Iterator[None]:
    """Keep a second job away from the folder.

    Raises:
        UserError: another process is writing into it.
    """
    lock = out / PARTIAL / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another job is writing into {out}. Wait for it, or choose another folder.") from None
        except OSError as error:
            logger.warning("%s cannot be locked (%s): let no second job write into it.", out, error.strerror)
        yield


def drop_old_work(job: FolderJob, folder: Folder) -> None:
    """Remove unfinished work of other input; where finished shards are to be replaced, any."""
    replaced = (job.out / MANIFEST).exists()
    for work in (job.out / PARTIAL).iterdir():
        if work.is_dir() and (replaced or work != folder.root):
            logger.info("Dropping unfinished work of other input or settings.")
            shutil.rmtree(work)


def open_for_writing(job: FolderJob) -> None:
    """From here on the folder is unfinished: its manifest goes, and with it what is to be replaced.

    Called when the new input has been read and found good: a damaged file must not cost the finished shards.
    """
    (job.out / MANIFEST).unlink(missing_ok=True)


def finish(job: FolderJob, folder: Folder, plan: Plan, results: Sequence[PartResult]) -> Manifest:
    """Write the rejects, remove left-overs, and write the manifest, last.

    Raises:
        UserError: rejects in a strict job, or no sample at all.
        OSError: the disk is full; the job can be run again.
    """
    parts = plan.all_parts()
    write_atomic(job.out / REJECTS, lambda stream: copy_rejects(folder, parts, stream))
    rejects = plan.rejects + sum(result.rejects for result in results)
    manifest = _manifest(job, plan, results, rejects)
    _check_strict(job, rejects)
    if manifest.samples == 0:
        raise UserError(f"{job.input_name} holds no usable picture.{_first_rejects(job, rejects)}")
    for split, counts in manifest.splits.items():
        if counts.samples == 0:
            logger.warning("The split %s is empty: there are few groups; try another seed or a larger share.", split)
    _remove_left_overs(job.out, {file.path for file in manifest.files})
    save_manifest(manifest, job.out)
    shutil.rmtree(job.out / PARTIAL, ignore_errors=True)
    return manifest


def _manifest(job: FolderJob, plan: Plan, results: Sequence[PartResult], rejects: int) -> Manifest:
    order = {split: place for place, split in enumerate(job.splits)}
    files = sorted(itertools.chain.from_iterable(result.files for result in results), key=lambda f: order[f.split])
    return Manifest(
        written_by=f"linegroup {__version__}",
        key=job.key(plan.digest),
        samples=sum(file.rows for file in files),
        lines=sum(file.lines for file in files),
        rejects=rejects,
        splits={split: _counts(files, split) for split in job.splits},
        categories=plan.categories,
        source=Source(annotations=job.input_name, sha256=plan.digest, images=plan.images),
        settings=job.settings(),
        files=tuple(files),
        made=sum(not result.reused for result in results),
    )


def _counts(files: Sequence[ShardFile], split: str) -> SplitCounts:
    members = [file for file in files if file.split == split]
    return SplitCounts(
        samples=sum(file.rows for file in members), lines=sum(file.lines for file in members), files=len(members)
    )


def _check_strict(job: FolderJob, rejects: int) -> None:
    if job.strict and rejects:
        raise UserError(f"{rejects} records were rejected, and the job is strict.{_first_rejects(job, rejects)}")


def _first_rejects(job: FolderJob, rejects: int) -> str:
    if not rejects:
        return ""
    with (job.out / REJECTS).open(encoding="utf-8") as stream:
        first = [line.strip() for line in itertools.islice(stream, _SHOWN_REJECTS)]
    return f" The first: {'; '.join(first)}. All are in {job.out / REJECTS}."


def _remove_left_overs(out: Path, wanted: set[str]) -> None:
    """Shards of an earlier unfinished job, and temporary files of a killed one."""
    for pattern in (".*.tmp", "*/.*.tmp", "*/shard-*.parquet"):
        for path in out.glob(pattern):
            if path.relative_to(out).as_posix() not in wanted:
                path.unlink()
    for folder in out.iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
