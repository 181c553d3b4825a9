"""Writing one shard: the same samples give the same bytes, and a reader sees all of them or no file."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from linegroup.config import DataConfig
from linegroup.files import sha256_of, write_atomic
from linegroup.sample import Sample
from linegroup.shards.manifest import ShardFile
from linegroup.shards.rows import DRAWN_NAMES, DRAWN_SCHEMA, ROW_GROUP_ROWS, SHARD_SCHEMA, to_table

_COMPRESSED = (
    "tags.list.element",
    "instances.list.element.xy.list.element",
    "instances.list.element.meta",
    "instances.list.element.runs.list.element",
    "meta",
)


def split_of(group: str, fractions: Mapping[str, float], seed: int = 0) -> str:
    """The split of a group: the same on every machine, in every process, whatever else is in the data.

    Args:
        group: `Sample.group`; all samples of a group land in the same split.
        fractions: Expected share of the groups by split, for example `{"val": 0.1, "test": 0.1}`; what is
            left is `train`.
        seed: Another seed gives another split.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    for split, fraction in fractions.items():
        position -= fraction
        if position < 0:
            return split
    return "train"


def write_shard(
    samples: Sequence[Sample], root: Path, path: str, split: str, drawn: DataConfig | None = None
) -> ShardFile:
    """Write one shard atomically and say what is in it.

    Args:
        samples: At least one, in the order of their ids.
        root: The shard folder.
        path: File name relative to `root`, with `/`.
        split: Split that the samples belong to.
        drawn: Store the drawn targets too, with these settings.

    Raises:
        OSError: the file could not be written; nothing is visible at `path`.
        UserError: a sample cannot be stored (see `to_table`).
    """
    hashed = _Hashed()

    def write(stream: IO[bytes]) -> None:
        hashed.stream = stream
        _write_rows(hashed, samples, drawn)

    write_atomic(root / path, write)
    return ShardFile(
        path=path,
        split=split,
        rows=len(samples),
        lines=sum(len(sample.instances) for sample in samples),
        first_id=samples[0].id,
        last_id=samples[-1].id,
        bytes=hashed.size,
        sha256=hashed.hash.hexdigest(),
    )


def is_intact(root: Path, file: ShardFile) -> bool:
    """Whether the file stands below `root` with the size and the hash that its record says."""
    path = root / file.path
    return path.is_file() and path.stat().st_size == file.bytes and sha256_of(path) == file.sha256


class _Hashed:
    """A stream that hashes what passes, so that a shard is not read again for its hash."""

    def __init__(self) -> None:
        self.stream: IO[bytes]
        self.hash = hashlib.sha256()
        self.size = 0
        self.closed = False
        self.discard = False

    def write(self, content: bytes) -> int:
        if not self.discard:
            self.stream.write(content)
            self.hash.update(content)
        self.size += len(content)
        return len(content)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Left to the end: `write_atomic` flushes once."""


def _write_rows(stream: _Hashed, samples: Sequence[Sample], drawn: DataConfig | None) -> None:
    schema = SHARD_SCHEMA if drawn is None else DRAWN_SCHEMA
    # Pictures are compressed already.
    plain = ("image", *(DRAWN_NAMES if drawn is not None else ()))
    writer = pq.ParquetWriter(
        stream,
        schema,
        compression=dict.fromkeys(plain, "NONE") | dict.fromkeys(_COMPRESSED, "ZSTD"),
        use_dictionary=False,
        write_statistics=["id"],
    )
    try:
        for start in range(0, len(samples), ROW_GROUP_ROWS):
            writer.write_table(to_table(samples[start : start + ROW_GROUP_ROWS], drawn))
        writer.close()
    except BaseException:
        # A writer that is given up still ends its file, at the latest when it is deleted: that goes nowhere.
        stream.discard = True
        with contextlib.suppress(OSError, pa.ArrowException):
            writer.close()
        raise
