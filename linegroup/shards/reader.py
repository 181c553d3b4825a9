"""Reading a finished shard folder, by number or in order."""

from __future__ import annotations

import functools
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linegroup.errors import UserError, unknown_name
from linegroup.files import sha256_of
from linegroup.sample import Sample
from linegroup.shards.manifest import MANIFEST, Manifest, check_schema, load_manifest
from linegroup.shards.rows import DRAWN_NAMES, ROW_GROUP_ROWS, SCHEMA_KEY, SHARD_SCHEMA, from_table
from linegroup.shards.writer import is_intact

CACHE_BYTES = 256 * 2**20
"""Row groups that a `ShardSet` keeps in memory, in bytes."""

_OPEN_FILES = 16


class ShardSet:
    """The samples of one split of a shard folder. Can be sent to other processes and used by threads.

    Recent row groups stay in memory, so reading near-by numbers is cheap.
    """

    def __init__(self, path: str | Path, split: str | None = None, *, cache_bytes: int = CACHE_BYTES) -> None:
        """Open a finished shard folder.

        Args:
            path: The folder that holds `manifest.json`.
            split: Name of a split; None: all of them, one after another in the manifest's order.
            cache_bytes: Row groups up to this many bytes stay in memory.

        Raises:
            UserError: no manifest (the job has not finished), another schema version, or no such split.
        """
        self.path = Path(path).absolute()
        self.manifest: Manifest = load_manifest(self.path)
        if split is not None and split not in self.manifest.splits:
            raise unknown_name(f"split of {self.path}", split, self.manifest.splits)
        self.split = split
        self.files = tuple(file for file in self.manifest.files if split in (None, file.split))
        self._starts = list(itertools.accumulate((file.rows for file in self.files), initial=0))
        self._rows = _RowGroups([self.path / file.path for file in self.files], cache_bytes)

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order, one row group in memory at a time."""
        for number, file in enumerate(self.files):
            for group in range(-(-file.rows // ROW_GROUP_ROWS)):
                yield from from_table(self._rows.load(number, group))

    def read(self, index: int) -> Sample:
        """Sample number `index`, 0 ≤ index < len.

        Raises:
            IndexError: there is no such number.
            UserError: its file is missing or damaged.
        """
        file, group, row = self._locate(index)
        return from_table(self._rows.get(file, group).slice(row, 1))[0]

    def read_drawn(self, index: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Stored targets of sample number `index`: labels and coverage, both `(height, width)`.

        Raises:
            UserError: the shards were made without drawn targets.
        """
        file, group, row = self._locate(index)
        rows = self._rows.load(file, group, DRAWN_NAMES)
        if rows.column_names != list(DRAWN_NAMES):
            raise UserError(f"{self.path} holds no drawn targets. Make the shards with --drawn, or draw the vectors.")
        labels, coverage = (_decode(rows.column(name)[row].as_py()) for name in DRAWN_NAMES)
        return labels.astype(np.uint16), coverage.astype(np.uint8)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of all splits of the folder."""
        return tuple(self.manifest.splits)

    @property
    def categories(self) -> dict[int, str]:
        """Category names by number, as the source has them."""
        return dict(self.manifest.categories)

    @property
    def row_group_sizes(self) -> tuple[int, ...]:
        """Samples in each row group, in order; their sum is `len(self)`."""
        return tuple(
            min(ROW_GROUP_ROWS, file.rows - start)
            for file in self.files
            for start in range(0, file.rows, ROW_GROUP_ROWS)
        )

    @functools.cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the manifest: names the data, for it holds the hashes of all shards."""
        return sha256_of(self.path / MANIFEST)

    @functools.cached_property
    def ids(self) -> NDArray[np.int64]:
        """`(len,) int64`: the samples' ids in order. The first use opens every file."""
        columns = [self._rows.column(number, "id") for number in range(len(self.files))]
        return np.concatenate([np.empty(0, np.int64), *columns])

    @functools.cached_property
    def groups(self) -> list[str]:
        """The samples' documents in order. The first use opens every file."""
        return [str(group) for number in range(len(self.files)) for group in self._rows.column(number, "group")]

    def verify(self) -> None:
        """Read every file and compare its hash with the manifest's.

        Raises:
            UserError: files are missing or changed; the message names them.
        """
        bad = [file.path for file in self.files if not is_intact(self.path, file)]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise UserError(
                f"{self.path}: {len(bad)} of {len(self.files)} shards are missing or changed: {', '.join(bad[:5])}"
                f"{more}. Make the shards again with --overwrite."
            )

    def _locate(self, index: int) -> tuple[int, int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"Sample {index} of {len(self)}.")
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return (file, *divmod(index - self._starts[file], ROW_GROUP_ROWS))


class _RowGroups:
    """Row groups of several files, the recent ones kept up to a number of bytes; likewise the open files."""

    def __init__(self, paths: Sequence[Path], capacity: int) -> None:
        self._paths = paths
        self._capacity = capacity
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        # The other process opens the files itself.
        return {"_paths": self._paths, "_capacity": self._capacity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def get(self, file: int, group: int) -> pa.Table:
        """A row group, kept in memory for the next time."""
        with self._lock:
            if (file, group) in self._kept:
                self._kept.move_to_end((file, group))
                return self._kept[file, group]
            rows = self.load(file, group)
            self._kept[file, group] = rows
            self._bytes += rows.nbytes
            while self._bytes > self._capacity and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
            return rows

    def load(self, file: int, group: int, columns: Sequence[str] = tuple(SHARD_SCHEMA.names)) -> pa.Table:
        """Columns of a row group, read now; a column that the file lacks is left out."""
        with self._lock:
            try:
                return self._file(file).read_row_group(group, columns=list(columns), use_threads=False)
            except (OSError, pa.ArrowException) as error:
                raise self._damaged(file, error) from error

    def column(self, file: int, name: str) -> NDArray[Any]:
        """One column of a whole file."""
        with self._lock:
            try:
                return np.asarray(self._file(file).read([name], use_threads=False).column(name).to_numpy())
            except (OSError, pa.ArrowException) as error:
                raise self._damaged(file, error) from error

    def _file(self, number: int) -> pq.ParquetFile:
        if number in self._files:
            self._files.move_to_end(number)
            return self._files[number]
        opened = pq.ParquetFile(self._paths[number])
        metadata = opened.schema_arrow.metadata or {}
        check_schema(metadata.get(SCHEMA_KEY, b"none").decode("utf-8", "replace"), self._paths[number])
        self._files[number] = opened
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return opened

    def _damaged(self, file: int, error: Exception) -> UserError:
        return UserError(f"Cannot read the shard {self._paths[file]}: {error}. Make the shards again with --overwrite.")

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._kept: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._bytes = 0
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()


def _decode(png: bytes) -> NDArray[Any]:
    """Grey values as they were stored, 8 or 16 bits; only for pictures that this library wrote."""
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED))
