"""Predictions from a backbone's features, by name."""

from __future__ import annotations

from collections.abc import Callable

from linegroup.config import LossConfig, ModelConfig
from linegroup.errors import unknown_name
from linegroup.heads.base import Head
from linegroup.heads.binary_map import CrossingHead, ForegroundHead
from linegroup.heads.embedding import EmbeddingHead
from linegroup.heads.tangent import TangentHead

HEADS: dict[str, Callable[[int, ModelConfig, LossConfig], Head]] = {
    "embedding": EmbeddingHead,
    "foreground": ForegroundHead,
    "crossing": CrossingHead,
    "tangent": TangentHead,
}


def build_head(name: str, channels: int, model: ModelConfig, loss: LossConfig) -> Head:
    """The head of that name for features of so many `channels`, freshly initialised.

    Raises:
        UserError: there is no head of that name.
    """
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name](channels, model, loss)


__all__ = ["HEADS", "CrossingHead", "EmbeddingHead", "ForegroundHead", "Head", "TangentHead", "build_head"]
