"""Several pictures through the network at once, each with the answer it would have had alone."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linegroup.model import LARGEST, LineModel, evaluating, image_tensor
from linegroup.sample import Maps

CELL = 128
"""Sides of buckets are multiples of it: pictures in one are padded by less than this along each side."""

MOST_PIXELS = 8_000_000
"""Of all pictures of a batch together, with their padding."""

Pixels = NDArray[np.uint8]

_log = logging.getLogger(__name__)


def bucket(pixels: Pixels) -> tuple[int, int]:
    """`(height, width)` that a picture `(h, w, 3)` is padded to, shared by those of about its size."""
    height, width = pixels.shape[:2]
    return -(-height // CELL) * CELL, -(-width // CELL) * CELL


def maps_together(model: LineModel, pictures: Sequence[Pixels]) -> list[Maps | Exception]:
    """What the model says of each picture `(h, w, 3) uint8`, as `LineModel.maps` up to rounding.

    Pictures of one bucket share a batch. What fails together is done again one by one, so that a picture fails alone.
    """
    found: list[Maps | Exception | None] = [None] * len(pictures)
    for chosen in _batches(pictures):
        for i, maps in zip(chosen, _answers(model, [pictures[i] for i in chosen]), strict=True):
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


def _answers(model: LineModel, pictures: Sequence[Pixels]) -> Sequence[Maps | Exception]:
    if len(pictures) > 1:
        try:
            return _batch(model, pictures)
        except Exception:
            _log.warning("a batch failed, its pictures are done one by one", exc_info=True)
    return [_one(model, pixels) for pixels in pictures]


def _one(model: LineModel, pixels: Pixels) -> Maps | Exception:
    try:
        return model.maps(pixels)
    except Exception as error:
        return error


def _batch(model: LineModel, pictures: Sequence[Pixels]) -> list[Maps]:
    height, width = np.max([bucket(pixels) for pixels in pictures], axis=0)
    page = np.zeros((len(pictures), height, width, 3), dtype=np.uint8)
    inside = torch.zeros(len(pictures), height, width, dtype=torch.bool)
    for i, pixels in enumerate(pictures):
        h, w = pixels.shape[:2]
        page[i, :h, :w] = model._shown(pixels[None])[0]
        inside[i, :h, :w] = True
    with evaluating(model), torch.inference_mode():
        prediction = model(image_tensor(page, model.device), inside.to(model.device))
        found = {"embedding": torch.zeros(len(pictures), 0, height, width)}
        found["foreground"] = torch.ones(len(pictures), height, width)
        for name, head in model.heads.items():
            found |= head.decode(prediction[name])  # type: ignore[operator]
        values = {name: value.cpu().numpy() for name, value in found.items()}
    return [
        Maps(**{name: np.ascontiguousarray(value[(i, ..., *_corner(pixels))]) for name, value in values.items()})
        for i, pixels in enumerate(pictures)
    ]


def _corner(pixels: Pixels) -> tuple[slice, slice]:
    return slice(pixels.shape[0]), slice(pixels.shape[1])
