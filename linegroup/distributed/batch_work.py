"""The two stages of a batch, as plain functions: pictures → parcels of candidates → rows. No Ray in here.

A picture that cannot be used becomes a row that says why; it never stops the others.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from linegroup.config import GroupingConfig
from linegroup.distributed.batch_input import Entry, read_entries
from linegroup.errors import UserError
from linegroup.grouping import group_field
from linegroup.predict import Predictor
from linegroup.serving.answers import document_of
from linegroup.serving.limits import Limits
from linegroup.serving.work import Order, Parcel, embed
from linegroup.vectors.records import line_records
from linegroup.wire import LinesDocument

logger = logging.getLogger(__name__)

READERS = 4
"""Threads that read pictures ahead, per embedding process: object stores answer late."""

_NO_LIMITS = Limits(max_candidates=2**62)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Piece:
    """Some pictures of one part.

    Attributes:
        part: Number of the part.
        file: Its records.
        first_id: Number of the piece's first picture.
        offset: The same within the part.
        count: How many pictures.
    """

    part: int
    file: str
    first_id: int
    offset: int
    count: int


@dataclass(frozen=True)
class Row:
    """What is known of one picture in the end.

    Attributes:
        part: Number of its part.
        id: Its number in the input.
        path: What it is called in the input.
        document: The `linegroup.lines/1` document as JSON text, without timings; "" where there is an error.
        name: Its file name.
        width: Columns; 0 where unknown.
        height: Rows; 0 where unknown.
        lines: How many were found.
        error: Why the picture could not be used; "" where it could.
        stop: Why the whole job cannot go on; "" else.
    """

    part: int
    id: int = -1
    path: str = ""
    document: str = ""
    name: str = ""
    width: int = 0
    height: int = 0
    lines: int = 0
    error: str = ""
    stop: str = ""


def embed_piece(predictor: Predictor, piece: Piece) -> Iterator[tuple[Row, bytes]]:
    """The pictures of a piece, each with its packed candidates; b"" where the row says an error."""
    try:
        records = json.loads(Path(piece.file).read_bytes())
        entries = read_entries(records, piece.offset, piece.count)
        for number, entry in enumerate(ahead(entries, READERS), start=piece.first_id):
            yield _embedded(predictor, entry, Row(piece.part, number, _utf8(entry.path)))
    except (UserError, OSError) as error:
        yield Row(piece.part, stop=str(error)), b""


def group_parcel(row: Row, content: bytes) -> Row:
    """The row of a picture once its candidates are grouped and traced."""
    if not content:
        return row
    try:
        # Made by `embed_piece` of this very job: nobody else writes between the stages.
        document = document_of_parcel(pickle.loads(content))
    except Exception as error:
        return _failed(row, error)
    text = document.model_dump_json(by_alias=True)
    image = document.image
    return replace(
        row, document=text, name=image.name, width=image.width, height=image.height, lines=len(document.lines)
    )


def document_of_parcel(parcel: Parcel) -> LinesDocument:
    """The lines among what was embedded; without timings: equal pictures have equal documents.

    Raises:
        UserError: more lines than labels have numbers.
    """
    grouping = GroupingConfig.model_validate(parcel.grouping)
    field = parcel.field()
    groups = group_field(field, grouping)
    found = parcel.found(field, groups, grouping, {})
    return document_of(found, line_records(field, groups, parcel.rgb), {})


def ahead(calls: Iterator[Callable[[], _Result]], threads: int) -> Iterator[_Result]:
    """The results of calls in their order, some of them made before they are asked for."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(call) for call in islice(calls, 2 * threads))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(call) for call in islice(calls, 1))
            yield result


def _embedded(predictor: Predictor, entry: Entry, row: Row) -> tuple[Row, bytes]:
    if isinstance(entry.content, str):
        return replace(row, error=entry.content), b""
    try:
        parcel = embed(predictor, Order(entry.content, name=entry.path, limits=_NO_LIMITS))
    except Exception as error:
        return _failed(row, error), b""
    # An order's limits are for clients that nobody knows; here the settings hold as they are.
    parcel = replace(parcel, grouping=predictor.grouping.model_dump(mode="json"))
    return row, pickle.dumps(parcel, protocol=pickle.HIGHEST_PROTOCOL)


def _failed(row: Row, error: Exception) -> Row:
    if isinstance(error, UserError):
        return replace(row, error=f"{row.path}: {error}")
    # A fault of ours, or no memory: the others are done all the same, and the log has what is needed to mend it.
    logger.exception("%s", row.path, exc_info=error)
    return replace(row, error=f"{row.path}: a fault of linegroup: {type(error).__name__}: {error}")


def _utf8(text: str) -> str:
    # File names may hold bytes that are no UTF-8; Parquet and JSON may not.
    return os.fsencode(text).decode("utf-8", "replace")
