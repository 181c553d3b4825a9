"""Loss of a map of directions."""

from __future__ import annotations

import torch
from torch import Tensor


def tangent_loss(prediction: Tensor, angle: Tensor, mask: Tensor) -> Tensor:
    """Squared distance of predicted vectors from (cos 2θ, sin 2θ): mean over an image's pixels, then over images.

    Twice the angle, because a line has a direction and no sense: θ and θ + π are one (the double-angle
    representation, Granlund 1978). The best answer where a pixel may be of either of two directions is a
    shorter vector, so its length says how sure the direction is.

    Computed in float32 for half precision, also inside autocast. Images with an empty mask cost 0.

    Args:
        prediction: `(B, 2, H, W)`.
        angle: `(B, H, W)`, θ in radians.
        mask: `(B, H, W)` bool, where the angle is known.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        vectors = prediction if prediction.dtype == torch.float64 else prediction.float()
        wanted = torch.stack([torch.cos(2 * angle), torch.sin(2 * angle)], dim=1).to(vectors.dtype)
        error = (vectors - wanted).square().sum(dim=1) * mask
        return (error.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)).mean()
