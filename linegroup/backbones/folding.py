"""Networks that only predict need no normalisation of their own: in evaluation it is a part of the convolution."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from linegroup.backbones.blocks import ConvBlock, MaskedBatchNorm, NoNorm

Network = TypeVar("Network", bound=nn.Module)


def folded(network: Network) -> Network:
    """A copy in evaluation mode that predicts the same (up to rounding) in less time, and can no longer be trained.

    Its weights have other names and values than the network's: it is made for a run and never saved.
    """
    made = deepcopy(network).eval()
    for block in made.modules():
        if isinstance(block, ConvBlock):
            block.conv1, block.norm1 = _together(block.conv1, block.norm1)
            block.conv2, block.norm2 = _together(block.conv2, block.norm2)
    return made


def _together(conv: nn.Conv2d, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """A convolution that normalises, and what then only clears the padding."""
    if not isinstance(norm, MaskedBatchNorm):
        return conv, norm
    return fuse_conv_bn_eval(conv, norm), NoNorm(conv.out_channels).eval()
