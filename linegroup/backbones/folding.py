"""Networks that only predict: no normalisation of their own, and fewer passes over the picture.

In evaluation a normalisation is a part of the convolution before it, and so is the ReLU after it: oneDNN computes all
three at once. In float32 that is at least as fast as ONNX Runtime, OpenVINO and ncnn are (docs/performance.md).
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from linegroup.backbones.blocks import ConvBlock, Mask, MaskedBatchNorm, clear
from linegroup.backbones.threads import share

Network = TypeVar("Network", bound=nn.Module)


def folded(network: Network) -> Network:
    """A copy in evaluation mode that predicts the same (up to rounding) in less time, and can no longer be trained.

    Its weights have other names and values than the network's: it is made for a run and never saved.
    """
    made = deepcopy(network).eval().requires_grad_(False)
    _replace(made)
    return made


class FoldedBlock(nn.Module):
    """What a `ConvBlock` is in evaluation: twice a convolution with ReLU, padding set to 0."""

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        self.channels = block.channels
        self.first = FoldedConv(_together(block.conv1, block.norm1), relu=True)
        self.second = FoldedConv(_together(block.conv2, block.norm2), relu=True)

    @property
    def convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """Both, in order."""
        return self.first.conv, self.second.conv

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """As `ConvBlock.forward`."""
        return clear(self.second(clear(self.first(x), mask)), mask)


class FoldedConv(nn.Module):
    """A convolution, with the ReLU after it if there is one."""

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self.conv = conv
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        share()
        conv = self.conv
        # The kernel knows neither autocast nor other devices; torch's own choice is slow for 1×1 convolutions.
        if is_plain(x):
            shape = conv.padding, conv.stride, conv.dilation, conv.groups
            after = "relu" if self.relu else "none"
            made: Tensor = torch.ops.mkldnn._convolution_pointwise(x, conv.weight, conv.bias, *shape, after, [], "")
            return made
        made = conv(x)
        return F.relu(made, inplace=True) if self.relu else made


def is_plain(x: Tensor) -> bool:
    """Whether a tensor is float32 on a CPU, where torch has oneDNN and may compute in that precision."""
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _replace(module: nn.Module) -> None:
    """Put folded parts in the place of the parts of a module, at any depth."""
    for name, part in module.named_children():
        if isinstance(part, ConvBlock):
            setattr(module, name, FoldedBlock(part))
        elif isinstance(part, nn.Conv2d) and part.padding_mode == "zeros" and not isinstance(part.padding, str):
            setattr(module, name, FoldedConv(part, relu=False))
        else:
            _replace(part)


def _together(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """A convolution that normalises."""
    return fuse_conv_bn_eval(conv, norm) if isinstance(norm, MaskedBatchNorm) else conv
