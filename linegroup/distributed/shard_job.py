"""What a sharding job is and what one of its parts does; no Ray in here.

A job cuts its input into parts by ranges of image ids. A part reads its pictures and checks them, or
draws them where they are generated, and writes one shard per split, named after the range; then it
notes in a small record that it is done. Nothing a part writes depends on another part, so parts run
anywhere, in any order, again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, ClassVar, Self

from pydantic import Field as Setting
from pydantic import field_validator, model_validator

from linegroup.config import DataConfig, Section, Share
from linegroup.distributed.parts import Folder, Part, PartedJob, explain_os_error
from linegroup.errors import UserError
from linegroup.files import write_text
from linegroup.sample import Sample
from linegroup.shards import SCHEMA, ShardFile, is_intact, split_of, to_table, write_shard
from linegroup.sources.coco import Reject

VAL_FRACTION = 0.2
"""Default share of the groups that becomes `val`; also that of the command line."""


class FolderJob(PartedJob):
    """Output and settings of a job that writes a shard folder; its input is that of a subclass.

    Values out of range and unknown names raise `UserError`.
    """

    out: Path = Setting(description="Shard folder; new, or one of an earlier run of this job.")
    val_fraction: Share = Setting(
        VAL_FRACTION, ge=0, le=1, description="Expected share of the groups that becomes `val`."
    )
    test_fraction: Share = Setting(0.0, ge=0, le=1, description="Expected share of the groups that becomes `test`.")
    seed: int = Setting(0, description="Another seed gives another split.")
    split: str | None = Setting(None, description="Put everything into this split instead.")
    drawn: bool = Setting(False, description="Store drawn labels and coverage too, for readers other than linegroup.")
    images_per_part: int = Setting(128, ge=1, le=65536, description="Pictures per part, the unit of work.")
    strict: bool = Setting(False, description="Fail when any record was rejected.")
    overwrite: bool = Setting(False, description="Replace finished shards of other input.")
    data: DataConfig = Setting(DataConfig(), description="How `drawn` targets are drawn.")

    beside: ClassVar[tuple[str, ...]] = ("out", "strict", "overwrite", "data")
    schema_name: ClassVar[str] = SCHEMA
    _title: ClassVar[str] = "Shard job"

    @property
    def looked_in(self) -> str:
        """A sentence that says where its pictures were looked for, for messages; empty where there are no files."""
        return ""

    def check_input(self) -> None:
        """Refuse input that is not there.

        Raises:
            UserError: says what, and what to do.
        """
        raise NotImplementedError

    def read(self, folder: Folder, categories: dict[int, str], part: Part) -> tuple[list[Sample], list[Reject]]:
        """The samples of a part in the order of their ids, and what was left out."""
        raise NotImplementedError

    @field_validator("split")
    @classmethod
    def _is_folder_name(cls, split: str | None) -> str | None:
        if split is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", split):
            raise ValueError(f"a split is named with letters, digits, - and _; got {split!r}")
        return split

    @model_validator(mode="after")
    def _fractions_fit(self) -> Self:
        if self.val_fraction + self.test_fraction > 1:
            raise ValueError("the shares of val and test together exceed 1 (val_fraction, test_fraction)")
        return self

    @property
    def fractions(self) -> dict[str, float]:
        """Splits beside `train` and their expected shares."""
        return {"val": self.val_fraction, "test": self.test_fraction}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the job makes, in the order of the manifest."""
        if self.split is not None:
            return (self.split,)
        return ("train", *(name for name, share in self.fractions.items() if share > 0))

    def settings(self) -> dict[str, Any]:
        """What the shards' content depends on, beside the input."""
        drawing = {"thickness": self.data.thickness, "min_thickness": self.data.min_thickness} if self.drawn else None
        return {**super().settings(), "drawing": drawing}


class PartResult(Section):
    """What a part tells the job: the shards it wrote, the number of its rejects, or why it failed."""

    number: int
    files: tuple[ShardFile, ...] = ()
    rejects: int = 0
    reused: bool = False
    error: str | None = None


def do_part(job: FolderJob, folder: Folder, categories: dict[int, str], part: Part) -> PartResult:
    """Write the shards of one part, unless an earlier run has; never raises for the user's mistakes.

    Disk full and unreadable settings come back as `PartResult.error`, so that they look the same
    from every process.
    """
    try:
        done = _done_before(job, folder, part)
        return done if done is not None else _do_part(job, folder, categories, part)
    except UserError as error:
        return PartResult(number=part.number, error=str(error))
    except OSError as error:
        return PartResult(number=part.number, error=explain_os_error(error, job.out))


def write_rejects(stream: IO[bytes], rejects: Iterable[Reject]) -> None:
    """One JSON object per line."""
    for reject in rejects:
        stream.write(json.dumps(reject.to_json()).encode() + b"\n")


def copy_rejects(job_folder: Folder, parts: Iterable[Part], stream: IO[bytes]) -> None:
    """All rejects of a job in the order of the parts, one part in memory at a time."""
    with job_folder.rejects.open("rb") as source:
        shutil.copyfileobj(source, stream)
    for part in parts:
        for reject in json.loads(job_folder.record(part).read_bytes())["rejects"]:
            stream.write(json.dumps(reject).encode() + b"\n")


def _do_part(job: FolderJob, folder: Folder, categories: dict[int, str], part: Part) -> PartResult:
    samples, rejects = job.read(folder, categories, part)
    # The job's category has chosen the lines: drawing all of them keeps label k the k-th line of the row.
    drawn = job.data.model_copy(update={"category": None}) if job.drawn else None
    try:
        files = _write_splits(job, samples, part, drawn)
    except UserError:
        samples, unstorable = _storable(samples, drawn)
        rejects = [*rejects, *unstorable]
        files = _write_splits(job, samples, part, drawn)
    record = {"files": [file.model_dump() for file in files], "rejects": [reject.to_json() for reject in rejects]}
    write_text(folder.record(part), json.dumps(record))
    return PartResult(number=part.number, files=tuple(files), rejects=len(rejects))


def _write_splits(job: FolderJob, samples: list[Sample], part: Part, drawn: DataConfig | None) -> list[ShardFile]:
    by_split: dict[str, list[Sample]] = {split: [] for split in job.splits}
    for sample in samples:
        by_split[job.split or split_of(sample.group, job.fractions, job.seed)].append(sample)
    return [
        write_shard(members, job.out, f"{split}/shard-{part.name}.parquet", split, drawn)
        for split, members in by_split.items()
        if members
    ]


def _storable(samples: list[Sample], drawn: DataConfig | None) -> tuple[list[Sample], list[Reject]]:
    """The samples that fit the schema, and a reject for each that does not (numbers beyond 64 bits, broken text)."""
    good: list[Sample] = []
    rejects: list[Reject] = []
    for sample in samples:
        try:
            to_table([replace(sample, image=None)], drawn)
            good.append(sample)
        except UserError as error:
            rejects.append(Reject(sample.id, None, str(error)))
    return good, rejects


def _done_before(job: FolderJob, folder: Folder, part: Part) -> PartResult | None:
    try:
        record = json.loads(folder.record(part).read_bytes())
        files = tuple(ShardFile.model_validate(file) for file in record["files"])
    except (FileNotFoundError, ValueError, LookupError):
        return None
    # What was rejected is looked at again: its picture may be there by now, or another folder was named.
    if record["rejects"] or not all(is_intact(job.out, file) for file in files):
        return None
    return PartResult(number=part.number, files=files, reused=True)
