"""Where the pictures of a batch come from: folders, patterns, lists, Parquet files, single files; paths or URIs.

An input is cut without being held in memory: names pass through Arrow, where a million take some tens of
megabytes, into one small file per part. What a part needs is read by whoever does the part.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linegroup.distributed import places
from linegroup.errors import UserError
from linegroup.picture_files import is_picture

CONTENT = ("image", "bytes", "content")
"""Columns of a Parquet file that may hold encoded pictures, also as Hugging Face stores them: {bytes, path}."""

PATH = ("path", "uri", "url", "file_name", "name")
"""Columns that may name a picture; beside its content, what it is called."""

_CHUNK = 65536
_ROWS = 16

Record = dict[str, Any]
"""Of a part: {"path": …, "shown": …}, or {"rows": Parquet file, "first": …, "count": …}."""


class Entry(NamedTuple):
    """One picture of the input.

    Attributes:
        path: What it is called in the input.
        content: Its bytes, or the reason why there are none.
    """

    path: str
    content: bytes | str


@dataclass(frozen=True)
class Source:
    """One of the inputs.

    Attributes:
        digest: Names the content as far as that can be seen without reading all of it.
        records: What its parts are made of, in order; with the most rows that one may stand for.
    """

    digest: Callable[[], str]
    records: Callable[[int], Iterator[Record]]


def open_sources(inputs: Sequence[str], below: bool) -> list[Source]:
    """The inputs, each by its kind.

    Args:
        inputs: Folders, patterns, `.txt`/`.lst` lists, `.parquet` files, pictures; absolute paths or URIs.
        below: Whether folders below folders are searched.

    Raises:
        UserError: one is missing, holds nothing, or cannot be reached.
    """
    if not inputs:
        raise UserError("No pictures: name folders, patterns, lists, Parquet files or pictures.")
    try:
        return [source for place in inputs for source in _open(place, below)]
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"Cannot read the input: {error}") from None


def digest_of(sources: Iterable[Source]) -> str:
    """Names the content of all sources, in a few bytes of memory."""
    return hashlib.sha256(json.dumps([source.digest() for source in sources]).encode()).hexdigest()


def cut(sources: Iterable[Source], size: int) -> Iterator[tuple[list[Record], int]]:
    """The parts' records, in order, with the number of pictures that they stand for, at most `size`."""
    waiting: list[Record] = []
    for record in itertools.chain.from_iterable(source.records(size) for source in sources):
        if "rows" not in record:
            waiting.append(record)
        if waiting and (len(waiting) == size or "rows" in record):
            yield waiting, len(waiting)
            waiting = []
        if "rows" in record:
            yield [record], record["count"]
    if waiting:
        yield waiting, len(waiting)


def read_entries(records: Sequence[Record], first: int, count: int) -> Iterator[Callable[[], Entry]]:
    """The pictures first … first + count - 1 of a part, each read when it is called."""
    if records and "rows" in records[0]:
        yield from _rows(records[0], first, count)
        return
    for record in records[first : first + count]:
        yield functools.partial(_read, record)


def _read(record: Record) -> Entry:
    return Entry(record["shown"], _content(record["path"]))


def _content(place: str) -> bytes | str:
    try:
        return places.read(place)
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a file system raises: one picture must not stop the others
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"Cannot read {places.shown(place)}: {reason or type(error).__name__}."


def _open(place: str, below: bool) -> Iterator[Source]:
    literal = not places.is_uri(place) and os.path.lexists(place)
    folder, pattern = (place, None) if literal else places.split_pattern(place)
    if pattern is not None:
        yield from _matching(place, folder, pattern)
    elif place.endswith(".parquet"):
        yield _parquet(place)
    elif place.endswith((".txt", ".lst")):
        yield _list(place)
    elif places.is_folder(place):
        yield _folder(place, below, lambda name: is_picture(name.rpartition("/")[2]), place)
    else:
        yield _file(place)


def _matching(place: str, folder: str, pattern: re.Pattern[str]) -> Iterator[Source]:
    below = "**" in place or "/" in pattern.pattern.replace("[^/]", "")
    if not place.partition("?")[0].endswith(".parquet"):
        yield _folder(folder, below, lambda name: pattern.fullmatch(name) is not None, place)
        return
    names = sorted(file.name for file in places.walk(folder, below) if pattern.fullmatch(file.name))
    if not names:
        raise UserError(f"No file matches {places.shown(place)}.")
    for name in names:
        yield _parquet(places.join(folder, name))


def _folder(folder: str, below: bool, wanted: Callable[[str], bool], place: str) -> Source:
    def found() -> Iterator[places.File]:
        return (file for file in places.walk(folder, below) if wanted(file.name))

    if next(found(), None) is None:
        where = "" if below else "; folders below it are not searched"
        raise UserError(f"{places.shown(place)} holds no pictures{where}.")

    def digest() -> str:
        # The order of a folder's entries is anybody's guess: a sum does not depend on it, and needs no memory.
        total = 0
        for file in found():
            name = hashlib.sha256(os.fsencode(f"{file.name}\0{file.stamp}")).digest()
            total = (total + int.from_bytes(name, "big")) % 2**256
        return f"{total:064x}"

    def records(_size: int) -> Iterator[Record]:
        for name in _sorted(os.fsencode(file.name) for file in found()):
            text = os.fsdecode(name)
            yield {"path": places.join(folder, text), "shown": text}

    return Source(digest, records)


def _sorted(names: Iterator[bytes]) -> Iterator[bytes]:
    """In Arrow's memory: a tenth of what Python's strings take."""
    chunks = []
    while batch := list(itertools.islice(names, _CHUNK)):
        chunks.append(pa.array(batch, pa.large_binary()))
    whole = pa.chunked_array(chunks, pa.large_binary()).combine_chunks()
    order = pc.sort_indices(whole)
    for start in range(0, len(order), _CHUNK):
        yield from whole.take(order[start : start + _CHUNK]).to_pylist()


def _list(place: str) -> Source:
    """One path or URI a line, relative to the list's folder; empty lines and those that begin with # say nothing."""
    folder = places.parent(place)
    places.stamp(place)

    def digest() -> str:
        with places.open_file(place) as stream:
            hashed = hashlib.sha256()
            while block := stream.read(2**20):
                hashed.update(block)
            return hashed.hexdigest()

    def records(_size: int) -> Iterator[Record]:
        with places.open_file(place) as stream:
            for line in _lines(stream):
                name = os.fsdecode(line.strip())
                if name and not name.startswith("#"):
                    yield {"path": places.join(folder, name), "shown": places.shown(name)}

    return Source(digest, records)


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(2**20):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    yield rest


def _file(place: str) -> Source:
    # One that is missing is no reason to stop: it is a picture that cannot be read, as in `predict`.
    def digest() -> str:
        try:
            state = places.stamp(place)
        except OSError:
            state = "missing"
        return f"{os.fsencode(place.rpartition('/')[2])!r}\0{state}"

    name = places.shown(place) if places.is_uri(place) else place.rpartition("/")[2]
    return Source(digest, lambda _size: iter([{"path": place, "shown": name}]))


def _parquet(place: str) -> Source:
    with places.open_file(place) as stream:
        file = pq.ParquetFile(stream)
        _columns(file.schema_arrow, place)
        rows = file.metadata.num_rows

    def records(size: int) -> Iterator[Record]:
        for first in range(0, rows, size):
            yield {"rows": place, "first": first, "count": min(size, rows - first)}

    return Source(lambda: f"{places.shown(place).rpartition('/')[2]}\0{places.stamp(place)}", records)


def _columns(schema: pa.Schema, place: str) -> tuple[str | None, str | None]:
    """The columns with the pictures' contents and with their paths; one of them may be missing."""
    content = next((name for name in CONTENT if name in schema.names), None)
    path = next((name for name in PATH if name in schema.names), None)
    if content is None and path is None:
        known = f"{', '.join(CONTENT)} (encoded pictures) or {', '.join(PATH)} (where they are)"
        raise UserError(f"{places.shown(place)} has none of the columns {known}; it has {', '.join(schema.names)}.")
    return content, path


def _rows(record: Record, first: int, count: int) -> Iterator[Callable[[], Entry]]:
    place, start = record["rows"], record["first"] + first
    try:
        with places.open_file(place) as stream:
            file = pq.ParquetFile(stream)
            names = _columns(file.schema_arrow, place)
            groups, passed = _groups_of(file.metadata, start, start + count)
            for batch in file.iter_batches(_ROWS, groups, [name for name in names if name]):
                low, high = max(0, start - passed), min(len(batch), start + count - passed)
                for row in batch.slice(low, max(0, high - low)).to_pylist():
                    yield functools.partial(_entry, row, names, place)
                passed += len(batch)
                if passed >= start + count:
                    return
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"Cannot read {places.shown(place)}: {error}") from None


def _groups_of(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold the rows start … stop - 1, and the number of their first row."""
    firsts = [0, *itertools.accumulate(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))]
    groups = [n for n, (low, high) in enumerate(itertools.pairwise(firsts)) if low < stop and high > start]
    return groups, firsts[groups[0]] if groups else 0


def _entry(row: dict[str, Any], names: tuple[str | None, str | None], place: str) -> Entry:
    content, path = (None if name is None else row[name] for name in names)
    if isinstance(content, dict):
        path, content = path or content.get("path"), content.get("bytes")
    shown = places.shown(str(path or ""))
    if isinstance(content, bytes):
        return Entry(shown, content)
    if content is not None:
        return Entry(shown, f"{places.shown(place)}: the column {names[0]} holds no bytes.")
    if not path:
        return Entry(shown, f"{places.shown(place)}: a row has neither a picture nor a path.")
    return Entry(shown, _content(places.join(places.parent(place), str(path))))
