"""Pixels of a line as runs in raster order: small, exact, quick to draw.

Runs are `(m, 2) int32`: the first flat index `y · width + x` of each run, and its length ≥ 1; ascending,
without overlap, never across the end of a row.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.compiling import compiled

Size = tuple[int, int]
Runs = NDArray[np.int32]

_SMALLER, _THIN, _LARGER = 1 / 3, 0.45, 1 / 2
"""Shares of a pixel from which it belongs to ink that was made smaller or larger; the first is at most `_THIN` times
the scale, so that lines of one pixel stay whole."""


def encode(mask: NDArray[np.bool_]) -> Runs:
    """The runs of a mask `(h, w)`."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 1), dtype=np.int8)
    padded[:, :-1] = mask
    steps = np.diff(padded.ravel(), prepend=0)
    starts, ends = np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)
    # Each row of the padded mask is one longer.
    return np.stack([starts - starts // padded.shape[1], ends - starts], axis=1).astype(np.int32)


def runs_of_pixels(pixels: NDArray[np.int64], width: int) -> Runs:
    """The runs of flat indices `(n,)`, ascending, in a picture of that width."""
    new = (np.diff(pixels, prepend=-2) > 1) | (pixels % width == 0)
    starts = np.flatnonzero(new)
    return np.stack([pixels[starts], np.diff(np.append(starts, len(pixels)))], axis=1).astype(np.int32)


def decode(runs: Runs, size: Size) -> NDArray[np.bool_]:
    """The mask `(h, w)` of runs."""
    mask = np.zeros(size, dtype=np.bool_)
    _fill(runs, mask.reshape(-1))
    return mask


def pixels_of(runs: Runs) -> NDArray[np.int64]:
    """All flat indices, ascending."""
    lengths = runs[:, 1].astype(np.int64)
    before = np.cumsum(lengths) - lengths
    return np.repeat(runs[:, 0] - before, lengths) + np.arange(lengths.sum())


def warp(runs: Runs, size: Size, matrix: NDArray[np.float64], new_size: Size) -> Runs:
    """Ink at its new place after an affine map of pixel coordinates.

    Flips, quarter turns and whole-pixel shifts are exact. Otherwise the ink's share of each new pixel is
    found by averaging; from a half on (made larger) or a third or less (made smaller) it is ink.

    Args:
        runs: Ink in a picture of `size`.
        size: `(height, width)`.
        matrix: `(2, 3)`, maps (x, y) to (x, y) in the new picture.
        new_size: `(height, width)` of the new picture; what leaves it is cut off.
    """
    if not len(runs):
        return runs
    linear = matrix[:, :2]
    whole = (matrix == np.rint(matrix)).all()
    if whole and (np.abs(linear).sum(axis=0) == 1).all() and (np.abs(linear).sum(axis=1) == 1).all():
        return _moved(runs, size[1], matrix, new_size)
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    return _resampled(runs, size, matrix, new_size, scale)


def _moved(runs: Runs, width: int, matrix: NDArray[np.float64], new_size: Size) -> Runs:
    """By whole pixels: run by run where rows stay level, else pixel by pixel."""
    whole = np.rint(matrix).astype(np.int64)
    height, new_width = new_size
    if whole[0, 1] == 0:
        y, first = np.divmod(runs[:, 0].astype(np.int64), width)
        last = first + runs[:, 1] - 1
        a, b = whole[0, 0] * first + whole[0, 2], whole[0, 0] * last + whole[0, 2]
        left, right = np.maximum(np.minimum(a, b), 0), np.minimum(np.maximum(a, b), new_width - 1)
        row = whole[1, 1] * y + whole[1, 2]
        kept = (left <= right) & (row >= 0) & (row < height)
        starts, lengths = (row * new_width + left)[kept], (right - left + 1)[kept]
        order = np.argsort(starts)
        return np.stack([starts[order], lengths[order]], axis=1).astype(np.int32)
    y, x = np.divmod(pixels_of(runs), width)
    new_x, new_y = whole[0, 1] * y + whole[0, 2], whole[1, 0] * x + whole[1, 2]
    inside = (new_x >= 0) & (new_x < new_width) & (new_y >= 0) & (new_y < height)
    mask = np.zeros(new_size, dtype=np.bool_)
    mask[new_y[inside], new_x[inside]] = True
    return encode(mask)


def _resampled(runs: Runs, size: Size, matrix: NDArray[np.float64], new_size: Size, scale: float) -> Runs:
    """Only what comes to lie in the new picture is worked on."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    height, width = new_size
    corners = np.array([[-1, -1], [width, -1], [-1, height], [width, height]])
    seen = corners @ inverse[:, :2].T + inverse[:, 2]
    x0, y0 = np.clip(np.floor(seen.min(axis=0)) - 2, 0, size[::-1]).astype(int)
    x1, y1 = np.clip(np.ceil(seen.max(axis=0)) + 3, 0, size[::-1]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return np.empty((0, 2), dtype=np.int32)
    window = _moved(runs, size[1], np.array([[1.0, 0, -x0], [0, 1, -y0]]), (y1 - y0, x1 - x0))
    if not len(window):
        return window
    ink = decode(window, (y1 - y0, x1 - x0)).astype(np.uint8) * 255
    local = matrix.copy()
    local[:, 2] += matrix[:, :2] @ (x0, y0)
    if scale >= 1:
        moved = cv2.warpAffine(ink, local, (width, height), flags=cv2.INTER_LINEAR)
        return encode(np.asarray(moved) >= 255 * _LARGER)
    # A finer grid, then the mean of its pixels: edges stay edges.
    finer = int(np.ceil(2 / scale))
    fine = np.array([[finer, 0, 0.5 * finer - 0.5], [0, finer, 0.5 * finer - 0.5]])
    fine_map = np.hstack([fine[:, :2] @ local[:, :2], (fine[:, :2] @ local[:, 2] + fine[:, 2])[:, None]])
    large = cv2.warpAffine(ink, fine_map, (width * finer, height * finer), flags=cv2.INTER_NEAREST)
    share = cv2.resize(np.asarray(large), (width, height), interpolation=cv2.INTER_AREA)
    return encode(np.asarray(share) >= 255 * min(_SMALLER, _THIN * scale))


@compiled
def _fill(runs: NDArray[np.int32], flat: NDArray[np.bool_]) -> None:
    for k in range(len(runs)):
        for at in range(runs[k, 0], runs[k, 0] + runs[k, 1]):
            flat[at] = True
