"""The folder of a sharding job: whether it is finished already, and how it is finished."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from collections.abc import Sequence

from linegroup import __version__
from linegroup.distributed.out_folder import has_size, remove_left_overs
from linegroup.distributed.parts import PARTIAL, Folder, Plan
from linegroup.distributed.shard_job import FolderJob, PartResult, copy_rejects
from linegroup.errors import UserError
from linegroup.files import remove_folder, write_atomic
from linegroup.shards import MANIFEST, REJECTS, Manifest, ShardFile, Source, SplitCounts, load_manifest, save_manifest

logger = logging.getLogger(__name__)

_SHOWN_REJECTS = 3


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
    missing = [file.path for file in manifest.files if not has_size(job.out / file.path, file.bytes)]
    if missing:
        raise UserError(
            f"{job.out} has lost {len(missing)} of its shards, {missing[0]} first. Say --overwrite to make them again."
        )
    _check_strict(job, manifest.rejects)
    logger.info("Nothing to do: %s holds these shards already.", job.out)
    shutil.rmtree(job.out / PARTIAL, ignore_errors=True)
    return manifest


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
        # Most likely all for one reason, which can be mended: the next run begins anew.
        remove_folder(folder.root)
        raise UserError(f"{job.input_name} holds no usable picture.{_first_rejects(job, rejects)}")
    for split, counts in manifest.splits.items():
        if counts.samples == 0:
            logger.warning("The split %s is empty: there are few groups; try another seed or a larger share.", split)
    remove_left_overs(job.out, {file.path for file in manifest.files}, "*/shard-*.parquet")
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
        first = [json.loads(line) for line in itertools.islice(stream, _SHOWN_REJECTS)]
    named = "; ".join(f"{reject['where']} {reject['reason']}".strip() for reject in first)
    looked_in = f" {job.looked_in}" if job.looked_in else ""
    return f"{looked_in} The first: {named}. All are in {job.out / REJECTS}."
