"""Exact truth: every line of a chart drawn alone, in black on white, by the program that drew the chart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Coverage = NDArray[np.float32]

LEAST_PIXELS = 15  # A line with fewer is left out: hidden, or outside of the axes.
SHIFTS = [(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)]


@dataclass(frozen=True)
class Drawing:
    """A chart and its truth."""

    picture: Picture  # (H, W, 3), BGR
    coverages: list[Coverage]  # (H, W) for each line: the share of a pixel that its ink covers, 0..1
    line_width: float  # Pixels of the picture.
    renderer: str = ""  # Where the program has several.

    def masks(self) -> list[NDArray[np.bool_]]:
        """`(H, W)` for each line: pixels that it covers by a third, of hair lines by a third of what they cover."""
        # The small number decides for ties alike, however the shares were rounded.
        least = (1 / 3 if self.line_width >= 1 else max(0.12, self.line_width / 3)) + 5e-4
        return [coverage >= least for coverage in self.coverages]


def decode(data: bytes) -> Picture:
    """The picture in a PNG file, on white, `(H, W, 3) uint8` in BGR."""
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    elif image.shape[2] == 4:
        alpha = image[..., 3:].astype(float) / 255
        image = (image[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return image  # type: ignore[no-any-return]


def coverage(data: bytes) -> Coverage:
    """Of a line drawn alone in black on white: how dark each pixel of this PNG file is."""
    shares: Coverage = 1 - decode(data).astype(np.float32).mean(2) / 255
    return shares


def misplaced(drawing: Drawing) -> list[int]:
    """Lines whose truth is not where the picture has them.

    A program may lay out the axes anew when it draws a line alone. The ink of a line has one colour: where its
    core, moved by up to three pixels, lies on the picture more evenly than in place, the truth is wrong; so it
    is where it lies on many colours or on the background.
    """
    picture = drawing.picture.astype(np.float32)
    overlap = np.sum([share > 0.2 for share in drawing.coverages], axis=0)
    background = np.median(picture.reshape(-1, 3), axis=0)
    wrong = []
    for number, share in enumerate(drawing.coverages):
        ys, xs = _core(share, overlap)
        if len(ys) and _is_misplaced(picture, ys, xs, background):
            wrong.append(number)
    return wrong


def _core(share: Coverage, overlap: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels (ys, xs) of one line's darkest ink, away from other lines and the border; none where there are few."""
    inked = share[share > 0.1]
    least = max(0.05, float(np.quantile(inked, 0.6))) - 1e-3 if len(inked) else 2.0
    inner = np.zeros(share.shape, bool)
    inner[4:-4, 4:-4] = True
    ys, xs = np.nonzero((share >= least) & (overlap <= 1) & inner)
    return (ys, xs) if len(ys) >= LEAST_PIXELS else (ys[:0], xs[:0])


def _is_misplaced(
    picture: Coverage, ys: NDArray[np.intp], xs: NDArray[np.intp], background: NDArray[np.float32]
) -> bool:
    color = np.median(picture[ys, xs], axis=0)
    spread = {(dy, dx): float(np.abs(picture[ys + dy, xs + dx] - color).mean()) for dy, dx in SHIFTS}
    here, best = spread[0, 0], min(spread.values())
    return (best < 0.85 * here and here > 6) or here > 60 or bool(np.abs(color - background).max() < 12)


def as_jpeg(drawing: Drawing, quality: int) -> Drawing:
    """The same chart, saved as JPEG."""
    data = cv2.imencode(".jpg", drawing.picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    damaged: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return replace(drawing, picture=damaged)


def halved(drawing: Drawing) -> Drawing:
    """The same chart in half the size."""
    height, width = (side // 2 for side in drawing.picture.shape[:2])

    def half(array: NDArray[Any]) -> NDArray[Any]:
        return cv2.resize(array[: height * 2, : width * 2], (width, height), interpolation=cv2.INTER_AREA)

    coverages = [half(share) for share in drawing.coverages]
    return replace(drawing, picture=half(drawing.picture), coverages=coverages, line_width=drawing.line_width / 2)
