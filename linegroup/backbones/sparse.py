"""The last level of a small U-Net at chosen pixels only.

That level works at full resolution and takes a third of a network's time; a picture's ink, which is all that is
grouped, is a tenth of its pixels. On a CPU in float32: elsewhere the whole level takes less time than choosing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linegroup.compiling import compiled

Mask = NDArray[np.bool_]
Places = NDArray[np.int32]
Rows = NDArray[np.float32]

_CHUNK = 512
"""Places whose surroundings are gathered at once: they stay in the processor's nearest memory."""

_REACH = 2
"""Two convolutions of 3×3 see so many pixels to each side."""


class LastLevel:
    """Transposed convolution, skip, and two convolutions with ReLU, as matrices.

    Args:
        up: To full resolution, 2×2 with stride 2.
        first: 3×3, of the skip's channels and those that come up, in this order.
        second: 3×3.
    """

    def __init__(self, up: nn.ConvTranspose2d, first: nn.Conv2d, second: nn.Conv2d) -> None:
        self.up = _matrix(up.weight.detach().permute(0, 2, 3, 1).flatten(1), up.bias, times=4)
        self.first = _matrix(first.weight.detach().permute(2, 3, 1, 0).flatten(0, 2), first.bias)
        self.second = _matrix(second.weight.detach().permute(2, 3, 1, 0).flatten(0, 2), second.bias)

    def __call__(self, skip: Tensor, below: Tensor, where: Mask) -> Tensor:
        """Features `(N, F)` of the pixels where `where (h, w)`, row by row.

        Args:
            skip: `(1, F, H, W)` float32, H ≥ h and W ≥ w; what lies beyond h or w is padding and counts as 0.
            below: `(1, G, H / 2, W / 2)` float32, of the level below.
            where: At least one.
        """
        near, middle, chosen, at, at_middle = _surroundings(np.ascontiguousarray(where))
        rows = np.zeros((len(near) + 1, self.first[0].shape[0] // 9), dtype=np.float32)
        grid = below.permute(0, 2, 3, 1)[0]
        risen = torch.addmm(self.up[1], grid.reshape(-1, grid.shape[-1]), self.up[0]).view(*grid.shape[:2], -1)
        _begin(near, np.ascontiguousarray(skip.permute(0, 2, 3, 1)[0].numpy()), risen.numpy(), rows)
        return _convolved(_convolved(rows, at, middle, self.first).numpy(), at_middle, chosen, self.second)[1:]


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
    around = torch.empty(_CHUNK, matrix[0].shape[0])
    for start in range(0, len(places), _CHUNK):
        some = places[start : start + _CHUNK]
        _gather(rows, at, some, around.numpy())
        torch.addmm(matrix[1], around[: len(some)], matrix[0], out=made[start + 1 : start + 1 + len(some)])
    return made.relu_()


@compiled
def _surroundings(where: Mask) -> tuple[Places, Places, Places, Places, Places]:
    """The pixels two around the chosen ones, those one around, and they themselves, row by row; rows of the first two.

    Returns:
        Rows and columns `(n, 2)` of each of the three; `(h + 2, w + 2)`, 0 or from 1 the number of each pixel, with a
        margin of none, for the first and the second.
    """
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
    at = np.zeros((height + 2, width + 2), dtype=np.int32)
    at_middle = np.zeros((height + 2, width + 2), dtype=np.int32)
    i, j, k = 0, 0, 0
    for y in range(height):
        for x in range(width):
            value = level[y + _REACH, x + _REACH]
            if value >= 1:
                near[i, 0], near[i, 1] = y, x
                i += 1
                at[y + 1, x + 1] = i
            if value >= 2:
                middle[j, 0], middle[j, 1] = y, x
                j += 1
                at_middle[y + 1, x + 1] = j
            if value >= 3:
                chosen[k, 0], chosen[k, 1] = y, x
                k += 1
    return near, middle, chosen, at, at_middle


@compiled
def _begin(places: Places, skip: NDArray[Any], risen: NDArray[Any], rows: Rows) -> None:
    """Write the channels of the skip `(H, W, F)` and those that come up `(H / 2, W / 2, 4 C)` into rows from 1 on."""
    first, count = skip.shape[2], rows.shape[1] - skip.shape[2]
    for i in range(len(places)):
        y, x = places[i, 0], places[i, 1]
        corner = ((y & 1) * 2 + (x & 1)) * count
        for c in range(first):
            rows[i + 1, c] = skip[y, x, c]
        for c in range(count):
            rows[i + 1, first + c] = risen[y >> 1, x >> 1, corner + c]


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
