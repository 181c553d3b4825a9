"""The first picture is not to wait for what is done once: compiled code is loaded, the network's memory is there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from linegroup.grouping import GROUPERS
from linegroup.images import encode_png
from linegroup.predict import Predictor
from linegroup.serving.work import Order, answer, embed

_SIZE = (96, 128)


def warm_up(predictor: Predictor, methods: Iterable[str] | None = None) -> None:
    """Do a small chart in every way; with cold caches of compiled code this takes minutes.

    Args:
        predictor: What will serve.
        methods: Groupers that will be asked for; default: those that the predictor can be asked for.

    Raises:
        Exception: the model cannot do it: it must not serve.
    """
    chosen = list(GROUPERS if methods is None else methods)
    if predictor.model is None and methods is None:
        chosen = [predictor.grouping.method]
    content = encode_png(_chart())
    for method in chosen:
        parcel = embed(predictor, Order(content, overrides={"method": method}))
        for kind in ("cluster", "lines"):
            answer(parcel, kind, {})


def _chart() -> NDArray[np.uint8]:
    """Two lines that cross, each in its colour, on white."""
    height, width = _SIZE
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    xs = np.arange(8, width - 8)
    for row, colour in ((16 + xs // 2, (200, 30, 30)), (80 - xs // 2, (30, 60, 200))):
        for offset in (0, 1):
            pixels[row + offset, xs] = colour
    return pixels
