"""Tiny pictures with known lines, for tests and benchmarks: real PNG bytes, real vectors, same seed same bytes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.sample import Instance, Sample

Colour = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = (
    (214, 39, 40),
    (31, 119, 180),
    (44, 160, 44),
    (148, 103, 189),
    (255, 127, 14),
    (23, 190, 207),
    (140, 86, 75),
    (227, 119, 194),
)
BLACK: Colour = (0, 0, 0)


def draw_polyline(pixels: NDArray[np.uint8], xy: NDArray[np.floating], colour: Colour, thickness: float = 2.0) -> None:
    """Draw an antialiased polyline `(n, 2)` onto `(h, w, 3) uint8`; ink fades over the pixel at its border.

    By distance to the centre line: OpenCV's lines are a fraction of a pixel too wide and beside their place.
    """
    points = np.asarray(xy, dtype=np.float64)
    ends = zip(points, points, strict=True) if len(points) == 1 else itertools.pairwise(points)
    share = np.zeros(pixels.shape[:2])
    for start, end in ends:
        _cover(share, start, end, thickness / 2 + 0.5)
    rows, columns = np.flatnonzero(share.any(axis=1)), np.flatnonzero(share.any(axis=0))
    if not len(rows):
        return
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink = share[box][..., None]
    pixels[box] = np.rint(pixels[box] * (1 - ink) + np.array(colour) * ink)


def _cover(share: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64], reach: float) -> None:
    """Raise `share (h, w)` to what a segment covers of each pixel: 1 inside, falling to 0 at distance `reach`."""
    height, width = share.shape
    left, top = np.maximum(np.ceil(np.minimum(start, end) - reach), 0).astype(int)
    right, bottom = np.minimum(np.floor(np.maximum(start, end) + reach), (width - 1, height - 1)).astype(int) + 1
    if left >= right or top >= bottom:
        return
    x, y = np.arange(left, right) - start[0], (np.arange(top, bottom) - start[1])[:, None]
    dx, dy = end - start
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    box = share[top:bottom, left:right]
    np.maximum(box, np.clip(reach - distance, 0, 1), out=box)


def draw_sample(
    lines: Sequence[NDArray[np.floating]],
    size: tuple[int, int],
    *,
    colours: Sequence[Colour] = COLOURS,
    thickness: float = 2.0,
    background: NDArray[np.uint8] | None = None,
    gaps: float = 0.0,
    sample_id: int = 1,
    tags: tuple[str, ...] = (),
) -> Sample:
    """A sample with one line per polyline `(n, 2)`, and its picture.

    Args:
        lines: The centre lines; the later ones are drawn on top.
        size: `(height, width)`.
        colours: Used in turn.
        thickness: Drawn width in pixels.
        background: `(h, w, 3) uint8` to draw on; default white.
        gaps: Length in pixels of dashes and of the gaps between them; 0 draws solid lines. The truth
            goes through the gaps.
        sample_id: Its number.
        tags: Its tags.
    """
    pixels = np.full((*size, 3), 255, dtype=np.uint8) if background is None else background.copy()
    for k, xy in enumerate(lines):
        for piece in _dashes(xy, gaps) if gaps else [xy]:
            draw_polyline(pixels, piece, colours[k % len(colours)], thickness)
    instances = tuple(
        Instance(k + 1, np.asarray(xy, dtype=np.float32), thickness=thickness, z=k) for k, xy in enumerate(lines)
    )
    return Sample(
        sample_id,
        size,
        instances,
        group=f"group-{sample_id}",
        name=f"{sample_id:06d}.png",
        image=png(pixels),
        tags=tags,
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB pixels as PNG bytes."""
    done, buffer = cv2.imencode(".png", pixels[..., ::-1])
    assert done
    return buffer.tobytes()


def unpng(content: bytes) -> NDArray[np.uint8]:
    """PNG bytes of `png` as RGB pixels `(h, w, 3) uint8`."""
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.ascontiguousarray(pixels[..., ::-1])


def two_crossing_lines(size: tuple[int, int] = (48, 64), *, same_colour: bool = False) -> Sample:
    """An X of two straight lines."""
    h, w = size
    lines = [np.array([[4, 5], [w - 5, h - 6]], dtype=np.float32), np.array([[4, h - 6], [w - 5, 5]], dtype=np.float32)]
    colours = [BLACK] if same_colour else COLOURS
    return draw_sample(lines, size, colours=colours, tags=("crossing", *(("same_color",) if same_colour else ())))


def parallel_lines(
    k: int = 3, gap: float = 12.0, *, width: int = 64, thickness: float = 2.0, same_colour: bool = False
) -> Sample:
    """K level lines, `gap` pixels apart."""
    size = (int(np.ceil(gap * (k + 1))), width)
    lines = [np.array([[4, gap * (i + 1)], [width - 5, gap * (i + 1)]], dtype=np.float32) for i in range(k)]
    return draw_sample(lines, size, colours=[BLACK] if same_colour else COLOURS, thickness=thickness)


def dashed_line(size: tuple[int, int] = (48, 96), *, gaps: float = 6.0) -> Sample:
    """One dashed wave; its truth goes through the gaps."""
    x = np.linspace(4, size[1] - 5, 60)
    y = size[0] / 2 + size[0] / 4 * np.sin(x / 12)
    return draw_sample([np.stack([x, y], axis=1)], size, gaps=gaps, tags=("dashed",))


def random_line(rng: np.random.Generator, size: tuple[int, int], margin: float = 4.0) -> NDArray[np.float32]:
    """A smooth wandering line `(n, 2)` from left to right."""
    h, w = size
    knots = rng.uniform(margin, max(margin + 1, h - 1 - margin), size=4)
    x = np.linspace(margin, max(margin + 1, w - 1 - margin), max(8, w // 4))
    at = np.linspace(x[0], x[-1], len(knots))
    y = np.polynomial.Polynomial.fit(at, knots, 3)(x)
    return np.stack([x, np.clip(y, margin, max(margin + 1, h - 1 - margin))], axis=1).astype(np.float32)


def random_sample(
    seed: int, size: tuple[int, int] = (96, 96), lines: int = 3, *, same_colour: bool = False, thickness: float = 2.0
) -> Sample:
    """Smooth random lines on white."""
    rng = np.random.default_rng([seed, *size, lines])
    tags = ("same_color",) if same_colour else ("distinct_color",)
    paths = [random_line(rng, size) for _ in range(lines)]
    colours = [BLACK] if same_colour else COLOURS
    return draw_sample(paths, size, colours=colours, thickness=thickness, sample_id=seed, tags=tags)


@dataclass(frozen=True)
class RandomSamples:
    """`random_sample`s without end.

    Attributes:
        size: `(height, width)` of each.
        seed: That of the first.
    """

    size: tuple[int, int] = (96, 96)
    seed: int = 0

    @property
    def digest(self) -> str:
        """Names the stream."""
        return f"random samples of {self.size}, seed {self.seed}"

    def read(self, number: int) -> Sample:
        """The sample of a number ≥ 0."""
        return replace(random_sample(self.seed + number, self.size), id=number)


def chart_sample(seed: int, size: tuple[int, int] = (480, 640), lines: int = 6) -> Sample:
    """Random lines in a frame with ticks, grid and text, which are background."""
    h, w = size
    left, top, right, bottom = round(w * 0.1), round(h * 0.06), round(w * 0.96), round(h * 0.88)
    page = np.full((h, w, 3), 255, dtype=np.uint8)
    for i in range(6):
        x, y = left + (right - left) * i // 5, top + (bottom - top) * i // 5
        cv2.line(page, (x, top), (x, bottom), (225, 225, 225), 1)
        cv2.line(page, (left, y), (right, y), (225, 225, 225), 1)
        cv2.putText(page, f"{i * 20}", (x - 8, bottom + h // 25), cv2.FONT_HERSHEY_SIMPLEX, h / 1200, BLACK, 1)
        cv2.putText(page, f"{100 - i * 20}", (left // 3, y + 4), cv2.FONT_HERSHEY_SIMPLEX, h / 1200, BLACK, 1)
    cv2.rectangle(page, (left, top), (right, bottom), (60, 60, 60), 1)
    rng = np.random.default_rng([seed, *size, lines])
    paths = [np.add(random_line(rng, (bottom - top, right - left)), (left, top)) for _ in range(lines)]
    return draw_sample(paths, size, background=page, sample_id=seed, tags=("chart",))


def _dashes(xy: NDArray[np.floating], each: float) -> list[NDArray[np.floating]]:
    """The polyline cut into pieces of `each` pixels, every second one kept."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    pieces = []
    for start in np.arange(0.0, along[-1], 2 * each):
        at = np.linspace(start, min(start + each, along[-1]), 8)
        pieces.append(np.stack([np.interp(at, along, xy[:, 0]), np.interp(at, along, xy[:, 1])], axis=1))
    return pieces
