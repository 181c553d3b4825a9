"""What a batch leaves: parts in `OUT/pictures/`, `OUT/failed.jsonl`, and `OUT/manifest.json`, written last."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from linegroup import __version__
from linegroup.config import Section
from linegroup.distributed.batch_job import SCHEMA, PredictJob
from linegroup.distributed.batch_work import Row
from linegroup.distributed.out_folder import FAILED, has_size, remove_left_overs
from linegroup.distributed.parts import PARTIAL, Folder, Part, Plan
from linegroup.errors import UserError
from linegroup.files import remove_folder, write_atomic, write_bytes, write_text
from linegroup.shards import MANIFEST
from linegroup.wire import ModelRecord

logger = logging.getLogger(__name__)

FOLDER = "pictures"

ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("lines", pa.int32()),
        pa.field("document", pa.string()),
        pa.field("error", pa.string()),
    ],
    metadata={"schema": SCHEMA},
)
"""One row per picture. Where there is an `error`, `name`, `width`, `height`, `lines` and `document` are null."""

_SHOWN = 3


class PartFile(Section):
    """One file of rows.

    Attributes:
        path: Relative to the output folder, with `/`.
        rows: Pictures in it.
        lines: Lines found in them.
        failed: Pictures that could not be used.
        first_id: Number of the first picture.
        last_id: Number of the last one.
        bytes: Size of the file.
        sha256: Hexadecimal SHA-256 of the file.
    """

    path: str
    rows: int
    lines: int
    failed: int
    first_id: int
    last_id: int
    bytes: int
    sha256: str


class Predictions(Section):
    """Everything that is known of a finished batch; equal for equal input, model and settings, wherever it was made.

    Attributes:
        schema_: Name and version of the layout, `linegroup.predictions/1`.
        written_by: Version of linegroup.
        key: Digest of input, model and settings; a job with the same key has nothing to do here.
        pictures: How many there were.
        failed: How many could not be used; `failed.jsonl` names each with its reason.
        lines: How many lines were found.
        model: What found them.
        source: The inputs by name, and their digest.
        settings: What the content depends on; the grouping's are in `parameters`.
        files: All parts, by id.
        made: Parts made by the call that returned this object, 0 where there was nothing to do; not stored.
    """

    schema_: str = Field(SCHEMA, alias="schema")
    written_by: str
    key: str
    pictures: int
    failed: int
    lines: int
    model: ModelRecord
    source: dict[str, str]
    settings: dict[str, Any]
    files: tuple[PartFile, ...]
    made: int = Field(0, exclude=True)

    def summary(self) -> dict[str, Any]:
        """The counts in one small JSON object, as programs print it."""
        counts = {"pictures": self.pictures, "failed": self.failed, "lines": self.lines, "parts_made": self.made}
        return {**counts, "model": self.model.model_dump()}


def write_part(job: PredictJob, folder: Folder, part: Part, rows: Sequence[Row], model: ModelRecord) -> PartFile:
    """Write the rows of one part, then note that it is done.

    Raises:
        OSError: the disk is full; nothing is visible.
    """
    content = WRITERS[job.format]([_tree(row, model) for row in rows])
    file = PartFile(
        path=f"{FOLDER}/part-{part.name}.{job.format}",
        rows=len(rows),
        lines=sum(row.lines for row in rows),
        failed=sum(bool(row.error) for row in rows),
        first_id=part.first,
        last_id=part.last,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    write_bytes(job.out / file.path, content)
    failed = [{"id": row.id, "path": row.path, "error": row.error} for row in rows if row.error]
    write_text(folder.record(part), json.dumps({"file": file.model_dump(), "failed": failed}))
    return file


def done_before(job: PredictJob, folder: Folder, part: Part) -> PartFile | None:
    """The file of a part that an earlier run has finished."""
    try:
        file = PartFile.model_validate(json.loads(folder.record(part).read_bytes())["file"])
    except (FileNotFoundError, ValueError, LookupError):
        return None
    # It was flushed to disk under its name before the record was written: its size is enough.
    return file if has_size(job.out / file.path, file.bytes) else None


def find_finished(job: PredictJob, digest: str) -> Predictions | None:
    """The manifest of a folder that holds all that the job would make; None where there is work to do.

    Raises:
        UserError: the folder is finished, but of other input, model or settings, or with files missing, and the
            job does not say `overwrite`; or pictures have failed and the job is strict.
    """
    if job.overwrite or not (job.out / MANIFEST).exists():
        return None
    found = load_predictions(job)
    if found.key != job.key(digest):
        raise UserError(
            f"{job.out} holds a finished batch of other input, another model or other settings"
            f" ({found.source.get('inputs')}; {found.model.name} {found.model.version}). Choose another folder, or say"
            " --overwrite to replace it."
        )
    missing = [file.path for file in found.files if not has_size(job.out / file.path, file.bytes)]
    if missing:
        raise UserError(
            f"{job.out} has lost {len(missing)} of its files, {missing[0]} first. Say --overwrite to make them again."
        )
    check_strict(job, found)
    logger.info("Nothing to do: %s holds these pictures' lines already.", job.out)
    shutil.rmtree(job.out / PARTIAL, ignore_errors=True)
    return found


def load_predictions(job: PredictJob) -> Predictions:
    """Read and check the manifest.

    Raises:
        UserError: it is damaged, or of another version.
    """
    path = job.out / MANIFEST
    try:
        found = Predictions.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged: {reason}. Say --overwrite to make all again.") from None
    if found.schema_ != SCHEMA:
        raise UserError(f"{path} has schema {found.schema_}, this version knows {SCHEMA}. Choose another folder.")
    return found


def finish(job: PredictJob, folder: Folder, plan: Plan, files: Sequence[PartFile], made: int) -> Predictions:
    """Write the list of failures, remove left-overs, and write the manifest, last.

    Raises:
        UserError: no picture could be used, or some could not and the job is strict.
        OSError: the disk is full; the job can be run again.
    """
    write_atomic(job.out / FAILED, lambda stream: _copy_failures(folder, plan.all_parts(), stream))
    settings = job.settings()
    predictions = Predictions(
        written_by=f"linegroup {__version__}",
        key=job.key(plan.digest),
        pictures=sum(file.rows for file in files),
        failed=sum(file.failed for file in files),
        lines=sum(file.lines for file in files),
        model=ModelRecord(**settings.pop("model")),
        source={"inputs": job.input_name, "sha256": plan.digest},
        settings=settings,
        files=tuple(files),
        made=made,
    )
    if predictions.failed == predictions.pictures:
        # Most likely all for one reason, which can be mended: the next run begins anew.
        remove_folder(folder.root)
        for file in files:
            (job.out / file.path).unlink()
        with contextlib.suppress(OSError):
            (job.out / FOLDER).rmdir()
        raise UserError(f"No picture of {job.input_name} could be used.{_first_failures(job)}")
    check_strict(job, predictions)
    remove_left_overs(job.out, {file.path for file in files}, f"{FOLDER}/part-*")
    text = json.dumps(predictions.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    write_text(job.out / MANIFEST, text + "\n")
    shutil.rmtree(job.out / PARTIAL, ignore_errors=True)
    return predictions


def check_strict(job: PredictJob, found: Predictions) -> None:
    """Refuse failures where the job says so.

    Raises:
        UserError: some pictures could not be used.
    """
    if job.strict and found.failed:
        raise UserError(f"{found.failed} pictures could not be used, and the job is strict.{_first_failures(job)}")


def _to_parquet(rows: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    # Dictionaries for what is the same in every row; documents compress by themselves.
    repeated = ["model", "model_version"]
    table = pa.Table.from_pylist(rows, schema=ROW_SCHEMA)
    pq.write_table(table, stream, compression="zstd", use_dictionary=repeated, write_statistics=["id"])
    return stream.getvalue()


def _to_jsonl(rows: list[dict[str, Any]]) -> bytes:
    whole = ({**row, "document": row["document"] and json.loads(row["document"])} for row in rows)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in whole).encode()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {"parquet": _to_parquet, "jsonl": _to_jsonl}
"""Formats by name: the bytes of a part's file."""


def _tree(row: Row, model: ModelRecord) -> dict[str, Any]:
    tree: dict[str, Any] = dict.fromkeys(ROW_SCHEMA.names)
    tree |= {"id": row.id, "path": row.path, "model": model.name, "model_version": model.version}
    if row.error:
        return {**tree, "error": row.error}
    found = {name: getattr(row, name) for name in ("name", "width", "height", "lines", "document")}
    return {**tree, **found}


def _copy_failures(folder: Folder, parts: Sequence[Part], stream: IO[bytes]) -> None:
    for part in parts:
        for failure in json.loads(folder.record(part).read_bytes())["failed"]:
            stream.write(json.dumps(failure, ensure_ascii=False).encode() + b"\n")


def _first_failures(job: PredictJob) -> str:
    with (job.out / FAILED).open(encoding="utf-8") as stream:
        first = [str(json.loads(line)["error"]) for line in itertools.islice(stream, _SHOWN)]
    return f" The first: {' '.join(first)} All are in {job.out / FAILED}."
