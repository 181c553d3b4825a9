"""Integer tables as JSON text, many times as fast as `json`: clusters hold up to millions of pixels."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import COMPILES, compiled, inlined

Table = NDArray[np.unsignedinteger | np.signedinteger]
Text = NDArray[np.uint8]

_ROWS = 1 << 18
"""Rows that are written at a time, so that the room for the longest numbers stays small."""

_COMMA, _OPEN, _CLOSE, _QUOTE, _COLON = b',[]":'
_ZERO, _TEN = np.uint64(ord("0")), np.uint64(10)


def json_rows(table: Table) -> bytes:
    """A table `(n, k)` of integers ≥ 0 as `[[1,2],[3,4]]`, without spaces."""
    if not COMPILES:
        return _plain(table)
    # Without the comma after the last row.
    return b"[" + _written(table)[0][:-1].tobytes() + b"]"


def json_by_id(table: Table, counts: NDArray[np.int64]) -> bytes:
    """`"1":[rows],"2":[rows]`, without braces: `counts[0]` rows of a table under 1, the next `counts[1]` under 2.

    All are written in one pass: as many numbers as rows take little more time than one.
    """
    bounds = np.cumsum(np.append(0, counts))
    if not COMPILES:
        rows = enumerate(pairwise(bounds.tolist()), start=1)
        return b",".join(b'"%d":%s' % (k, _plain(table[first:stop])) for k, (first, stop) in rows)
    text, ends = _written(table)
    return _under_ids(text, ends[bounds], len(str(len(counts)))).tobytes()


def _plain(table: Table) -> bytes:
    return json.dumps(table.tolist(), separators=(",", ":")).encode()


def _written(table: Table) -> tuple[Text, NDArray[np.int64]]:
    """`[1,2],[3,4],`, and where each row begins in it, and the end."""
    digits = len(str(table.max(initial=0)))
    parts = [_rows(table[start : start + _ROWS].astype(np.uint64), digits) for start in range(0, len(table), _ROWS)]
    text = np.concatenate([np.zeros(0, dtype=np.uint8), *(part for part, _ in parts)])
    return text, np.concatenate([np.zeros(1, dtype=np.int64), *(lengths for _, lengths in parts)]).cumsum()


@inlined
def _put(text: Text, at: int, value: np.uint64, size: int) -> None:
    """Write a number of so many digits."""
    for place in range(at + size - 1, at - 1, -1):
        rest = value // _TEN
        text[place] = _ZERO + (value - rest * _TEN)
        value = rest


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
            _put(text, at, value, size)
            at += size
            text[at] = _COMMA
            at += 1
        # The last comma makes room.
        text[at - 1], text[at] = _CLOSE, _COMMA
        at += 1
        lengths[row] = at - began
    return text[:at], lengths


@compiled
def _under_ids(text: Text, bounds: NDArray[np.int64], digits: int) -> Text:
    """Pieces of `_written`, `text[bounds[k]:bounds[k + 1]]`, as arrays under k + 1, which has no more digits."""
    made = np.empty(len(text) + len(bounds) * (digits + 6), dtype=np.uint8)
    at = 0
    for k in range(len(bounds) - 1):
        size = 1
        while k + 1 >= 10**size:
            size += 1
        made[at], made[at + size + 1], made[at + size + 2], made[at + size + 3] = _QUOTE, _QUOTE, _COLON, _OPEN
        _put(made, at + 1, np.uint64(k + 1), size)
        at += size + 4
        # Without the comma after the last row.
        for i in range(bounds[k], bounds[k + 1] - 1):
            made[at] = text[i]
            at += 1
        made[at], made[at + 1] = _CLOSE, _COMMA
        at += 2
    return made[: max(0, at - 1)]
