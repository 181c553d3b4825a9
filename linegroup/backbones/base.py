"""What every backbone promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Features for every pixel: any size in, the same size out.

    Attributes:
        channels: F, number of features per pixel.
        multiple: Where pooling cells begin: at multiples of so many pixels.
        reach: A pixel's features depend on nothing further away than so many pixels along x or y.
    """

    channels: int
    multiple: int
    reach: int

    @abstractmethod
    def forward(self, image: Tensor, inside: Tensor | None = None) -> Tensor:
        """Features `(B, F, H, W)`, those of pixel (x, y) at (x, y).

        Args:
            image: `(B, 3, H, W)` in [0, 1], H and W at least 1.
            inside: `(B, H, W)` bool, False where the batch is padded; None: nothing is padded. What
                stands in the padding changes nothing for the pixels inside, nor any statistics.
        """

    def features_at(self, image: Tensor, where: NDArray[np.bool_]) -> Tensor:
        """Features `(N, F)` of some pixels, row by row: those of `forward`, up to rounding.

        Args:
            image: `(1, 3, H, W)` in [0, 1]; none of it is padding.
            where: `(H, W)`, at least one pixel.
        """
        features: Tensor = self(image)[0].permute(1, 2, 0)
        return features[torch.from_numpy(where).to(features.device)]
