"""Integer tables as JSON text, many times as fast as `json`: clusters hold up to millions of pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import COMPILES, compiled

Table = NDArray[np.unsignedinteger | np.signedinteger]
Text = NDArray[np.uint8]

_ROWS = 1 << 18
"""Rows that are written at a time, so that the room for the longest numbers stays small."""

_COMMA, _OPEN, _CLOSE = b",[]"
_ZERO, _TEN = np.uint64(ord("0")), np.uint64(10)


def json_rows(table: Table) -> bytes:
    """A table `(n, k)` of integers ≥ 0 as `[[1,2],[3,4]]`, without spaces."""
    return next(json_tables(table, [len(table)]))


def json_tables(table: Table, counts: Sequence[int]) -> Iterator[bytes]:
    """The rows of a table as one JSON array for the first `counts[0]` of them, one for the next `counts[1]`, and so on.

    All rows are written in one pass: as many tables as rows take no more time than one.
    """
    bounds = np.cumsum([0, *counts])
    if not COMPILES:
        for start, stop in pairwise(bounds.tolist()):
            yield json.dumps(table[start:stop].tolist(), separators=(",", ":")).encode()
        return
    digits = len(str(table.max(initial=0)))
    parts = [_rows(table[start : start + _ROWS].astype(np.uint64), digits) for start in range(0, len(table), _ROWS)]
    text = b"".join(part.tobytes() for part, _ in parts)
    ends = np.concatenate([np.zeros(1, dtype=np.int64), *(lengths for _, lengths in parts)]).cumsum()
    for start, stop in pairwise(ends[bounds].tolist()):
        # Without the comma after the last row.
        yield b"[" + text[start : max(start, stop - 1)] + b"]"


@compiled
def _rows(table: NDArray[np.uint64], digits: int) -> tuple[Text, NDArray[Any]]:
    """`[1,2],[3,4],`, and how long each row is in it; no number has more digits."""
    count, columns = table.shape
    powers = np.empty(digits, dtype=np.uint64)
    for k in range(digits):
        powers[k] = powers[k - 1] * _TEN if k else np.uint64(1)
    text = np.empty(count * (2 + columns * (digits + 1)), dtype=np.uint8)
    lengths = np.empty(count, dtype=np.int64)
    at = 0
    for row in range(count):
        began = at
        text[at] = _OPEN
        at += 1
        for column in range(columns):
            value, size = table[row, column], 1
            while size < digits and value >= powers[size]:
                size += 1
            for k in range(at + size - 1, at - 1, -1):
                rest = value // _TEN
                text[k] = _ZERO + (value - rest * _TEN)
                value = rest
            at += size
            text[at] = _COMMA
            at += 1
        # The last comma makes room.
        text[at - 1], text[at] = _CLOSE, _COMMA
        at += 1
        lengths[row] = at - began
    return text[:at], lengths
