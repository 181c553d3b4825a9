"""Where the training loop runs: one process here, several with torch.distributed; Ray's is built on these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
import torch.distributed as dist
from llvmlite.binding import get_host_cpu_features
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from linegroup.batches import Batch, BatchBuilder
from linegroup.errors import UserError
from linegroup.training.loader import local_batches


class Runtime:
    """One process on one device; the others override what differs.

    Attributes:
        device: Where the network is.
        rank: Number of this process, 0 ≤ rank < world.
        world: Number of processes.
    """

    rank = 0
    world = 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """What is called in place of the model so that gradients are those of all processes."""
        return model

    def batches(
        self, builder: BatchBuilder, first: int, stop: int, workers: int
    ) -> AbstractContextManager[Iterator[Batch]]:
        """This process's batches of the steps first … stop - 1, in order, prepared ahead."""
        return local_batches(builder, first, stop, workers)

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums of each value over all processes."""
        return list(values)

    def extremes(self, value: int) -> tuple[int, int]:
        """The smallest and the largest of the processes' values."""
        return value, value

    def average_buffers(self, _model: nn.Module) -> None:
        """Make the running statistics of all processes their mean."""

    def saved(self, _out: Path, _metrics: Mapping[str, float]) -> None:
        """Called in every process after a checkpoint has been written."""


class DistributedRuntime(Runtime):
    """A process of an initialised `torch.distributed` group: gradients are averaged by DDP."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()

    def wrap(self, model: nn.Module) -> nn.Module:
        """See `Runtime.wrap`."""
        if self.world == 1:
            return model
        # Each process normalises by its own batch; the running statistics are averaged when they are needed.
        ids = [self.device.index or 0] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True)

    def sum(self, values: Sequence[float]) -> list[float]:
        """See `Runtime.sum`."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        summed: list[float] = total.tolist()
        return summed

    def extremes(self, value: int) -> tuple[int, int]:
        """See `Runtime.extremes`."""
        both = torch.tensor([-value, value], dtype=torch.int64, device=self.device)
        dist.all_reduce(both, dist.ReduceOp.MAX)
        low, high = both.tolist()
        return -low, high

    def average_buffers(self, model: nn.Module) -> None:
        """See `Runtime.average_buffers`."""
        for buffer in model.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer.div_(self.world)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bfloat16 in hardware: CPUs with AMX, GPUs from Ampere on."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(get_host_cpu_features().get("amx-bf16", False))


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is the GPU where there is one.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if name not in _devices():
            raise UserError(f"There is no device {name!r} here. There is: {', '.join(_devices())}.") from None
        # It is there, and busy or broken.
        raise UserError(f"Device {name!r} cannot be used: {str(error).splitlines()[0]} Try auto or cpu.") from None
    return device


def _devices() -> list[str]:
    """Names that `choose_device` takes on this machine."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
