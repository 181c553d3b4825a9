"""Blocks of convolutions that know which pixels are padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Edges:
    """Padding at the bottom and at the right only, the same in the whole batch, where no gradient is asked for.

    A thin strip is set to 0 in a hundredth of the time that a product with a mask takes.

    Attributes:
        rows: So many rows are inside.
        columns: So many columns are.
    """

    rows: int
    columns: int

    def halved(self) -> Edges:
        """After pooling by two: a cell is inside when any pixel of it is."""
        return Edges(-(-self.rows // 2), -(-self.columns // 2))


Mask = Tensor | Edges | None
"""Which pixels are inside: `(B, C, H, W)`, 1 inside and 0 in the padding; edges; None: all."""


class _NormaliseInside(torch.autograd.Function):
    """Batch normalisation over the pixels inside a mask, at little more than the native kernel's cost.

    Padding that holds the mean of the inside leaves the mean of all pixels as it is, and makes their
    variance that of the inside times the inside's share of the pixels: so the native kernel, given this
    padding, `eps * share` and `weight * sqrt(share)`, computes just what is wanted.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float, inside: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns y, 0 in the padding; mean `(C,)` and unbiased variance `(C,)` of the inside."""
        filled = x * mask
        mean = filled.sum(dim=(0, 2, 3), keepdim=True, dtype=weight.dtype) / inside
        filled.addcmul_(1 - mask, mean.to(x.dtype))
        pixels = x.numel() // x.shape[1]
        share = inside / pixels
        kernel = (weight * share**0.5, eps * share)
        mean, variance = torch.zeros_like(weight), torch.zeros_like(weight)
        y, *saved = torch.native_batch_norm(filled, kernel[0], bias, mean, variance, True, 1.0, kernel[1])
        ctx.save_for_backward(filled, mask, kernel[0], *saved)
        ctx.share, ctx.eps = share, kernel[1]
        # The kernel's unbiased estimate divides by all pixels but one.
        variance *= (pixels - 1) / (inside - 1)
        ctx.mark_non_differentiable(mean, variance)
        return y.mul_(mask), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        filled, mask, weight, mean, inverse = ctx.saved_tensors
        along, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad * mask, filled, weight, None, None, mean, inverse, True, ctx.eps, [True, True, True]
        )
        # Each padding pixel got -weight * inverse * mean(grad); they all are the inside's mean, which
        # hands it on to the pixels inside in equal parts.
        pixels = filled.numel() // filled.shape[1]
        handed = weight * inverse * grad_bias * ((ctx.share - 1) / ctx.share / pixels)
        along.add_(handed.to(along.dtype).view(1, -1, 1, 1)).mul_(mask)
        return along, None, grad_weight * ctx.share**0.5, grad_bias, None, None


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of the pixels inside the mask.

    Fewer than two pixels have no variance: they are normalised by the running statistics, as in
    evaluation, and leave these as they are.
    """

    def forward(self, input: Tensor, mask: Mask = None) -> Tensor:
        """Normalise `(B, C, H, W)`.

        Args:
            input: What stands in its padding does not matter.
            mask: `(B, C, H, W)`, 1 inside, 0 in the padding; None: all inside. `Edges`: in evaluation only.

        Returns:
            Shape and type of `input`, 0 in the padding.
        """
        if not self.training:
            return clear(super().forward(input), mask)
        if isinstance(mask, Edges):
            raise TypeError("Edges are for evaluation: training needs the mask itself.")
        inside = input.numel() // input.shape[1] if mask is None else int(mask[:, 0].sum(dtype=torch.float64))
        if inside < 2:
            running = self.running_mean, self.running_var
            return clear(F.batch_norm(input, *running, self.weight, self.bias, eps=self.eps), mask)
        if mask is None:
            return super().forward(input)
        mask = mask.to(input.dtype)
        args = (input, mask, self.weight, self.bias, self.eps, inside)
        y, mean, variance = _NormaliseInside.apply(*args)  # type: ignore[no-untyped-call]
        self._track(mean, variance)
        normalised: Tensor = y
        return normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


class NoNorm(nn.Module):
    """Stands where a normalisation may stand, and only clears the padding."""

    def __init__(self, _channels: int) -> None:
        super().__init__()

    def forward(self, input: Tensor, mask: Mask = None) -> Tensor:
        """`input (B, C, H, W)` with 0 in the padding."""
        return clear(input, mask)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": MaskedBatchNorm, "none": NoNorm}


class ConvBlock(nn.Module):
    """Twice: 3×3 convolution, normalisation, ReLU, padding set to 0."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.channels = outputs
        # A bias before a normalisation would be subtracted again with the mean.
        bias = norm == "none"
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.norm1 = NORMS[norm](outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.norm2 = NORMS[norm](outputs)

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """`(B, inputs, H, W)` to `(B, outputs, H, W)`; `mask (B, outputs, H, W)` as in `MaskedBatchNorm`."""
        x = F.relu(self.norm1(self.conv1(x), mask), inplace=True)
        return F.relu(self.norm2(self.conv2(x), mask), inplace=True)


def clear(x: Tensor, mask: Mask) -> Tensor:
    """`x (B, C, H, W)` with its padding at 0, as convolutions see what lies beyond the picture; `Edges`: in place."""
    if mask is None:
        return x
    if isinstance(mask, Edges):
        x[:, :, mask.rows :] = 0
        x[..., mask.columns :] = 0
        return x
    return x * mask.to(x.dtype)


def kaiming(module: nn.Module) -> None:
    """Initialise convolutions so that ReLU layers keep the variance (He et al. 2015, arXiv:1502.01852)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(part, nn.ConvTranspose2d):
            # Stride = kernel size: each output sees one input pixel, so the fan-in is the input channels.
            nn.init.normal_(part.weight, std=part.in_channels**-0.5)
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.bias is not None:
            nn.init.zeros_(part.bias)
