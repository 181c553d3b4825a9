"""A sharding job as scripts do it. Not in `data`, which every worker of Ray loads: MLflow's side brings torch along."""

from __future__ import annotations

from linegroup.distributed.data import make_shards, make_shards_serial, progress_bar
from linegroup.distributed.shard_job import FolderJob
from linegroup.shards import Manifest
from linegroup.training.noting import note_shards


def run_shard_job(
    job: FolderJob, *, serial: bool = False, address: str | None = None, num_cpus: int | None = None
) -> Manifest:
    """The job with a progress bar, and a run in MLflow where MLFLOW_TRACKING_URI names a place and anything was made.

    Args:
        job: What to do.
        serial: In this process, without Ray.
        address: See `make_shards`.
        num_cpus: See `make_shards`.
    """
    with progress_bar() as bar:
        done = make_shards_serial(job, bar) if serial else make_shards(job, bar, address=address, num_cpus=num_cpus)
    if done.made:
        note_shards(job.out)
    return done
