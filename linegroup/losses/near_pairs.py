"""Contrast of pixels that lie near each other, which is where groups are mistaken for each other."""

from __future__ import annotations

import torch
from torch import Tensor

RADII = (3, 5, 8, 13, 21, 34)
"""Distances in pixels of the pairs, about a golden ratio apart."""

OFFSETS: tuple[tuple[int, int], ...] = tuple(
    (round(radius * x), round(radius * y)) for radius in RADII for x, y in ((1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7))
)
"""(dx, dy) from a pixel to its partners: four directions, for a pair has no order."""


def near_pairs_loss(
    features: Tensor, ids: Tensor, index: Tensor, size: tuple[int, int, int], *, delta_v: float, delta_d: float
) -> Tensor:
    """Mean cost of pairs of pixels at the distances `RADII`, those of one line and those of two on equal terms.

    A pair of one line costs `max(0, d - 2 delta_v)²`, a pair of two lines `max(0, 2 (delta_d - delta_v) - d)²`, d
    being the distance of their embeddings: what the discriminative loss at 0 promises of any pair, asked where lines
    are near each other and a network can see both pixels at once (contrastive loss of Hadsell, Chopra and LeCun 2006
    on near pairs). Per image the mean over its pairs of either kind, summed, then the mean of the images; kinds
    that an image lacks cost 0.

    Computed in float32 for half precision, also inside autocast.

    Args:
        features: `(N, D)`, embeddings of the pixels that lie on exactly one line.
        ids: `(N,)`, which line of its image each is on.
        index: `(N,)`, flat places of the pixels in a batch `(B, H, W)`.
        size: `(B, H, W)`.
        delta_v: As in `discriminative_loss`.
        delta_d: Likewise, at least `delta_v`.
    """
    images, height, width = size
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        one, other = _pairs(index, images, height, width)
        apart = torch.linalg.vector_norm(features.index_select(0, one) - features.index_select(0, other), dim=1)
        same = ids.index_select(0, one) == ids.index_select(0, other)
        wide = (apart - 2 * delta_v).clamp(min=0)
        narrow = (2 * (delta_d - delta_v) - apart).clamp(min=0)
        cost = torch.where(same, wide, narrow).square()
        kind = 2 * (index.index_select(0, one) // (height * width)) + same.long()
        sums = cost.new_zeros(2 * images).index_add_(0, kind, cost)
        counts = torch.bincount(kind, minlength=2 * images).clamp(min=1)
        return (sums / counts).sum() / images


def _pairs(index: Tensor, images: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows of `index` of all pairs `(P,)`, `(P,)` that lie an offset apart in one image."""
    row = index.new_full((images * height * width,), -1)
    row[index] = torch.arange(len(index), device=index.device)
    x, y = index % width, index // width % height
    ones, others = [], []
    for dx, dy in OFFSETS:
        inside = ((x + dx >= 0) & (x + dx < width) & (y + dy < height)).nonzero().squeeze(1)
        partner = row.index_select(0, index.index_select(0, inside) + (dy * width + dx))
        there = (partner >= 0).nonzero().squeeze(1)
        ones.append(inside.index_select(0, there))
        others.append(partner.index_select(0, there))
    return torch.cat(ones), torch.cat(others)
