"""One optimizer step: forward, backward, clipping, and what happens when a batch is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from linegroup.batches import Batch
from linegroup.config import TrainingConfig
from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.training.runtime import has_bfloat16

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}

PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def _constant(_progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(progress: float, warm_up: float = 0.1) -> float:
    if progress < warm_up:
        return 0.04 + 0.96 * progress / warm_up
    return _cosine((progress - warm_up) / (1 - warm_up))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
"""Share of `lr` at a progress in [0, 1]. One cycle (Smith 2018, arXiv:1803.09820): up from 4 % in a tenth, then down.

Being functions of the progress, they have no state to save, and an extended run goes on along the longer curve.
"""


class Stepper:
    """The network in training, its optimizer, and the count of batches that were skipped.

    Attributes:
        model: The network.
        optimizer: Its optimizer.
        scaler: Loss scaling for fp16; does nothing otherwise.
        skipped: Batches without a finite gradient so far.
        in_a_row: How many of them since the last good one.
    """

    def __init__(
        self, model: LineModel, wrap: Callable[[nn.Module], nn.Module], config: TrainingConfig, device: torch.device
    ) -> None:
        self.model = model
        self.config = config
        self.device = device
        self.optimizer = OPTIMIZERS[config.optimizer](
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=config.precision == "fp16")
        automatic = "bf16" if has_bfloat16(device) else "fp32"
        self._kind = PRECISIONS[automatic if config.precision == "auto" else config.precision]
        self.skipped = 0
        self.in_a_row = 0
        self._forward = wrap(model)
        self._buffers = list(model.buffers())

    def step(self, batch: Batch, progress: float) -> dict[str, float]:
        """Train on one batch.

        A batch whose loss or gradient is not finite is skipped: weights, optimizer and running statistics
        stay as they were. With DDP all processes decide alike, for they see the same gradient.

        Args:
            batch: This process's part.
            progress: Of the whole run, in [0, 1]; chooses the learning rate.

        Returns:
            The loss terms, `total` among them, `grad_norm`, `lr` and `skipped` (0 or 1).

        Raises:
            UserError: more than `max_bad_batches` in a row were skipped.
        """
        lr = self.config.lr * SCHEDULES[self.config.schedule](progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        before = [buffer.clone() for buffer in self._buffers]
        terms = self._gradient(batch)
        self.scaler.unscale_(self.optimizer)
        limit = self.config.grad_clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        good = math.isfinite(norm)
        if good:
            self.scaler.step(self.optimizer)
        else:
            for buffer, value in zip(self._buffers, before, strict=True):
                buffer.copy_(value)
        # While the scaler looks for its scale, gradients overflow without anything being wrong.
        looking = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(good, batch, counts=not looking)
        return {**terms, "grad_norm": norm, "lr": lr, "skipped": float(not good)}

    def state(self) -> dict[str, Any]:
        """Model, optimizer, scaler and counts, as a checkpoint has them."""
        return {
            "model": {name: value.detach() for name, value in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "bad_batches": (self.skipped, self.in_a_row),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        # Loading has put back the settings of before; the learning rate is set at each step.
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.config.weight_decay
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.skipped, self.in_a_row = state["bad_batches"]

    def _gradient(self, batch: Batch) -> dict[str, float]:
        self.model.train()
        image, inside, targets = self.model.batch_tensors(batch, self.device)
        with torch.autocast(self.device.type, dtype=self._kind, enabled=self._kind != torch.float32):
            terms = self.model.loss(self._forward(image, inside), targets, inside)
        total = terms["total"]
        # A loss that is not finite can have a finite gradient. This makes it NaN, here and by DDP's averaging in
        # every process, so that one look at the gradient's norm tells all of them to skip the batch.
        poison = torch.where(total.isfinite(), 1.0, math.nan)
        self.scaler.scale(total * poison).backward()  # type: ignore[no-untyped-call]
        values: list[float] = torch.stack([term.detach().float() for term in terms.values()]).tolist()
        return dict(zip(terms, values, strict=True))

    def _count(self, good: bool, batch: Batch, *, counts: bool) -> None:
        if good:
            self.in_a_row = 0
            return
        self.skipped += 1
        self.in_a_row += counts
        if self.in_a_row > self.config.max_bad_batches:
            raise UserError(
                f"{self.in_a_row} batches in a row had a loss or gradient that is not finite; the last one held the"
                f" samples {batch.ids.tolist()}. Lower training.lr, set training.grad_clip, or train with"
                " training.precision=fp32; if it is always the same samples, look at their annotations."
            )
