"""Discriminative loss of De Brabandere, Neven and Van Gool 2017 (arXiv:1708.02551), equations 1 to 4."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class DiscriminativeTerms(NamedTuple):
    """The three terms, unweighted scalars.

    Attributes:
        variance: Pulls the pixels of a line to their mean, down to a distance of `delta_v`.
        distance: Pushes the means of one image's lines apart, up to a distance of `2 * delta_d`.
        regularization: Keeps the means near the origin.
    """

    variance: Tensor
    distance: Tensor
    regularization: Tensor


class _Lines(NamedTuple):
    """Lines found in the pixels, in a table of `images` rows with room for K lines each.

    K is the largest number of lines in one image; the unused places of a row have no pixels.
    """

    place: Tensor  # (N,) which place of the flattened table a pixel belongs to
    pixels: Tensor  # (images, K) number of pixels
    present: Tensor  # (images, K) bool


def discriminative_loss(
    features: Tensor, ids: Tensor, image: Tensor, images: int, *, delta_v: float, delta_d: float
) -> DiscriminativeTerms:
    """The three terms for pixels in any order.

    Each term is a mean over an image's lines (or pairs of its lines), then over all `images`: an image
    without lines counts as 0, so that averages over equal parts of a batch equal the whole batch.
    Memory is linear in N, besides one distance for each pair of lines within an image.

    Half precision is computed in float32, also inside autocast; float64 stays. Gradients are finite
    everywhere: where a distance is 0, its gradient is taken as 0. On the CPU the result does not
    depend on the number of threads or on earlier runs.

    Args:
        features: `(N, D)`, the embedding of each pixel that lies on exactly one line.
        ids: `(N,)` integers, which line it is; any numbers, compared within one image only.
        image: `(N,)` integers in [0, images), which image it is in.
        images: Number of images, at least 1, those without pixels included.
        delta_v: Distance from its mean at which a pixel costs nothing.
        delta_d: Half the distance of two means at which they cost nothing.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        image = image.long()
        lines = _find_lines(ids, image, images)
        means = _means(features, lines)  # (images, K, D)
        return DiscriminativeTerms(
            _variance(features, means, lines, delta_v),
            _distance(means, lines.present, delta_d),
            _regularization(means, lines.present),
        )


def _find_lines(ids: Tensor, image: Tensor, images: int) -> _Lines:
    values, value = torch.unique(ids, return_inverse=True)
    key = image * len(values) + value
    used = torch.bincount(key, minlength=images * len(values)).view(images, len(values)) > 0
    # Numbers that occur in other images only take no room in an image's row.
    rank = used.cumsum(dim=1) - 1
    count = int(used.sum(dim=1).max()) if len(values) else 0
    place = image * count + rank.view(-1)[key]
    pixels = torch.bincount(place, minlength=images * count).view(images, count)
    return _Lines(place, pixels, pixels > 0)


def _means(features: Tensor, lines: _Lines) -> Tensor:
    images, count = lines.pixels.shape
    sums = features.new_zeros(images * count, features.shape[1]).index_add_(0, lines.place, features)
    return sums.view(images, count, features.shape[1]) / lines.pixels.clamp(min=1)[..., None]


def _variance(features: Tensor, means: Tensor, lines: _Lines, delta_v: float) -> Tensor:
    away = features - means.flatten(0, 1).index_select(0, lines.place)
    # vector_norm's gradient at 0 is 0, unlike that of a square root of squares.
    cost = (torch.linalg.vector_norm(away, dim=1) - delta_v).clamp(min=0).square()
    # Mean over a line's pixels, its image's lines and the images, all as one weight per pixel.
    in_image = lines.present.sum(dim=1, dtype=features.dtype).clamp(min=1)
    weight = 1 / (lines.pixels.clamp(min=1) * in_image[:, None] * len(lines.pixels))
    return torch.dot(cost, weight.view(-1).index_select(0, lines.place))


def _distance(means: Tensor, present: Tensor, delta_d: float) -> Tensor:
    # Without the matrix product trick, which is inexact for means that nearly coincide.
    apart = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")  # (images, K, K)
    pair = (present[:, :, None] & present[:, None, :]).triu(diagonal=1)
    cost = (2 * delta_d - apart).clamp(min=0).square() * pair
    return _mean_of_images(cost.sum(dim=(1, 2)), pair.sum(dim=(1, 2)))


def _regularization(means: Tensor, present: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(means, dim=2) * present
    return _mean_of_images(size.sum(dim=1), present.sum(dim=1))


def _mean_of_images(sums: Tensor, counts: Tensor) -> Tensor:
    return (sums / counts.clamp(min=1)).mean()
