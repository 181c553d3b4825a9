"""Batches prepared ahead of the training step: by a thread, or by other processes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from linegroup.batches import Batch, BatchBuilder

_AHEAD = 2
"""Batches that wait, for each worker."""


@contextmanager
def local_batches(builder: BatchBuilder, first: int, stop: int, workers: int = 0) -> Iterator[Iterator[Batch]]:
    """The batches of steps first … stop - 1 in order, inside a `with` block; the same for any number of workers.

    Args:
        builder: Makes the batch of a step.
        first: First step.
        stop: Step after the last.
        workers: Processes; 0: a thread of this process (decoding, drawing and filtering release the interpreter).
    """
    if workers == 0:
        with _by_thread(builder, first, stop) as batches:
            yield batches
        return
    loader = DataLoader(
        _Steps(builder),
        sampler=range(first, stop),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        collate_fn=_unchanged,
        worker_init_fn=_one_thread,
        # Forking a process in which torch, OpenCV and MLflow have threads can hang the child.
        multiprocessing_context="spawn",
    )
    yield (_to_batch(tensors) for tensors in loader)


@contextmanager
def _by_thread(builder: BatchBuilder, first: int, stop: int) -> Iterator[Iterator[Batch]]:
    waiting: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for step in range(first, stop):
                if stopped.is_set():
                    return
                put(builder(step))
        # Whatever it is, it belongs to the loop, which would wait for ever otherwise.
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="linegroup-batches", daemon=True)
    thread.start()
    try:
        yield (_or_raise(waiting.get()) for _ in range(first, stop))
    finally:
        stopped.set()
        thread.join()


def _or_raise(item: Batch | BaseException) -> Batch:
    if isinstance(item, BaseException):
        raise item
    return item


class _Steps(Dataset[dict[str, Tensor]]):
    """Batches as tensors, which travel between processes through shared memory."""

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        batch = self.builder(step)
        arrays: dict[str, Any] = {"image": batch.image, "inside": batch.inside, "ids": batch.ids}
        arrays |= {f"target {name}": plane for name, plane in batch.targets.items()}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _to_batch(tensors: dict[str, Tensor]) -> Batch:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    targets = {name.removeprefix("target "): array for name, array in arrays.items() if name.startswith("target ")}
    return Batch(arrays["image"], arrays["inside"], targets, arrays["ids"])


def _unchanged(tensors: Any) -> Any:
    return tensors


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)
