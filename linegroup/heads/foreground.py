"""Foreground head: is a pixel on a line at all?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from linegroup.config import LossConfig, ModelConfig
from linegroup.heads.base import Head
from linegroup.losses.foreground import foreground_loss

START = -2.0
"""First logit: lines are rare (probability 0.12), so the first steps need not learn that."""


class ForegroundHead(Head):
    """A 1×1 convolution to the logit of being on a line."""

    needs: ClassVar[frozenset[str]] = frozenset({"foreground", "certain"})

    def __init__(self, channels: int, model: ModelConfig, loss: LossConfig) -> None:
        super().__init__(channels, model, loss)
        self.conv = nn.Conv2d(channels, 1, 1)
        nn.init.normal_(self.conv.weight, std=0.1 * channels**-0.5)
        assert self.conv.bias is not None
        nn.init.constant_(self.conv.bias, START)

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(B, 1, H, W)`."""
        logits: Tensor = self.conv(features)
        return logits

    def loss(self, prediction: Tensor, targets: Mapping[str, Tensor], inside: Tensor | None) -> dict[str, Tensor]:
        """Term `foreground`, over the pixels inside whose truth is `certain`."""
        known = targets["certain"] if inside is None else targets["certain"] & inside
        return {"foreground": foreground_loss(prediction[:, 0], targets["foreground"], known)}

    def decode(self, prediction: Tensor) -> dict[str, Tensor]:
        """`foreground (B, H, W)` in [0, 1]."""
        return {"foreground": prediction[:, 0].float().sigmoid()}
