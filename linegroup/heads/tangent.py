"""Tangent head: the direction of the line at each of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from linegroup.config import LossConfig, ModelConfig
from linegroup.heads.base import Head
from linegroup.losses.tangent import tangent_loss


class TangentHead(Head):
    """A 1×1 convolution to (cos 2θ, sin 2θ), trained where a pixel is on exactly one line."""

    needs: ClassVar[frozenset[str]] = frozenset({"angle"})

    def __init__(self, channels: int, model: ModelConfig, loss: LossConfig) -> None:
        super().__init__(channels, model, loss)
        self.conv = nn.Conv2d(channels, 2, 1)
        nn.init.normal_(self.conv.weight, std=0.1 * channels**-0.5)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Vectors `(B, 2, H, W)`."""
        vectors: Tensor = self.conv(features)
        return vectors

    def loss(self, prediction: Tensor, targets: Mapping[str, Tensor], inside: Tensor | None) -> dict[str, Tensor]:
        """One term, `tangent`."""
        angle = targets["angle"]
        known = angle >= 0 if inside is None else (angle >= 0) & inside
        return {"tangent": tangent_loss(prediction, angle, known)}

    def decode(self, prediction: Tensor) -> dict[str, Tensor]:
        """`tangent (B, 2, H, W)`."""
        return {"tangent": prediction.float()}
