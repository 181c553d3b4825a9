"""Integer tables as JSON text, ten times as fast as `json`: clusters hold up to millions of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.unsignedinteger | np.signedinteger]

_SPACE = ord(" ")
_TABLE = 1 << 16
"""Up to this number the digits of all are written down; of larger ones those that are there, which takes sorting."""

_ROWS = 1 << 18
"""Rows that are written at a time, so that the padded text stays small."""


def json_rows(table: Table) -> bytes:
    """A table `(n, k)` of integers ≥ 0 as `[[1,2],[3,4]]`, without spaces."""
    return next(json_tables(table, [len(table)]))


def json_tables(table: Table, counts: Sequence[int]) -> Iterator[bytes]:
    """The rows of a table as one JSON array for the first `counts[0]` of them, one for the next `counts[1]`, and so on.

    All rows are written in one pass: as many tables as rows take no more time than one.
    """
    largest = int(table.max(initial=0))
    if largest > _TABLE:
        values, rows = np.unique(table, return_inverse=True)
        words, table = _words(values.tolist()), rows.reshape(table.shape)
    else:
        words = _words(range(largest + 1))
    parts = [_rows(table[start : start + _ROWS], words) for start in range(0, len(table), _ROWS)]
    text = b"".join(part for part, _ in parts)
    ends = np.concatenate([np.zeros(1, dtype=np.int64), *(lengths for _, lengths in parts)]).cumsum()
    bounds = ends[np.cumsum([0, *counts])].tolist()
    for start, stop in pairwise(bounds):
        # Without the comma after the last row.
        yield b"[" + text[start : max(start, stop - 1)] + b"]"


def _words(numbers: Sequence[int]) -> NDArray[np.uint8]:
    """`(n, width)`: each number's digits, padded on the left; they ascend."""
    width = len(str(numbers[-1]))
    text = b"".join(str(number).rjust(width).encode() for number in numbers)
    return np.frombuffer(text, dtype=np.uint8).reshape(-1, width)


def _rows(table: Table, words: NDArray[np.uint8]) -> tuple[bytes, NDArray[np.int64]]:
    """`[1,2],[3,4],`, and how long each row is in it."""
    count, columns = table.shape
    width = words.shape[1] + 1
    text = np.full((count, 2 + columns * width), ord(","), dtype=np.uint8)
    text[:, 0] = ord("[")
    for column in range(columns):
        start = 1 + column * width
        text[:, start : start + width - 1] = words[table[:, column]]
    text[:, -2] = ord("]")
    kept = text != _SPACE
    return bytes(text[kept].tobytes()), kept.sum(axis=1, dtype=np.int64)
