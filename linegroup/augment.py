"""Random changes of a training sample: vectors and picture together, masks are drawn afterwards."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.config import AugmentConfig
from linegroup.geometry import Affine, Size, apply_dihedral, crop_at, dihedral, scale_to, transform
from linegroup.sample import Sample

Pixels = NDArray[np.uint8]

_HUE = np.pi / 6
"""Largest turn of the hue, in radians: with the swapped channels, colours come from all around the circle."""

_ON_A_LINE = 0.8
"""Share of crops that are placed around a point of a line: most of a chart is empty."""


def augment(sample: Sample, pixels: Pixels, config: AugmentConfig, rng: np.random.Generator) -> tuple[Sample, Pixels]:
    """One random variant of a sample.

    Order: crop (sized so that the zoom ends at `config.crop`), zoom, flip and quarter turns, then colour,
    blur, noise and JPEG. A picture smaller than the crop stays smaller, or with `config.fill` is set somewhere on a
    page as large as the crop. Truth moves along exactly; thickness scales.

    Args:
        sample: The vectors; its `size` is that of `pixels`.
        pixels: `(h, w, 3) uint8` RGB.
        config: Probabilities and ranges.
        rng: All randomness; the same state gives the same result.

    Returns:
        The changed sample (without encoded image) and its picture.
    """
    if not config.enabled:
        return sample, pixels
    index = _draw_dihedral(config, rng)
    zoom = float(np.exp(rng.uniform(*np.log(config.scale))))
    window, size = _draw_window(sample, config, zoom, turned=bool(index & 1), rng=rng)
    x, y, (height, width) = window
    cut = crop_at(x, y, (height, width))
    affine = cut.then(scale_to((height, width), size)).then(dihedral(index, size))
    pixels = _resize(pixels[y : y + height, x : x + width], size)
    pixels = apply_dihedral(index, pixels)
    if config.fill and config.crop:
        page, pixels = _set_on_page(pixels, config.crop, rng)
        affine = affine.then(page)
    return transform(sample, affine), _change_pixels(pixels, config, rng)


def _draw_dihedral(config: AugmentConfig, rng: np.random.Generator) -> int:
    flip = 4 if rng.random() < config.flip else 0
    turns = int(rng.integers(1, 4)) if rng.random() < config.rotate90 else 0
    return flip | turns


def _draw_window(
    sample: Sample, config: AugmentConfig, zoom: float, *, turned: bool, rng: np.random.Generator
) -> tuple[tuple[int, int, Size], Size]:
    """Where to cut `(x, y, (h, w))`, and the size that the cut is zoomed to (before turning)."""
    height, width = sample.size
    crop = config.crop or (max(1, round(height * zoom)), max(1, round(width * zoom)))
    wanted = (crop[1], crop[0]) if turned and config.crop else crop
    cut, size = zip(*(_cut_side(w, whole, zoom) for w, whole in zip(wanted, sample.size, strict=True)), strict=True)
    x, y = _draw_corner(sample, cut, rng)
    return (x, y, cut), size


def _cut_side(wanted: int, whole: int, zoom: float) -> tuple[int, int]:
    """Pixels to cut from a side of `whole`, and pixels they become: `wanted`, or fewer where there are too few."""
    cut = max(1, round(wanted / zoom))
    return (cut, wanted) if cut <= whole else (whole, min(wanted, max(1, round(whole * zoom))))


def _set_on_page(pixels: Pixels, size: Size, rng: np.random.Generator) -> tuple[Affine, Pixels]:
    """The picture somewhere on a page of `size`, no smaller than it, of the usual colour of its border."""
    height, width = pixels.shape[:2]
    top, left = (int(n) for n in rng.integers(0, [size[0] - height + 1, size[1] - width + 1]))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    page = np.empty((*size, 3), dtype=np.uint8)
    page[:] = np.median(border, axis=0)
    page[top : top + height, left : left + width] = pixels
    return crop_at(-left, -top, size), page


def _draw_corner(sample: Sample, cut: Size, rng: np.random.Generator) -> tuple[int, int]:
    room = (sample.size[1] - cut[1], sample.size[0] - cut[0])  # x, y
    corner = rng.integers(0, [room[0] + 1, room[1] + 1])
    if sample.instances and rng.random() < _ON_A_LINE:
        point = _draw_point(sample.instances[int(rng.integers(len(sample.instances)))].xy, rng)
        within = rng.uniform(0.2, 0.8, size=2) * (cut[1], cut[0])
        if (point >= -0.5).all() and (point < np.array(sample.size[::-1]) - 0.5).all():
            corner = np.clip(np.rint(point - within), 0, room).astype(np.int64)
    return int(corner[0]), int(corner[1])


def _draw_point(xy: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
    """A point `(2,)` of a line, everywhere equally likely: straight lines have few vertices, all at their ends."""
    points = xy.astype(np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = rng.uniform(0, along[-1])
    return np.array([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])])


def _resize(pixels: Pixels, size: Size) -> Pixels:
    if pixels.shape[:2] == size:
        return pixels
    shrinks = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=method), dtype=np.uint8)


def _change_pixels(pixels: Pixels, config: AugmentConfig, rng: np.random.Generator) -> Pixels:
    steps: list[tuple[float, Callable[[Pixels], Pixels]]] = [
        (config.colour, lambda p: _jitter_colour(p, rng)),
        (config.grey, lambda p: np.repeat(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)),
        (config.blur, lambda p: np.asarray(cv2.GaussianBlur(p, (0, 0), rng.uniform(0.3, 1.2)))),
        (config.noise, lambda p: _add_noise(p, rng)),
        (config.jpeg, lambda p: _through_jpeg(p, config.jpeg_quality, rng)),
    ]
    for probability, change in steps:
        if rng.random() < probability:
            pixels = change(pixels)
    return pixels


def _jitter_colour(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Contrast, brightness, saturation and hue changed, channels swapped: one affine map of RGB; grey stays grey."""
    contrast, saturation = rng.uniform(0.7, 1.3, size=2)
    brightness = rng.uniform(-25, 25)
    luma = np.array([0.299, 0.587, 0.114])
    mix = _turn_hue(rng.uniform(-_HUE, _HUE)) @ (saturation * np.eye(3) + (1 - saturation) * luma[None, :])
    mix = contrast * mix[rng.permutation(3)]
    shift = brightness + 255 * (1 - contrast)  # scaled about white, which most pages are
    changed = cv2.transform(pixels, np.concatenate([mix, np.full((3, 1), shift)], axis=1).astype(np.float32))
    return np.asarray(changed, dtype=np.uint8)


def _turn_hue(angle: float) -> NDArray[np.float64]:
    """Rotation `(3, 3)` of RGB about its grey axis by `angle` radians (Rodrigues' formula)."""
    across = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn: NDArray[np.float64] = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) / 3 + np.sin(angle) * across
    return turn


def _add_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(2, 12))
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def _through_jpeg(pixels: Pixels, quality: tuple[int, int], rng: np.random.Generator) -> Pixels:
    level = int(rng.integers(quality[0], quality[1] + 1))
    # OpenCV's order is BGR, and JPEG keeps its colours by their names: green sharp, blue coarse.
    done, buffer = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, level])
    assert done
    decoded = np.asarray(cv2.imdecode(buffer, cv2.IMREAD_COLOR))
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
