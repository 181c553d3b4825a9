"""Batches of a training worker, prepared by Ray Data: decoding, augmenting and drawing run on CPUs anywhere."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray.data
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext

from linegroup.batches import Batch, BatchBuilder
from linegroup.errors import UserError

CHUNK = 4096
"""Steps of one pipeline. Each step is a block of its own, so that actors work on neighbouring steps; a pipeline
holds a few hundred bytes for each of its blocks."""


class MakeBatch:
    """The actor: turns the number of a step into its batch."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder

    def __call__(self, rows: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """`{"item": (1,)}`, the step, to `{"batch": [bytes], "error": [message or ""]}`."""
        (step,) = rows["item"]
        try:
            return {"batch": [pack(self._builder(int(step)))], "error": [""]}
        except UserError as error:
            # As a value: Ray would try again, and then wrap it in errors of its own.
            return {"batch": [b""], "error": [str(error)]}


@contextlib.contextmanager
def ray_batches(builder: BatchBuilder, first: int, stop: int, actors: int, cpus: float) -> Iterator[Iterator[Batch]]:
    """The batches of steps first … stop - 1 in order, made by a pool of Ray actors.

    Args:
        builder: Makes the batch of a step; each actor gets a copy.
        first: First step.
        stop: Step after the last.
        actors: Number of actors.
        cpus: CPUs that Ray reserves for each.

    Raises:
        UserError: from the iterator: a sample cannot be read or drawn.
    """
    batches = (
        batch
        for start in range(first, stop, CHUNK)
        for batch in _chunk(builder, range(start, min(stop, start + CHUNK)), actors, cpus)
    )
    with contextlib.closing(batches):
        yield batches


def _chunk(builder: BatchBuilder, steps: range, actors: int, cpus: float) -> Iterator[Batch]:
    _prepare_context()
    # Made of items, not of a read: reading would take CPUs that the workers and actors have reserved already.
    made = ray.data.from_items(list(steps), override_num_blocks=len(steps)).map_batches(
        MakeBatch,
        fn_constructor_args=(builder,),
        batch_size=1,
        batch_format="numpy",
        compute=ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
        num_cpus=cpus,
    )
    for rows in made.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=2):
        if rows["error"][0]:
            raise UserError(str(rows["error"][0]))
        yield unpack(rows["batch"][0])


def _prepare_context() -> None:
    with warnings.catch_warnings():
        # The first call builds Ray's defaults, with names that Ray itself calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # The reservation shares object memory out for blocks of many megabytes; the pool is bounded by itself.
    context.op_resource_reservation_enabled = False


def pack(batch: Batch) -> bytes:
    """A batch as bytes: a line of JSON with names, types and shapes, then the arrays, pictures as uint8."""
    arrays = {"image": batch.image, "inside": batch.inside, "ids": batch.ids, **_prefixed(batch.targets)}
    head = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    return b"".join([json.dumps(head).encode(), b"\n", *(np.ascontiguousarray(a).tobytes() for a in arrays.values())])


def unpack(content: bytes) -> Batch:
    """What `pack` packed; the arrays are read-only views of the bytes."""
    at = content.index(b"\n") + 1
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape in json.loads(content[:at]):
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(content, dtype=kind, count=count, offset=at).reshape(shape)
        at += arrays[name].nbytes
    targets = {name.removeprefix("target "): array for name, array in arrays.items() if name.startswith("target ")}
    return Batch(arrays["image"], arrays["inside"], targets, arrays["ids"])


def _prefixed(targets: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"target {name}": array for name, array in targets.items()}
