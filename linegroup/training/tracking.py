"""MLflow: what runs report.

Models are folders of ours (`artifact.py`) inside the run; they are downloaded and read by us
(`registry.py`), never by MLflow's loaders, which may execute what they find.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linegroup.config import Config, TrackingConfig, flat
from linegroup.files import write_text
from linegroup.training.artifact import Artifact
from linegroup.training.code_version import git_commit
from linegroup.training.mlflow_access import (
    explained,
    find_experiment,
    first_line,
    open_client,
    quiet_environment,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

MODELS = "models"
"""Where a run keeps its models: each in a folder named after its version, so that a registered one never changes."""

VERSION_TAG = "artifact_version"
"""Tag of runs and registered versions: which artifact."""

_FLAVOUR = "linegroup"
_RUN_FILE = "run.json"
_FLUSH_SECONDS = 10.0
_FLUSH_VALUES = 900
"""MLflow refuses more than 1000 metrics in one call."""


def initialise(config: TrackingConfig) -> str:
    """Make database and experiment where they are missing; call it before several processes start to log.

    Returns:
        The id of the experiment.

    Raises:
        UserError: the tracking server does not answer, or refuses.
    """
    uri = tracking_uri(config)
    with explained(uri):
        return find_experiment(open_client(uri), uri, config.experiment)


class Tracker:
    """Reports to nobody: what ranks other than 0 and untracked runs use."""

    run_id: str | None = None

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note numbers of a step; they are sent in batches."""

    def picture(self, path: Path) -> None:
        """Send a picture."""

    def model(self, artifact: Artifact) -> None:
        """Send a model folder."""

    def flush(self) -> None:
        """Send what was noted, now."""

    def close(self, status: str = "FINISHED") -> None:
        """Send the rest and end the run: FINISHED, FAILED or KILLED."""


class MlflowTracker(Tracker):
    """One MLflow run. When the server fails, training goes on: it warns, keeps the numbers, tries again later."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id: str = run_id
        self._client = client
        self._values: list[tuple[str, float, int, int]] = []
        self._sent = time.monotonic()
        self._quiet_until = 0.0

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.metrics`."""
        now = time.time_ns() // 1_000_000
        self._values += [(name, value, now, step) for name, value in values.items()]
        due = len(self._values) >= _FLUSH_VALUES or time.monotonic() - self._sent > _FLUSH_SECONDS
        # Not again at once where the server has just failed: it may take long to answer.
        if due and time.monotonic() > self._quiet_until:
            self.flush()

    def flush(self) -> None:
        """See `Tracker.flush`."""
        while self._values:
            part, rest = self._values[:_FLUSH_VALUES], self._values[_FLUSH_VALUES:]
            if not self._try("metrics", lambda part=part: log_metrics(self._client, self.run_id, part)):
                return
            self._values = rest
        self._sent = time.monotonic()

    def picture(self, path: Path) -> None:
        """See `Tracker.picture`."""
        self._try(path.name, lambda: self._client.log_artifact(self.run_id, str(path), "pictures"))

    def model(self, artifact: Artifact) -> None:
        """See `Tracker.model`."""
        self._try("the model", lambda: log_model(self._client, self.run_id, artifact))

    def close(self, status: str = "FINISHED") -> None:
        """See `Tracker.close`."""
        self.flush()
        self._try("the end of the run", lambda: self._client.set_terminated(self.run_id, status))
        if self._values:
            logger.warning("%d numbers did not reach MLflow; metrics.jsonl has them all.", len(self._values))

    def _try(self, what: str, send: Any) -> bool:
        try:
            with quiet_environment():
                send()
        # MLflow lets errors of its database, of HTTP and of every storage client through: none of them
        # is worth a training run.
        except Exception as error:
            self._quiet_until = time.monotonic() + 60
            logger.warning("MLflow did not take %s (%s); training goes on.", what, first_line(error))
            return False
        return True


def start_tracker(config: TrackingConfig, out: Path, logged: Config, tags: Mapping[str, str]) -> Tracker:
    """Start a run, or go on with the one that `out` belongs to.

    Args:
        config: Where to.
        out: Run folder; remembers the run.
        logged: What is noted of the configuration, as parameters and as `config.json`.
        tags: What else the run should bear, beside the git commit of the working folder.

    Raises:
        UserError: a new run cannot be started. When an old run cannot be gone on with, that is a warning.
    """
    if not config.enabled:
        return Tracker()
    uri = tracking_uri(config)
    known = read_run(out, uri)
    if known is not None:
        return attach(config, known)
    with explained(uri, "switch tracking off (tracking.enabled=false)"):
        client = open_client(uri)
        experiment = find_experiment(client, uri, config.experiment)
        run = client.create_run(experiment, run_name=config.run_name, tags=_tags(tags))
        run_id = str(run.info.run_id)
        log_params(client, run_id, {name: str(value) for name, value in flat(logged).items()})
        client.log_text(run_id, logged.model_dump_json(indent=1), "config.json")
    write_text(out / _RUN_FILE, json.dumps({"run_id": run_id, "uri": uri}) + "\n")
    return MlflowTracker(client, run_id)


def attach(config: TrackingConfig, run_id: str) -> Tracker:
    """Go on reporting to a run; where that fails, training goes on untracked, with a warning."""
    try:
        with quiet_environment():
            client = open_client(tracking_uri(config))
            client.update_run(run_id, status="RUNNING")
    # As in MlflowTracker: no failure of tracking is worth a training run.
    except Exception as error:
        logger.warning("Cannot go on with the MLflow run %s (%s) Training is not tracked.", run_id, first_line(error))
        return Tracker()
    return MlflowTracker(client, run_id)


def read_run(out: Path, uri: str) -> str | None:
    """The run at `uri` that a run folder belongs to, if it remembers one."""
    try:
        known = json.loads((out / _RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(known["run_id"]) if isinstance(known, dict) and known.get("uri") == uri else None


def _tags(more: Mapping[str, str]) -> dict[str, str]:
    commit = git_commit(Path.cwd())
    return {**({"mlflow.source.git.commit": commit} if commit else {}), "mlflow.source.name": "linegroup", **more}


def log_metrics(client: MlflowClient, run_id: str, values: list[tuple[str, float, int, int]]) -> None:
    """Send numbers: name, value, milliseconds of the epoch, step."""
    from mlflow.entities import Metric

    client.log_batch(run_id, metrics=[Metric(name, value, at, step) for name, value, at, step in values])


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Send parameters, as many in a call as MLflow takes."""
    from mlflow.entities import Param

    every = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(every), 100):
        client.log_batch(run_id, params=every[start : start + 100])


def log_model(client: MlflowClient, run_id: str, artifact: Artifact) -> None:
    """The folder as `models/<version>/artifact`, with an `MLmodel` of our own flavour beside it."""
    from mlflow.models import Model

    flavour = {"artifact": "artifact", "version": artifact.version, "schema": "linegroup.artifact/1"}
    place = f"{MODELS}/{artifact.version}"
    with tempfile.TemporaryDirectory() as work:
        Model(artifact_path=place, run_id=run_id, flavors={_FLAVOUR: flavour}).save(str(Path(work) / "MLmodel"))
        client.log_artifact(run_id, str(Path(work) / "MLmodel"), place)
    client.log_artifacts(run_id, str(artifact.path), f"{place}/artifact")
    client.set_tag(run_id, VERSION_TAG, artifact.version)
