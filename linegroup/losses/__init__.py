"""Losses as pure functions of tensors, terms apart, sources named."""

from linegroup.losses.binary_map import binary_map_loss
from linegroup.losses.discriminative import DiscriminativeTerms, discriminative_loss
from linegroup.losses.near_pairs import near_pairs_loss
from linegroup.losses.tangent import tangent_loss

__all__ = ["DiscriminativeTerms", "binary_map_loss", "discriminative_loss", "near_pairs_loss", "tangent_loss"]
