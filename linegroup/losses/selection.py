"""From dense maps to the few pixels that a loss is about."""

from __future__ import annotations

import torch
from torch import Tensor


def select_pixels(dense: Tensor, index: Tensor) -> Tensor:
    """Features `(N, C)` of the pixels at the flat positions `index (N,)` in `(B, H, W)`, from `(B, C, H, W)`.

    Without a copy of the whole map, whichever of the two memory formats it has.
    """
    if dense.is_contiguous(memory_format=torch.channels_last):
        return dense.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index)
    pixels = dense.shape[2] * dense.shape[3]
    return dense.flatten(2)[index // pixels, :, index % pixels]
