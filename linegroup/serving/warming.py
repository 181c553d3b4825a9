"""The first picture is not to wait for what is done once: compiled code is loaded, the network's memory is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.grouping import GROUPERS
from linegroup.images import encode_png
from linegroup.predict import Predictor
from linegroup.serving.limits import FOLLOWS_STROKES
from linegroup.serving.work import Order, answer, embed


def warm_up(predictor: Predictor, methods: Iterable[str] | None = None) -> None:
    """Do small charts in every way; with cold caches of compiled code this takes minutes.

    Args:
        predictor: What will serve.
        methods: Groupers that will be asked for; default: those that the predictor can be asked for.

    Raises:
        Exception: the model cannot do it: it must not serve.
    """
    chosen = list(GROUPERS if methods is None else methods)
    if predictor.model is None and methods is None:
        chosen = [predictor.grouping.method]
    charts = [encode_png(pixels) for pixels in warm_charts()]
    for method in chosen:
        for content in charts if method in FOLLOWS_STROKES else charts[:1]:
            parcel = embed(predictor, Order(content, overrides={"method": method}))
            for kind in ("cluster", "lines"):
                answer(parcel, kind, {})


def warm_charts() -> list[NDArray[np.uint8]]:
    """Charts that lead through all loops: in colours, all black, and one whose lines differ by their marks alone.

    Solid and dashed lines of one ink that cross, marks, noise and a peak that are finer than their pen, frame and grid.
    """
    page = np.full((200, 280, 3), 255, dtype=np.uint8)
    x = np.arange(30, 262)
    noisy = 115 + np.random.default_rng(0).normal(0, 5, len(x))
    peak = 165 - 40 * np.exp(-(((x - 150) / 2.5) ** 2))
    drawn = []
    for red, blue, green in (((200, 30, 30), (30, 60, 200), (30, 140, 60)), ((0, 0, 0),) * 3):
        chart = page.copy()
        cv2.rectangle(chart, (20, 10), (270, 180), (0, 0, 0), 1)
        for y in (50, 95, 140):
            cv2.line(chart, (20, y), (270, y), (225, 225, 225), 1)
        _draw(chart, x, 60 + 20 * np.sin(x / 20), (0, 0, 0), 2)
        for k in range(0, len(x) - 6, 11):
            dash = x[k : k + 7]
            _draw(chart, dash, 60 - 20 * np.sin(dash / 20), (0, 0, 0), 2)
        _draw(chart, x, noisy, red, 3)
        _draw(chart, x, peak, blue, 3)
        for place in x[::9].tolist():
            cv2.circle(chart, (place, 150 - place % 50 // 5), 2, green, -1, cv2.LINE_AA)
        drawn.append(chart)
    chart = page.copy()
    for k, y in enumerate((70, 130)):
        _draw(chart, x, np.full(len(x), y), (0, 0, 0), 2)
        for place in x[8::24].tolist():
            cv2.circle(chart, (place, y), 5, (255, 255, 255) if k else (0, 0, 0), -1)
            cv2.circle(chart, (place, y), 5, (0, 0, 0), 1, cv2.LINE_AA)
    return [*drawn, chart]


def _draw(
    chart: NDArray[np.uint8],
    x: NDArray[np.integer[Any]],
    y: NDArray[np.floating[Any]],
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    cv2.polylines(chart, [np.stack([x, y], axis=1).astype(np.int32)], False, colour, thickness, cv2.LINE_AA)
