"""Heads that answer yes or no at every pixel: on a line at all? in a crossing of lines?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from linegroup.config import LossConfig, ModelConfig
from linegroup.heads.base import Head
from linegroup.losses.binary_map import binary_map_loss


class BinaryMapHead(Head):
    """A 1×1 convolution to a logit.

    Attributes:
        name: Of the target, the loss term and the map.
        start: First logit: what is looked for is rare, so the first steps need not learn that.
    """

    name: ClassVar[str]
    start: ClassVar[float]

    def __init__(self, channels: int, model: ModelConfig, loss: LossConfig) -> None:
        super().__init__(channels, model, loss)
        self.conv = nn.Conv2d(channels, 1, 1)
        nn.init.normal_(self.conv.weight, std=0.1 * channels**-0.5)
        assert self.conv.bias is not None
        nn.init.constant_(self.conv.bias, self.start)

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(B, 1, H, W)`."""
        logits: Tensor = self.conv(features)
        return logits

    def loss(self, prediction: Tensor, targets: Mapping[str, Tensor], inside: Tensor | None) -> dict[str, Tensor]:
        """One term, over the pixels inside whose truth is `certain`."""
        known = targets["certain"] if inside is None else targets["certain"] & inside
        return {self.name: binary_map_loss(prediction[:, 0], targets[self.name], known)}

    def decode(self, prediction: Tensor) -> dict[str, Tensor]:
        """One map `(B, H, W)` in [0, 1]."""
        return {self.name: prediction[:, 0].float().sigmoid()}


class ForegroundHead(BinaryMapHead):
    """Is a pixel on a line? First answer: with probability 0.12."""

    needs: ClassVar[frozenset[str]] = frozenset({"foreground", "certain"})
    name = "foreground"
    start = -2.0


class CrossingHead(BinaryMapHead):
    """Is a pixel on several lines? First answer: with probability 0.02."""

    needs: ClassVar[frozenset[str]] = frozenset({"crossing", "certain"})
    name = "crossing"
    start = -4.0
