"""Which pixels are grouped at all."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.errors import UserError, unknown_name
from linegroup.grouping.ink import Picture
from linegroup.grouping.strokes import ink_pixels
from linegroup.sample import Field, Maps

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def _model(_picture: Picture, maps: Maps | None, config: GroupingConfig) -> Mask:
    if maps is None:
        raise UserError("candidates 'model' needs a model; without one choose non_background, non_white or canny.")
    if not maps.foreground_known:
        raise UserError(
            "candidates 'model' needs a model with a foreground head, which this one has not; choose non_background, "
            "non_white or canny."
        )
    # Half precision would round the threshold, too.
    return np.asarray(np.asarray(maps.foreground, dtype=np.float32) >= config.foreground_threshold)


def _non_white(picture: Picture, _maps: Maps | None, config: GroupingConfig) -> Mask:
    red, green, blue = cv2.split(picture.pixels)
    return np.asarray(cv2.min(cv2.min(red, green), blue) < config.white_threshold)


def _canny(picture: Picture, _maps: Maps | None, config: GroupingConfig) -> Mask:
    edges = cv2.Canny(
        cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY),
        config.canny_threshold1,
        config.canny_threshold2,
        apertureSize=config.canny_aperture_size,
        L2gradient=config.canny_l2gradient,
    )
    if config.canny_dilate_iter:
        edges = cv2.dilate(edges, np.ones((3, 3), dtype=np.uint8), iterations=config.canny_dilate_iter)
    return np.asarray(edges > 0)


def _all_pixels(picture: Picture, _maps: Maps | None, _config: GroupingConfig) -> Mask:
    return np.ones(picture.pixels.shape[:2], dtype=np.bool_)


def _non_background(picture: Picture, _maps: Maps | None, _config: GroupingConfig) -> Mask:
    return picture.ink


CANDIDATES: dict[str, Callable[[Picture, Maps | None, GroupingConfig], Mask]] = {
    "model": _model,
    "non_background": _non_background,
    "non_white": _non_white,
    "canny": _canny,
    "all_pixels": _all_pixels,
}
"""Methods by name: `(picture, maps or None, config)` to `(h, w) bool`."""


OF_PIXELS = frozenset(CANDIDATES) - {"model"}
"""Methods that ask no model."""

OF_INK = frozenset({"link"})
"""Groupers that follow ink: on a grey page, or with `all_pixels`, most of the picture is none."""

_MOST = 0.5
"""Share of a picture that no ink of lines covers."""


def candidates_of_pixels(picture: Picture, config: GroupingConfig) -> Mask | None:
    """`(h, w)`, the candidates, or None where it takes a model to say which they are.

    Of more than half of the picture those that differ from the page are, for groupers that follow ink.
    """
    if config.candidates not in OF_PIXELS:
        return None
    chosen = CANDIDATES[config.candidates](picture, None, config)
    return chosen & picture.ink if config.method in OF_INK and chosen.mean() > _MOST else chosen


def make_field(pixels: Pixels | Picture, maps: Maps | None, config: GroupingConfig) -> Field:
    """The candidate pixels of a picture, with what is known of them.

    Args:
        pixels: `(h, w, 3) uint8` RGB, or a picture with what is known of its page already.
        maps: What a model says, in any precision; None: features are `(N, 0)`, the foreground is not known.
        config: Chooses the candidates, and what they are for (`OF_INK`).

    Raises:
        UserError: unknown candidate method, or `model` without one that knows the foreground.
    """
    if config.candidates not in CANDIDATES:
        raise unknown_name("candidate method", config.candidates, CANDIDATES)
    picture = pixels if isinstance(pixels, Picture) else Picture(pixels)
    chosen = candidates_of_pixels(picture, config)
    ys, xs = ink_pixels(CANDIDATES[config.candidates](picture, maps, config) if chosen is None else chosen)
    if maps is None:
        features, foreground = np.zeros((len(ys), 0), dtype=np.float32), np.ones(len(ys), dtype=np.float32)
        crossing, tangent = np.zeros(len(ys), dtype=np.float32), np.zeros((len(ys), 2), dtype=np.float32)
    else:
        features, tangent = (
            np.ascontiguousarray(each[:, ys, xs].T, dtype=np.float32) for each in (maps.embedding, maps.tangent)
        )
        foreground, crossing = (np.asarray(each[ys, xs], dtype=np.float32) for each in (maps.foreground, maps.crossing))
    positions = np.stack([xs, ys], axis=1).astype(np.int32)
    return Field(
        positions,
        features,
        foreground,
        picture.colours_at(ys, xs),
        (picture.pixels.shape[0], picture.pixels.shape[1]),
        picture.page,
        crossing,
        tangent,
        foreground_known=maps is not None and maps.foreground_known,
    )
