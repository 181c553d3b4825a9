"""A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with same-size output for any size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from linegroup.backbones.base import Backbone
from linegroup.backbones.blocks import ConvBlock, Edges, Mask, clear, kaiming
from linegroup.backbones.folding import FoldedBlock, is_plain
from linegroup.backbones.sparse import Features, SparseLevel, surroundings
from linegroup.compiling import COMPILES
from linegroup.config import ModelConfig
from linegroup.geometry import coord_grid

COORDINATE_UNIT = 256.0
"""Pixels per unit of the coordinate channels: fixed, so that a position means the same at every picture size."""


class SmallUNet(Backbone):
    """Encoder with max pooling, bottleneck, decoder of transposed convolutions with skips.

    Level i has about `width * growth**i` channels, i = 0..depth; the last one is the bottleneck. The picture is
    padded at the right and at the bottom to a multiple of `2**depth` and cut back at the end. Padding,
    that of the batch and our own, is 0 before every convolution, as what lies beyond the border is.

    With `coordinates`, x / 256 and y / 256 of each pixel are two more input channels: without them
    the network cannot tell apart two lines that look the same everywhere within its reach.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.channels = config.width
        self.multiple = 2**config.depth
        self.reach = max(max(receptive_field(config.depth, position)) for position in range(self.multiple))
        self.coordinates = config.coordinates
        sizes = level_channels(config)
        inputs = [5 if config.coordinates else 3, *sizes[:-1]]
        pairs = list(zip(inputs, sizes, strict=True))
        self.encoder = nn.ModuleList(ConvBlock(a, b, config.norm) for a, b in pairs[:-1])
        self.bottleneck = ConvBlock(*pairs[-1], config.norm)
        # Index = level: up[i] leads from level i + 1 to level i, decoder[i] joins it with the skip.
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, size, 2, stride=2) for size, below in pairwise(sizes))
        self.decoder = nn.ModuleList(ConvBlock(2 * size, size, config.norm) for size in sizes[:-1])
        kaiming(self)

    def forward(self, image: Tensor, inside: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`; F = width."""
        height, width = image.shape[-2:]
        _, x = self._to_level(0, image, inside)
        features: Tensor = x[..., :height, :width]
        return features

    def features_at(self, image: Tensor, where: NDArray[np.bool_]) -> Tensor:
        """See `Backbone.features_at`: the finest levels are done at those pixels only, as far as that is faster."""
        blocks = [block for block in self.decoder if isinstance(block, FoldedBlock)]
        read = surroundings(where)[: len(blocks)] if blocks and COMPILES and is_plain(image) else []
        if not read:
            return super().features_at(image, where)
        skips, x = self._to_level(len(read), image, None)
        found = Features.of(x)
        for level in reversed(range(len(read))):
            up = self.up[level]
            assert isinstance(up, nn.ConvTranspose2d)
            found = SparseLevel(up, *blocks[level].convolutions)(Features.of(skips[level]), found, read[level])
        return found.rows[1:]

    def _to_level(self, last: int, image: Tensor, inside: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """The skips of all levels, and the features of level `last`."""
        height, width = image.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        x = self._with_coordinates(image) if self.coordinates else image
        masks = self._masks(image, inside, pad)
        x = F.pad(x, pad) if any(pad) else x
        if isinstance(masks[0], Tensor):  # our own padding is 0 already
            x = clear(x, masks[0][:, :1])
        skips = []
        for block, mask in zip(self.encoder, masks, strict=False):
            x = block(x, mask)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x, masks[-1])
        for level in reversed(range(last, len(skips))):
            x = self._joined(level, skips[level], x, masks)
        return skips, x

    def _joined(self, level: int, skip: Tensor, below: Tensor, masks: Sequence[Mask]) -> Tensor:
        """Features of a level, from its skip and the features of the level below."""
        x = clear(self.up[level](below), masks[level])
        joined: Tensor = self.decoder[level](torch.cat([skip, x], dim=1), masks[level])
        return joined

    def _with_coordinates(self, image: Tensor) -> Tensor:
        grid = torch.from_numpy(coord_grid(*image.shape[-2:]) / COORDINATE_UNIT)
        planes = grid.permute(2, 0, 1).to(image).expand(len(image), -1, -1, -1)
        joined = torch.cat([image, planes], dim=1)
        return joined.contiguous(memory_format=_format_of(image))

    def _masks(self, image: Tensor, inside: Tensor | None, pad: tuple[int, ...]) -> list[Mask]:
        """Mask `(B, C, H / 2**i, W / 2**i)` of each level i, a cell being inside when any pixel of it is."""
        if not any(pad) and (inside is None or bool(inside.all())):
            return [None] * (len(self.encoder) + 1)
        if inside is None and not self.training and not torch.is_grad_enabled():
            edges = [Edges(*image.shape[-2:])]
            for _ in self.encoder:
                edges.append(edges[-1].halved())
            return list(edges)
        mask = image.new_ones(len(image), *image.shape[-2:]) if inside is None else inside
        mask = F.pad(mask.to(_compute_type(image)), pad)[:, None]
        masks: list[Mask] = []
        for level, block in enumerate((*self.encoder, self.bottleneck)):
            mask = F.max_pool2d(mask, 2) if level else mask
            # Spread over the channels once: elementwise kernels are several times faster without broadcasting.
            every = mask.expand(-1, block.channels, -1, -1)
            masks.append(every.contiguous(memory_format=_format_of(image)))
        return masks


def level_channels(config: ModelConfig) -> list[int]:
    """Channels of each level, the first to the bottleneck; multiples of 8 where `width` is one: kernels like these."""
    unit = 8 if config.width % 8 == 0 else 1
    return [unit * round(config.width * config.growth**level / unit) for level in range(config.depth + 1)]


def receptive_field(depth: int, position: int = 0) -> tuple[int, int]:
    """How far a `SmallUNet` sees from a pixel along one axis: pixels (before, after) it, the same for x and y.

    Pooling cells start at multiples of `2**depth`, so the reach depends on where in such a cell
    `position` (a coordinate) lies.
    """
    first = last = position
    for _ in range(depth):  # up the decoder, from the output to the bottleneck
        first, last = (first - 2) // 2, (last + 2) // 2
    first, last = first - 2, last + 2
    for _ in range(depth):  # down the encoder, to the picture
        first, last = 2 * first - 2, 2 * last + 1 + 2
    return position - first, last - position


def _format_of(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _compute_type(x: Tensor) -> torch.dtype:
    """Type of the activations: that of autocast where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
