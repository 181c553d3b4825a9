"""The stages of a batch in Ray Data: actors that embed, tasks that group, each with resources of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from linegroup.distributed.batch_job import PredictJob
from linegroup.distributed.batch_work import Piece, Row, embed_piece, group_parcel
from linegroup.distributed.parts import Folder, Plan, try_plan
from linegroup.distributed.session import FEW_RESTARTS, restarts_allowed
from linegroup.errors import UserError
from linegroup.predict import Predictor

PARCEL_BYTES = 16 * 2**20
"""Of candidates that one task groups: enough to be worth a task, little enough to be held many times."""

_WAVE = 512
_PIECES_PER_ACTOR = 4


@dataclass(frozen=True)
class Stages:
    """What each stage takes of the cluster.

    Attributes:
        actors: Processes that embed.
        embed: Their resources, as Ray names them.
        group_cpus: CPUs of a task that groups.
        device: Where the network runs.
    """

    actors: int
    embed: dict[str, Any]
    group_cpus: float
    device: str


def plan_stages(job: PredictJob, cpus: float, gpus: float) -> Stages:
    """How a job uses a cluster.

    A process beside a GPU decodes on a CPU and needs a whole one; without GPUs both stages share every CPU, as the
    pictures need it: half a CPU each means two processes per CPU, of which the system runs the one that has work.

    Raises:
        UserError: the job wants GPUs and there are none.
    """
    if job.device not in ("auto", "cpu") and not gpus:
        raise UserError(f"device={job.device}, but the Ray cluster has no GPU. Say auto or cpu.")
    if gpus and job.device != "cpu":
        actors = job.embed_actors or max(1, int(gpus * job.actors_per_gpu))
        share: dict[str, Any] = {"num_gpus": 1 / job.actors_per_gpu, "num_cpus": job.embed_cpus or 1}
        return Stages(actors, share, job.group_cpus or 1, "cuda")
    actors = job.embed_actors or max(1, int(cpus))
    return Stages(actors, {"num_cpus": job.embed_cpus or 0.5}, job.group_cpus or 0.5, "cpu")


def ray_plan(job: PredictJob, folder: Folder) -> tuple[Plan | None, str]:
    """`try_plan` on a machine of the cluster: the caller's memory does not grow with the input."""
    result: tuple[Plan | None, str] = ray.get(ray.remote(num_cpus=1)(try_plan).remote(job, folder))
    return result


def ray_rows(job: PredictJob, predictor: Predictor, pieces: Sequence[Piece]) -> Iterator[Row]:
    """The rows of all pictures, as they are done."""
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    stages = plan_stages(job, resources.get("CPU", 1), resources.get("GPU", 0))
    model = ray.put(predictor)
    # Ray Data keeps some kilobytes per task in the caller until a pipeline ends: there must be several.
    waves = iter(finer(pieces, _PIECES_PER_ACTOR * stages.actors))
    while wave := list(itertools.islice(waves, _WAVE)):
        yield from _wave(wave, model, stages)


def finer(pieces: Sequence[Piece], wanted: int) -> Iterator[Piece]:
    """Fewer pieces than wanted, cut into smaller ones, so that all have work to the end."""
    into = max(1, -(-wanted // max(1, len(pieces))))
    for piece in pieces:
        size = -(-piece.count // into)
        for offset in range(0, piece.count, size):
            count = min(size, piece.count - offset)
            yield replace(piece, first_id=piece.first_id + offset, offset=piece.offset + offset, count=count)


def _wave(pieces: Sequence[Piece], model: Any, stages: Stages) -> Iterator[Row]:
    source = ray.data.from_items([asdict(piece) for piece in pieces], override_num_blocks=len(pieces))
    # The reservation shares object memory out for blocks of many megabytes, and so leaves half of the CPUs idle.
    source.context.op_resource_reservation_enabled = False
    source.context.target_max_block_size = PARCEL_BYTES
    with restarts_allowed():
        embedded = source.flat_map(
            _Embedder,
            fn_constructor_args=(model, stages.device),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(stages.actors, len(pieces))),
            **stages.embed,
            **FEW_RESTARTS,
        )
    try:
        for row in embedded.map(_group, num_cpus=stages.group_cpus).iter_rows():
            yield Row(**row)
    except RayError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"Processes that find lines died again and again: {reason} What is finished is kept: run the same command"
            " again, with more memory or fewer processes (embed_actors)."
        ) from error


class _Embedder:
    """Holds the network."""

    def __init__(self, model: Any, device: str) -> None:
        found = ray.get(model) if isinstance(model, ray.ObjectRef) else model
        self._predictor: Predictor = found.on(device)

    def __call__(self, piece: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for row, parcel in embed_piece(self._predictor, Piece(**piece)):
            yield {**asdict(row), "parcel": parcel}


def _group(row: dict[str, Any]) -> dict[str, Any]:
    parcel = row.pop("parcel")
    return asdict(group_parcel(Row(**row), parcel))
