"""Losses as pure functions of tensors, terms apart, sources named."""

from linegroup.losses.discriminative import DiscriminativeTerms, discriminative_loss
from linegroup.losses.foreground import foreground_loss

__all__ = ["DiscriminativeTerms", "discriminative_loss", "foreground_loss"]
