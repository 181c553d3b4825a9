"""The finest levels of a small U-Net at some pixels only, on a CPU in float32.

The two finest levels of the decoder take almost half of the time; a picture's ink, which is all that is grouped, is
a tenth of its pixels. In other precisions, and on other devices, whole levels take less time than choosing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Barrier
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linegroup.backbones.threads import share, use_torch_threads
from linegroup.compiling import compiled

Mask = NDArray[np.bool_]
Places = NDArray[np.int32]
Rows = NDArray[np.float32]

MOST = (0.2, 0.35)
"""Of a larger share of a level's pixels all are done, at full and at half resolution: beyond, it takes as long."""

_CHUNK = 1024
"""Places whose surroundings are gathered at once: they stay in memory near the processor."""

_REACH = 2
"""Two convolutions of 3×3 see so many pixels to each side."""


@dataclass(frozen=True, eq=False)
class Features:
    """What a level says of its pixels.

    Attributes:
        rows: `(M, F)` float32.
        at: `(h, w)`, the row of each pixel; any where nobody asks.
    """

    rows: Tensor
    at: Places

    @classmethod
    def of(cls, whole: Tensor) -> Features:
        """Of all pixels `(1, F, h, w)`, one after another."""
        height, width = whole.shape[2:]
        at = np.arange(height * width, dtype=np.int32).reshape(height, width)
        return cls(whole.permute(0, 2, 3, 1).reshape(height * width, -1), at)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What two convolutions read for the answers at some pixels.

    Attributes:
        near: Row and column `(n, 2)` of the pixels up to two away from those asked about, row by row.
        middle: Of those up to one away.
        chosen: Of those asked about.
        at_near: `(h + 2, w + 2)`, 0 or from 1 the number of each pixel in `near`, with a margin of none.
        at_middle: In `middle`, likewise.
        at_chosen: In `chosen`, likewise.
    """

    near: Places
    middle: Places
    chosen: Places
    at_near: Places
    at_middle: Places
    at_chosen: Places

    @classmethod
    def of(cls, where: Mask) -> Surroundings:
        """Of the pixels where `where (h, w)`."""
        return cls(*_surroundings(np.ascontiguousarray(where)))

    def below(self) -> Mask:
        """`(h / 2, w / 2)`, rounded up: which pixels of half the resolution are read."""
        height, width = self.at_near.shape[0] - 2, self.at_near.shape[1] - 2
        where = np.zeros((-(-height // 2), -(-width // 2)), dtype=np.bool_)
        where[self.near[:, 0] >> 1, self.near[:, 1] >> 1] = True
        return where


def surroundings(where: Mask) -> list[Surroundings]:
    """What is read at full resolution, at half of it and so on, as far as it is worth choosing; maybe of no level.

    Args:
        where: `(h, w)`, the pixels that are asked about.
    """
    found: list[Surroundings] = []
    for most in MOST:
        share = where.mean()
        if not 0 < share <= most:
            break
        found.append(Surroundings.of(where))
        where = found[-1].below()
    return found


class SparseLevel:
    """A level of the decoder: transposed convolution, skip, and two convolutions with ReLU, as matrices.

    Args:
        up: To this level's resolution, 2×2 with stride 2.
        first: 3×3, of the skip's channels and those that come up, in this order.
        second: 3×3.
    """

    def __init__(self, up: nn.ConvTranspose2d, first: nn.Conv2d, second: nn.Conv2d) -> None:
        self.up = _matrix(up.weight.detach().permute(0, 2, 3, 1).flatten(1), up.bias, times=4)
        self.first, self.second = _matrix_of(first), _matrix_of(second)

    def __call__(self, skip: Features, below: Features, read: Surroundings) -> Features:
        """Features of the pixels chosen, row by row from the second row on; elsewhere 0.

        Args:
            skip: Of at least the pixels that are near.
            below: Of the level below, at least where `read.below()`.
            read: The pixels; what lies beyond them is padding and counts as 0.
        """
        rows = np.zeros((len(read.near) + 1, self.first[0].shape[0] // 9), dtype=np.float32)
        risen = torch.addmm(self.up[1], below.rows, self.up[0])
        taken = skip.rows.numpy(), skip.at, risen.numpy(), below.at
        _spread(lambda some: _begin(read.near[some], *taken, rows[1:][some]), len(read.near))
        middle = _convolved(rows, read.at_near, read.middle, self.first).numpy()
        return Features(_convolved(middle, read.at_middle, read.chosen, self.second), read.at_chosen[1:-1, 1:-1])


def _matrix_of(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    return _matrix(layer.weight.detach().permute(2, 3, 1, 0).flatten(0, 2), layer.bias)


def _matrix(weight: Tensor, bias: Tensor | None, times: int = 1) -> tuple[Tensor, Tensor]:
    return weight.contiguous(), (weight.new_zeros(weight.shape[1]) if bias is None else bias.detach().repeat(times))


def _convolved(rows: Rows, at: Places, places: Places, matrix: tuple[Tensor, Tensor]) -> Tensor:
    """`(n + 1, C)`, a 3×3 convolution and ReLU at places `(n, 2)`; the first row is that of all that is elsewhere, 0.

    Args:
        rows: `(m + 1, B)`, what it sees, likewise.
        at: `(h + 2, w + 2)`, the row of each pixel, with a margin.
        places: Row and column of each.
        matrix: `(9 B, C)` and `(C,)`.
    """
    made = torch.zeros(len(places) + 1, matrix[0].shape[1])
    _spread(lambda some: _convolve(rows, at, places[some], matrix, made[1:][some]), len(places))
    return made


def _convolve(rows: Rows, at: Places, places: Places, matrix: tuple[Tensor, Tensor], made: Tensor) -> None:
    """Write what `_convolved` says of places `(n, 2)` into `made (n, C)`."""
    with torch.inference_mode(made.is_inference()):  # said anew in each thread
        around = torch.empty(_CHUNK, matrix[0].shape[0])
        for start in range(0, len(places), _CHUNK):
            some = places[start : start + _CHUNK]
            _gather(rows, at, some, around.numpy())
            torch.addmm(matrix[1], around[: len(some)], matrix[0], out=made[start : start + len(some)]).relu_()


def _spread(work: Callable[[slice], None], count: int) -> None:
    """Do the work on slices of `count` places, in as many threads as torch uses: each product is too small for two."""
    share()
    threads = torch.get_num_threads()
    if threads == 1:
        work(slice(0, count))
        return
    cuts = np.linspace(0, count, threads + 1).astype(np.int64).tolist()
    list(_pool(os.getpid(), threads).map(work, map(slice, cuts[:-1], cuts[1:])))


@cache
def _pool(_process: int, count: int) -> ThreadPoolExecutor:
    """Threads in each of which torch has one; for a process, as a child has none of its parent's."""
    pool = ThreadPoolExecutor(count, "linegroup", use_torch_threads, (1,))
    started = Barrier(count, timeout=60)
    list(pool.map(lambda _: started.wait(), range(count)))
    torch.set_num_threads(count)  # threads that begin later have as many as was said last
    return pool


@compiled
def _surroundings(where: Mask) -> tuple[Places, Places, Places, Places, Places, Places]:
    """The parts of `Surroundings`, in order."""
    height, width = where.shape
    level = np.zeros((height + 2 * _REACH, width + 2 * _REACH), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            if where[y, x]:
                for dy in range(-_REACH, _REACH + 1):
                    for dx in range(-_REACH, _REACH + 1):
                        value = 1 + _REACH - max(abs(dy), abs(dx))
                        if level[y + _REACH + dy, x + _REACH + dx] < value:
                            level[y + _REACH + dy, x + _REACH + dx] = value
    counts = np.zeros(4, dtype=np.int64)
    for y in range(height):
        for x in range(width):
            counts[level[y + _REACH, x + _REACH]] += 1
    near = np.empty((counts[1] + counts[2] + counts[3], 2), dtype=np.int32)
    middle = np.empty((counts[2] + counts[3], 2), dtype=np.int32)
    chosen = np.empty((counts[3], 2), dtype=np.int32)
    at_near = np.zeros((height + 2, width + 2), dtype=np.int32)
    at_middle = np.zeros((height + 2, width + 2), dtype=np.int32)
    at_chosen = np.zeros((height + 2, width + 2), dtype=np.int32)
    i, j, k = 0, 0, 0
    for y in range(height):
        for x in range(width):
            value = level[y + _REACH, x + _REACH]
            if value >= 1:
                near[i, 0], near[i, 1] = y, x
                i += 1
                at_near[y + 1, x + 1] = i
            if value >= 2:
                middle[j, 0], middle[j, 1] = y, x
                j += 1
                at_middle[y + 1, x + 1] = j
            if value >= 3:
                chosen[k, 0], chosen[k, 1] = y, x
                k += 1
                at_chosen[y + 1, x + 1] = k
    return near, middle, chosen, at_near, at_middle, at_chosen


@compiled
def _begin(places: Places, skip: Rows, at_skip: Places, risen: Rows, at_below: Places, rows: Rows) -> None:
    """Write the channels of the skip and those that come up, `(m, 4 C)` in `risen`, into a row for each place."""
    first, count = skip.shape[1], rows.shape[1] - skip.shape[1]
    for i in range(len(places)):
        y, x = places[i, 0], places[i, 1]
        beside, below = at_skip[y, x], at_below[y >> 1, x >> 1]
        corner = ((y & 1) * 2 + (x & 1)) * count
        for c in range(first):
            rows[i, c] = skip[beside, c]
        for c in range(count):
            rows[i, first + c] = risen[below, corner + c]


@compiled
def _gather(rows: Rows, at: Places, places: Places, around: NDArray[Any]) -> None:
    """Write the rows of the 3×3 pixels around each place one after another."""
    channels = rows.shape[1]
    for i in range(len(places)):
        y, x = places[i, 0], places[i, 1]
        column = 0
        for dy in range(3):
            for dx in range(3):
                row = at[y + dy, x + dx]
                for c in range(channels):
                    around[i, column + c] = rows[row, c]
                column += channels
