"""Networks from pictures to features of every pixel, by name."""

from __future__ import annotations

from collections.abc import Callable

from linegroup.backbones.base import Backbone
from linegroup.backbones.small_unet import SmallUNet
from linegroup.config import ModelConfig
from linegroup.errors import unknown_name

BACKBONES: dict[str, Callable[[ModelConfig], Backbone]] = {"small_unet": SmallUNet}


def build_backbone(config: ModelConfig) -> Backbone:
    """The backbone that `config.backbone` names, freshly initialised from torch's random state.

    Raises:
        UserError: there is no backbone of that name.
    """
    if config.backbone not in BACKBONES:
        raise unknown_name("backbone", config.backbone, BACKBONES)
    return BACKBONES[config.backbone](config)


__all__ = ["BACKBONES", "Backbone", "SmallUNet", "build_backbone"]
