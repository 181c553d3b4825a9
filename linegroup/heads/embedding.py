"""Embedding head: pixels of one line lie together, different lines apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from linegroup.config import LossConfig, ModelConfig
from linegroup.heads.base import Head
from linegroup.losses.discriminative import discriminative_loss
from linegroup.losses.near_pairs import near_pairs_loss
from linegroup.losses.selection import select_pixels


class EmbeddingHead(Head):
    """A 1×1 convolution to `emb_dim` numbers per pixel, trained by the discriminative loss.

    Distances are Euclidean and raw (no normalisation), and a decoder must take them so. Only pixels on
    exactly one line are trained: elsewhere the embedding means nothing.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __init__(self, channels: int, model: ModelConfig, loss: LossConfig) -> None:
        super().__init__(channels, model, loss)
        self.conv = nn.Conv2d(channels, model.emb_dim, 1)
        # Near 0, where the margins decide, but far enough from it for means to have directions apart.
        nn.init.normal_(self.conv.weight, std=0.3 * channels**-0.5)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Embedding `(B, D, H, W)`."""
        embedding: Tensor = self.conv(features)
        return embedding

    def loss(self, prediction: Tensor, targets: Mapping[str, Tensor], inside: Tensor | None) -> dict[str, Tensor]:
        """Terms `variance`, `distance`, `regularization`, `near` if it has a weight; `labels` are 0 where untrained."""
        labels = targets["labels"]
        trained = labels > 0 if inside is None else (labels > 0) & inside
        index = trained.flatten().nonzero().squeeze(1)
        features = select_pixels(prediction, index)
        ids = labels.flatten().index_select(0, index)
        margins = {"delta_v": self.loss_config.delta_v, "delta_d": self.loss_config.delta_d}
        terms = discriminative_loss(features, ids, index // labels[0].numel(), len(labels), **margins)._asdict()
        if self.loss_config.near:
            batch, height, width = labels.shape
            terms["near"] = near_pairs_loss(features, ids, index, (batch, height, width), **margins)
        return terms

    def decode(self, prediction: Tensor) -> dict[str, Tensor]:
        """`embedding (B, D, H, W)`."""
        return {"embedding": prediction.float()}
