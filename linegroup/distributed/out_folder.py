"""The output folder of a job that is made part by part: whether it may be written, and what is left over in it."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from linegroup.distributed.parts import PARTIAL, Folder, PartedJob
from linegroup.errors import UserError
from linegroup.files import remove_folder, remove_temporaries
from linegroup.locking import locked
from linegroup.shards import MANIFEST, REJECTS

logger = logging.getLogger(__name__)

FAILED = "failed.jsonl"

REPORTS = frozenset({REJECTS, FAILED})
"""What stays of a job that could use none of its input: the message says that the reasons are in there."""

_LOCK = "lock"


def check_output(job: PartedJob) -> None:
    """Refuse a job whose output folder holds something else.

    Raises:
        UserError: says which, and what to do.
    """
    if not job.out.exists():
        return
    if not job.out.is_dir():
        raise UserError(f"{job.out} is a file. Choose a folder.")
    known = (job.out / MANIFEST).exists() or (job.out / PARTIAL).exists()
    if not known and any(path.name not in REPORTS for path in job.out.iterdir()):
        raise UserError(f"{job.out} holds other files. Choose a new or empty folder.")
    name = job.schema_name.partition("/")[0]
    found = _schema_of(job.out / MANIFEST)
    if found is not None and found.partition("/")[0] != name:
        raise UserError(f"{job.out} holds something else ({found}). Choose another folder.")


@contextlib.contextmanager
def only_job(out: Path) -> Iterator[None]:
    """Keep a second job away from the folder; where the job fails before it has done anything, leave nothing.

    Raises:
        UserError: another process is writing into it.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    with locked(out, out / PARTIAL / _LOCK):
        try:
            yield
        except UserError:
            _leave_nothing_undone(out, made)
            raise


def _leave_nothing_undone(out: Path, made: list[Path]) -> None:
    """Remove what no later run could go on with: work without a plan, then folders with nothing in them.

    Args:
        out: The output folder.
        made: It and those above it that were not there before, the innermost first.
    """
    partial = out / PARTIAL
    for work in list(partial.iterdir()):
        if work.is_dir() and not Folder(out, work.name).plan.exists():
            remove_folder(work)
    # Beside other files it stays: by it the next run knows that they are its own.
    alone = all(path.name in {PARTIAL, *REPORTS} for path in out.iterdir())
    if alone and all(path.name == _LOCK for path in partial.iterdir()):
        shutil.rmtree(partial)
    with contextlib.suppress(OSError):
        for folder in made:
            folder.rmdir()


def drop_old_work(job: PartedJob, folder: Folder) -> None:
    """Remove unfinished work of other input; where finished output is to be replaced, any."""
    replaced = (job.out / MANIFEST).exists()
    for work in list((job.out / PARTIAL).iterdir()):
        if work.is_dir() and (replaced or work != folder.root):
            logger.info("Dropping unfinished work of other input or settings.")
            remove_folder(work)


def open_for_writing(job: PartedJob) -> None:
    """From here on the folder is unfinished: its manifest goes, and with it what is to be replaced.

    Called when the new input has been read and found good: a damaged file must not cost the finished output.
    """
    (job.out / MANIFEST).unlink(missing_ok=True)


def remove_left_overs(out: Path, wanted: set[str], pattern: str) -> None:
    """Remove files by `pattern` of an earlier unfinished job, and temporary files of a killed one."""
    for folder in (out, *(path for path in out.iterdir() if path.is_dir())):
        remove_temporaries(folder, "*")
    for path in out.glob(pattern):
        if path.relative_to(out).as_posix() not in wanted:
            path.unlink()
    for folder in out.iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def has_size(path: Path, size: int) -> bool:
    """Whether there is a file of that many bytes."""
    return path.is_file() and path.stat().st_size == size


def _schema_of(manifest: Path) -> str | None:
    """The schema that a manifest names; None where there is none, or it is damaged."""
    try:
        tree = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return None
    return str(tree.get("schema")) if isinstance(tree, dict) else None
