"""What every head promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from linegroup.config import LossConfig, ModelConfig


class Head(nn.Module, ABC):
    """One kind of prediction from a backbone's features: the targets it needs, its loss, its decoding.

    It looks at each pixel alone: what is around is the backbone's work.

    Attributes:
        channels: F, number of features per pixel.
        needs: Names of the targets that `loss` reads (keys of `linegroup.targets.TARGETS`).
    """

    needs: ClassVar[frozenset[str]]

    def __init__(self, channels: int, model: ModelConfig, loss: LossConfig) -> None:
        super().__init__()
        self.channels = channels
        self.model_config = model
        self.loss_config = loss

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Prediction `(B, C, H, W)` from features `(B, F, H, W)`."""

    @abstractmethod
    def loss(self, prediction: Tensor, targets: Mapping[str, Tensor], inside: Tensor | None) -> dict[str, Tensor]:
        """Unweighted scalar terms; the name of a term is that of its weight in `LossConfig`.

        Each term is a mean over the batch of what an image would cost alone.

        Args:
            prediction: `(B, C, H, W)` as `forward` returned it.
            targets: `(B, H, W)` each, at least those of `needs`.
            inside: `(B, H, W)` bool, False where the batch is padded; None: nothing is padded.
        """

    @abstractmethod
    def decode(self, prediction: Tensor) -> dict[str, Tensor]:
        """What the prediction says, by the names of `linegroup.sample.Maps`, float32, batch first."""
