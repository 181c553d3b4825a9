"""Loss of a yes-or-no map (line or not, crossing or not): weighted cross entropy and Dice, for what is rare."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_map_loss(logits: Tensor, truth: Tensor, mask: Tensor, *, largest_weight: float = 10.0) -> Tensor:
    """Binary cross entropy plus Dice loss, each per image, then the mean of the images.

    Per image, with n₊ true pixels and n₋ others inside the mask, true pixels weigh `sqrt(n₋ / n₊)`
    times the others, within [1, largest_weight]: full balance would make every halo of a line
    foreground, none would leave thin lines to the end of the training. Dice (Milletari et al. 2016,
    arXiv:1606.04797, with plain sums below the fraction) does not see the true negatives at all; one
    pixel is added to both sums, so that an image without true pixels has a loss and a gradient.

    Computed in float32 for half precision, also inside autocast. Images with an empty mask cost 0.

    Args:
        logits: `(B, H, W)`.
        truth: `(B, H, W)` bool.
        mask: `(B, H, W)` bool, True where the truth is known.
        largest_weight: Limit of the weight of true pixels, at least 1.
    """
    with torch.autocast(logits.device.type, enabled=False):
        x = (logits if logits.dtype == torch.float64 else logits.float()).flatten(1)
        known = mask.flatten(1)
        positive = truth.flatten(1) & known
        return (_cross_entropy(x, positive, known, largest_weight) + _dice(x, positive, known)).mean()


def _cross_entropy(x: Tensor, positive: Tensor, known: Tensor, largest_weight: float) -> Tensor:
    count = known.sum(dim=1).to(x.dtype)
    lines = positive.sum(dim=1).to(x.dtype)
    weight = ((count - lines) / lines.clamp(min=1)).sqrt().clamp(1, largest_weight)
    cost = F.binary_cross_entropy_with_logits(x, positive.to(x.dtype), reduction="none")
    each = torch.where(positive, weight[:, None], known.to(x.dtype))
    return (cost * each).sum(dim=1) / each.sum(dim=1).clamp(min=1)


def _dice(x: Tensor, positive: Tensor, known: Tensor) -> Tensor:
    probability = x.sigmoid() * known
    common = (probability * positive).sum(dim=1)
    total = probability.sum(dim=1) + positive.sum(dim=1)
    return 1 - (2 * common + 1) / (total + 1)
