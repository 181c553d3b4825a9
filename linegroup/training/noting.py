"""Jobs that train nothing, as runs in MLflow: what was made or measured, of which data, by which model."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

from linegroup.config import TrackingConfig
from linegroup.shards import ShardSet, load_manifest
from linegroup.training.mlflow_access import first_line
from linegroup.training.tracking import make_finished_run

logger = logging.getLogger(__name__)

DIGEST = "data.digest"
"""Tag: the manifest's hash, which trainings on the same shards have as `data.train` or `data.val`."""


def note_job(kind: str, name: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str | None:
    """Leave one finished run, where MLFLOW_TRACKING_URI names a place for it: nobody asked for one elsewhere.

    Args:
        kind: Tag `linegroup.kind`: shards, evaluation.
        name: Of the run.
        tags: More tags.
        metrics: Numbers; those that are not finite are left out.

    Returns:
        The id of the run; None where there is none. A server that refuses it is a warning: the result is on disk.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    finite = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
    try:
        return make_finished_run(TrackingConfig(), name, {"linegroup.kind": kind, **tags}, finite)
    # As in MlflowTracker: whatever its clients let through.
    except Exception as error:
        logger.warning("MLflow did not take the run of this job (%s)", first_line(error))
        return None


def note_shards(folder: Path) -> str | None:
    """Leave a run that says which shards a folder holds (see `note_job`)."""
    manifest = load_manifest(folder)
    counts = {"samples": manifest.samples, "lines": manifest.lines, "rejects": manifest.rejects}
    splits = {f"samples_{name}": split.samples for name, split in manifest.splits.items()}
    tags = {DIGEST: ShardSet(folder).digest, "data.path": str(folder.absolute())}
    return note_job("shards", f"shards {folder.name}", tags, {**counts, **splits})
