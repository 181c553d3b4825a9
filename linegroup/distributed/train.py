"""Training spread by Ray: DDP workers by Ray Train, their batches by Ray Data; the loop is `linegroup.training`.

Checkpoints are the loop's own files in the run folder, which all machines see: the same format and the
same exact resume as without Ray, readable without Ray. A worker that dies takes its group with it; Ray
starts a new group, which goes on from the last checkpoint. Where the machines share no folder,
`ray.storage` names a place (folder or URI) to which Ray copies each checkpoint and the finished model.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from linegroup.batches import Batch, BatchBuilder
from linegroup.config import Config, RayConfig
from linegroup.distributed.feed import ray_batches
from linegroup.distributed.session import start_ray
from linegroup.distributed.stored import fetch, local_step, newest_stored, open_stored, run_name
from linegroup.environment import default_variables
from linegroup.errors import UserError
from linegroup.locking import locked
from linegroup.training.artifact import copy_artifact
from linegroup.training.checkpoint import BEST, LAST
from linegroup.training.loop import (
    ARTIFACT,
    CHECKPOINTS,
    KIND,
    TrainResult,
    prepare_run,
    run_length,
    tracked,
    train,
    train_local,
)
from linegroup.training.reporting import follow
from linegroup.training.runtime import DistributedRuntime, Runtime
from linegroup.training.tracking import Tracker, attach

logger = logging.getLogger(__name__)

_WORKER_ENVIRONMENT = {
    # Loaders and Ray's own processes share the CPUs. Threads that spin while they wait for each other take
    # the CPU from the very thread they wait for: steps get several times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}

_ENVIRONMENT = {
    # A dead worker is noticed at the next look.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    # Only for spot nodes; without a dashboard it prints errors.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    # Paths are absolute; relative ones in error messages should be those of the caller.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def train_distributed(config: Config, *, bar: bool | None = None) -> TrainResult:
    """Train with `ray.num_workers` DDP workers, or with 0 in this process (see `train_local`), without Ray.

    Run again after a kill, it goes on from the last checkpoint in `training.out` or, where that has none, in
    `ray.storage` (found by the absolute path of `training.out`, so that must be the same).

    Args:
        config: The run.
        bar: Draw a progress bar here; None: when standard error is a terminal.

    Raises:
        UserError: as `train_local`; also when workers died more often than `ray.max_failures`, or when
            `training.device` asks for what Ray decides.
    """
    if config.ray.num_workers == 0:
        return train_local(config, bar=bar)
    config = config.model_copy(update={"ray": config.ray.model_copy(update={"use_gpu": wants_gpu(config)})})
    with locked(Path(config.training.out).absolute(), kind=KIND):
        return _train(config, bar)


def _train(config: Config, bar: bool | None) -> TrainResult:
    stored = _look_for_stored(config)
    config = prepare_run(config, world=config.ray.num_workers)
    total = run_length(config, config.ray.num_workers)
    with (
        tracked(config) as tracker,
        default_variables(_ENVIRONMENT),
        start_ray(config.ray.address, _cpus(config.ray)),
        follow(Path(config.training.out), total, bar=bar),
    ):
        return _fit(config, tracker.run_id, stored)


def wants_gpu(config: Config) -> bool | None:
    """Whether each worker is to have a GPU; None: when the cluster has some.

    Raises:
        UserError: `training.device` names a GPU (which one, Ray decides), or is at odds with `ray.use_gpu`.
    """
    device, use_gpu = config.training.device, config.ray.use_gpu
    if device == "auto":
        return use_gpu
    if device != "cpu":
        raise UserError(
            f"training.device={device}: with ray.num_workers of 1 or more, Ray gives each worker its device. Set"
            " ray.use_gpu=true for one GPU each, and leave training.device at auto."
        )
    if use_gpu:
        raise UserError("training.device=cpu and ray.use_gpu=true exclude each other: leave out one of them.")
    return False


def _look_for_stored(config: Config) -> str | None:
    """Where the storage has a checkpoint of this run; here it is brought into a run folder that has none."""
    if config.ray.storage is None or config.training.resume != "auto":
        return None
    out = Path(config.training.out).absolute()
    place = newest_stored(config.ray.storage, out)
    if place is not None and local_step(out / CHECKPOINTS) < 0:
        logger.warning("%s has no checkpoint: going on from %s in ray.storage.", out, place)
        fetch(open_stored(config.ray.storage, place), out / CHECKPOINTS, Runtime(), newer=False)
    return place


def _fit(config: Config, run_id: str | None, stored: str | None) -> TrainResult:
    out = Path(config.training.out)
    storage = config.ray.storage or str(out / "ray")
    environment = {name: os.environ.get(name, value) for name, value in _WORKER_ENVIRONMENT.items()}
    trainer = TorchTrainer(
        train_worker,  # type: ignore[arg-type]  # what it returns is documented, but not typed
        train_loop_config={"config": config.model_dump_json(), "run_id": run_id, "stored": stored},
        scaling_config=_scaling(config.ray),
        run_config=RunConfig(
            name=run_name(out),
            storage_path=storage,
            failure_config=FailureConfig(max_failures=config.ray.max_failures),
            worker_runtime_env={"env_vars": environment},  # type: ignore[call-arg]  # of the second version too
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _explain(error, out) from error
    answer = json.loads(result.return_value)  # type: ignore[attr-defined]  # of the second version of Ray Train
    if "error" in answer:
        raise UserError(answer["error"])
    finished = TrainResult(**{**answer, "artifact": Path(answer["artifact"])})
    if config.ray.storage is None:
        shutil.rmtree(out / "ray", ignore_errors=True)
    elif result.checkpoint is not None and not finished.artifact.exists():
        with result.checkpoint.as_directory() as folder:
            copy_artifact(Path(folder) / ARTIFACT, finished.artifact)
    return finished


def train_worker(settings: dict[str, Any]) -> str:
    """One DDP worker: the loop of `linegroup.training`, with batches from Ray Data.

    Args:
        settings: `config`, as JSON; `run_id`, the tracked run that rank 0 reports to, or None; `stored`, the
            checkpoint in `ray.storage` that an earlier session left, or None.

    Returns:
        The `TrainResult` as JSON, or `{"error": message}`.
    """
    config = Config.model_validate_json(settings["config"])
    runtime = _RayRuntime(config.ray)
    out = Path(config.training.out)
    if config.ray.storage is not None:
        _fetch(config.ray.storage, settings["stored"], out / CHECKPOINTS, runtime)
    tracker = Tracker()
    if runtime.rank == 0 and settings["run_id"] is not None:
        tracker = attach(config.tracking, settings["run_id"])
    try:
        result = train(config, runtime, tracker, bar=False)
    except UserError as error:
        if runtime.world > 1:
            # The other workers wait for this one: the group has to end.
            raise
        return json.dumps({"error": str(error)})
    tracker.flush()
    if config.ray.storage is not None:
        _report(out, result.metrics, runtime.rank)
    return json.dumps({**asdict(result), "artifact": str(result.artifact)})


class _RayRuntime(DistributedRuntime):
    """A worker of Ray Train."""

    def __init__(self, config: RayConfig) -> None:
        super().__init__(ray.train.torch.get_device())
        self._config = config

    def batches(
        self, builder: BatchBuilder, first: int, stop: int, _workers: int
    ) -> AbstractContextManager[Iterator[Batch]]:
        """See `Runtime.batches`; `training.loader_workers` is for local runs."""
        return ray_batches(builder, first, stop, self._config.loaders_per_worker, self._config.cpus_per_loader)

    def saved(self, out: Path, metrics: Mapping[str, float]) -> None:
        """See `Runtime.saved`."""
        if self._config.storage is not None:
            _report(out, metrics, self.rank)


def _report(out: Path, metrics: Mapping[str, float], rank: int) -> None:
    """Copy the checkpoints, and the model when there is one, to Ray's storage; all workers must call it."""
    if rank:
        ray.train.report(dict(metrics))
        return
    with tempfile.TemporaryDirectory() as work:
        for name in (LAST, BEST):
            if (out / CHECKPOINTS / name).exists():
                shutil.copy(out / CHECKPOINTS / name, Path(work) / name)
        if (out / ARTIFACT).exists():
            shutil.copytree(out / ARTIFACT, Path(work) / ARTIFACT)
        ray.train.report(dict(metrics), checkpoint=Checkpoint.from_directory(work))


def _fetch(storage: str, earlier: str | None, folder: Path, runtime: Runtime) -> None:
    """Before the loop looks for its checkpoint: make all machines have the same one."""
    stored = ray.train.get_checkpoint()
    if stored is not None:
        fetch(stored, folder, runtime, newer=True)
    elif earlier is not None:
        fetch(open_stored(storage, earlier), folder, runtime, newer=False)


def _scaling(config: RayConfig) -> ScalingConfig:
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    wanted = config.num_workers * (config.cpus_per_worker + config.loaders_per_worker * config.cpus_per_loader)
    if resources.get("CPU", 0) < wanted:
        logger.warning(
            "The workers and their loaders want %g CPUs, the cluster has %g: training waits until it has grown."
            " Fewer ray.num_workers, ray.cpus_per_worker or ray.cpus_per_loader want less.",
            wanted,
            resources.get("CPU", 0),
        )
    use_gpu = resources.get("GPU", 0) >= 1 if config.use_gpu is None else config.use_gpu
    return ScalingConfig(
        num_workers=config.num_workers,
        use_gpu=use_gpu,
        resources_per_worker={"CPU": config.cpus_per_worker, **({"GPU": 1} if use_gpu else {})},
    )


def _cpus(config: RayConfig) -> int:
    """CPUs of a private Ray: at least what everything together reserves, or it would wait for ever."""
    each = config.cpus_per_worker + config.loaders_per_worker * config.cpus_per_loader
    return max(os.cpu_count() or 1, math.ceil(config.num_workers * each) + 1)


def _explain(error: ray.train.TrainingFailedError, out: Path) -> UserError:
    failures = getattr(error, "worker_failures", {}).values()
    for failure in failures:
        # Ray wraps what was raised in a worker.
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, UserError):
            return cause
    last = str(error).strip().splitlines()[-1:]
    return UserError(
        f"Training stopped: {' '.join(last)} Run the same command again to go on from the last checkpoint in {out}."
    )
