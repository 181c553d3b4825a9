"""One call per item, by several processes that hold the same model: whole pictures, where their files are made."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
import ray.data
from ray.exceptions import RayError

from linegroup.distributed.session import FEW_RESTARTS, restarts_allowed, start_ray
from linegroup.errors import UserError
from linegroup.predict import Predictor

_TASKS_PER_WORKER = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    work: Callable[[Predictor, Item], Result],
    items: Sequence[Item],
    predictor: Predictor,
    workers: int,
    *,
    device: str = "cpu",
    address: str | None = None,
) -> Iterator[tuple[int, Result]]:
    """`work(predictor, item)` of every item, in processes of Ray; number and result, as they are done.

    Args:
        work: Can be pickled; what it raises ends everything and is raised here.
        items: Can be pickled.
        predictor: On the CPU.
        workers: How many processes.
        device: Where the network runs; processes share the GPUs.
        address: Ray cluster to join; None: `RAY_ADDRESS`, else a private Ray.

    Raises:
        UserError: a process died again and again.
    """
    with start_ray(address, workers):
        gpus = ray.cluster_resources().get("GPU", 0) if device == "cuda" else 0  # type: ignore[no-untyped-call]
        share: dict[str, Any] = {"num_gpus": min(1.0, gpus / workers)} if gpus else {}
        tasks = min(len(items), _TASKS_PER_WORKER * workers)
        rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
        source = ray.data.from_items(rows, override_num_blocks=tasks)
        # The reservation shares object memory out for blocks of many megabytes, and so leaves half of the CPUs idle.
        source.context.op_resource_reservation_enabled = False
        # An answer is a few hundred bytes: hand each on at once, for the bar.
        source.context.target_max_block_size = 1
        with restarts_allowed():
            done = source.flat_map(
                _Worker,
                fn_constructor_args=(ray.put((work, predictor)), device, str(Path.cwd())),
                compute=ray.data.ActorPoolStrategy(size=min(workers, tasks)),
                num_cpus=1,
                **share,
                **FEW_RESTARTS,
            )
        try:
            for row in done.iter_rows():
                result, error = pickle.loads(row["answer"])
                if error is not None:
                    raise error
                yield row["number"], result
        except RayError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"A process that finds lines died again and again: {reason} There may be too little memory: try"
                " fewer --workers."
            ) from error


class _Worker:
    """A process with the model, in the caller's folder."""

    def __init__(self, shared: Any, device: str, folder: str) -> None:
        os.chdir(folder)
        self._work, predictor = ray.get(shared)
        self._predictor: Predictor = predictor.on(device)

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        answer: tuple[Any, Exception | None]
        try:
            answer = self._work(self._predictor, pickle.loads(row["item"])), None
        except Exception as error:
            # As a value: Ray would make another exception of it.
            error.add_note(traceback.format_exc())
            answer = None, error
        return [{"number": row["number"], "answer": pickle.dumps(answer)}]
