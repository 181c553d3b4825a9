"""Integer tables as JSON text, ten times as fast as `json`: clusters hold up to millions of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SPACE = ord(" ")
_ROWS = 1 << 18
"""Rows that are written at a time, so that the padded text stays small."""


def json_rows(table: NDArray[np.unsignedinteger | np.signedinteger]) -> bytes:
    """A table `(n, k)` of integers ≥ 0 as `[[1,2],[3,4]]`, without spaces."""
    words = _words(int(table.max(initial=0)))
    parts = [_rows(table[start : start + _ROWS], words) for start in range(0, len(table), _ROWS)]
    return b"[" + b"".join(parts)[:-1] + b"]"


def _words(largest: int) -> NDArray[np.uint8]:
    """`(largest + 1, width)`: each number's digits, padded on the left."""
    width = len(str(largest))
    text = b"".join(str(number).rjust(width).encode() for number in range(largest + 1))
    return np.frombuffer(text, dtype=np.uint8).reshape(-1, width)


def _rows(table: NDArray[np.unsignedinteger | np.signedinteger], words: NDArray[np.uint8]) -> bytes:
    """`[1,2],[3,4],`."""
    count, columns = table.shape
    width = words.shape[1] + 1
    text = np.full((count, 2 + columns * width), ord(","), dtype=np.uint8)
    text[:, 0] = ord("[")
    for column in range(columns):
        start = 1 + column * width
        text[:, start : start + width - 1] = words[table[:, column]]
    text[:, -2] = ord("]")
    flat = text.ravel()
    return bytes(flat[flat != _SPACE].tobytes())
