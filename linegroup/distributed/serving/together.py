"""Several pictures through the network at once, each with the answer it would have had alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.model import LARGEST, LineModel
from linegroup.sample import Maps

CELL = 128
"""Sides of buckets are multiples of it: pictures in one are padded by less than this along each side."""

MOST_PIXELS = 8_000_000
"""Of all pictures of a batch together, with their padding."""

Pixels = NDArray[np.uint8]
Check = Callable[[], None]

_log = logging.getLogger(__name__)


def bucket(pixels: Pixels) -> tuple[int, int]:
    """`(height, width)` that a picture `(h, w, 3)` is padded to, shared by those of about its size."""
    height, width = pixels.shape[:2]
    return -(-height // CELL) * CELL, -(-width // CELL) * CELL


def maps_together(
    model: LineModel, pictures: Sequence[Pixels], checks: Sequence[Check | None] = ()
) -> list[Maps | Exception]:
    """What the model says of each picture `(h, w, 3) uint8`, as `LineModel.maps` up to rounding.

    Pictures of one bucket share a batch. What fails together is done again one by one, so that a picture fails alone.

    Args:
        model: The network.
        pictures: Of any sizes.
        checks: For each picture, as `LineModel.maps` takes it; empty: none.
    """
    checks = checks or [None] * len(pictures)
    found: list[Maps | Exception | None] = [None] * len(pictures)
    for chosen in _batches(pictures):
        for i, maps in zip(chosen, _answers(model, [(pictures[i], checks[i]) for i in chosen]), strict=True):
            found[i] = maps
    return [one for one in found if one is not None]


def _batches(pictures: Sequence[Pixels]) -> Iterator[list[int]]:
    """Indices by bucket, as many as fit together."""
    buckets: dict[Hashable, list[int]] = {}
    for i, pixels in enumerate(pictures):
        size = bucket(pixels)
        # The largest go alone: they are cut into tiles.
        key: Any = (i,) if size[0] * size[1] > LARGEST else size
        buckets.setdefault(key, []).append(i)
    for members in buckets.values():
        height, width = bucket(pictures[members[0]])
        most = max(1, MOST_PIXELS // (height * width))
        for start in range(0, len(members), most):
            yield members[start : start + most]


def _answers(model: LineModel, asked: Sequence[tuple[Pixels, Check | None]]) -> Sequence[Maps | Exception]:
    if len(asked) > 1:
        try:
            return model.maps_of([pixels for pixels, _ in asked])
        except Exception:
            _log.warning("a batch failed, its pictures are done one by one", exc_info=True)
    return [_one(model, pixels, check) for pixels, check in asked]


def _one(model: LineModel, pixels: Pixels, check: Check | None) -> Maps | Exception:
    try:
        return model.maps(pixels, check)
    except Exception as error:
        return error
