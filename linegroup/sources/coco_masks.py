"""Run-length masks as COCO has them: counts of pixels without and with ink in turn, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled
from linegroup.masks import encode, pixels_of

Size = tuple[int, int]

_MOST_CHARACTERS = 64 << 20


def rle(runs: NDArray[np.int32], size: Size) -> dict[str, Any]:
    """Uncompressed RLE of runs: `{"size": [h, w], "counts": […]}`."""
    return {"size": list(size), "counts": _counts(runs, size).tolist()}


def characters(runs: NDArray[np.int32], size: Size) -> str:
    """The counts of `rle` in pycocotools' characters, which take a quarter of the room."""
    return _written(_counts(runs, size)).tobytes().decode()


def _counts(runs: NDArray[np.int32], size: Size) -> NDArray[np.int64]:
    height, width = size
    y, x = np.divmod(pixels_of(runs), width)
    flat = np.sort(x * height + y)
    first = np.flatnonzero(np.diff(flat, prepend=-2) > 1)
    last = np.append(first[1:], len(flat)) - 1
    changes = np.stack([flat[first], flat[last] + 1], axis=1).ravel() if len(flat) else flat
    counts = np.diff(np.concatenate([[0], changes, [height * width]])).astype(np.int64)
    return counts[: -1 if len(counts) > 1 and not counts[-1] else None]


@compiled
def _written(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Five bits a character, the lowest first; from the fourth count on, what is added to the one two before."""
    text = np.empty(13 * len(counts), dtype=np.uint8)
    length = 0
    for k in range(len(counts)):
        value = counts[k] - (counts[k - 2] if k > 2 else 0)
        done = False
        while not done:
            bits = value & 31
            value >>= 5
            done = value == (-1 if bits & 16 else 0)
            text[length] = 48 + bits + (0 if done else 32)
            length += 1
    return text[:length].copy()


def runs_of(mask: Mapping[str, Any], size: Size) -> NDArray[np.int32]:
    """The runs of an RLE, uncompressed or in pycocotools' characters.

    Raises:
        ValueError: it is damaged, or that of a picture of another size.
    """
    if list(mask.get("size") or ()) != list(size):
        raise ValueError(f"its size is {mask.get('size')}, the picture's [height, width] is {list(size)}")
    given = mask.get("counts")
    counts = _from_characters(given) if isinstance(given, str) else _from_numbers(given)
    if (counts < 0).any() or counts.max(initial=0) > size[0] * size[1] or counts.sum() != size[0] * size[1]:
        raise ValueError(f"its counts add up to {int(counts.sum())}, not to {size[0] * size[1]} pixels")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return encode(flat.reshape(size, order="F"))


def _from_numbers(given: object) -> NDArray[np.int64]:
    if not isinstance(given, list) or not {type(count) for count in given} <= {int}:
        raise ValueError("counts must be a list of whole numbers, or text")
    try:
        return np.array(given, dtype=np.int64)
    except OverflowError:
        raise ValueError("counts hold a number beyond 64 bits") from None


def _from_characters(text: str) -> NDArray[np.int64]:
    """Counts of 5 bits a character, the lowest first; from the fourth on, what is added to the count two before."""
    if len(text) > _MOST_CHARACTERS or not text.isascii():
        raise ValueError("counts are no text of a run-length mask")
    counts: list[int] = []
    value, shift = 0, 0
    for code in text.encode():
        bits = code - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("counts are no text of a run-length mask")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("its text ends within a number")
    if any(abs(count) > 2**40 for count in counts):
        raise ValueError("counts hold a number that no picture has")
    return np.array(counts, dtype=np.int64)
