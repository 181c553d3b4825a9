"""MLflow: what runs report.

Models are folders of ours (`artifact.py`) inside the run; they are downloaded and read by us
(`registry.py`), never by MLflow's loaders, which may execute what they find.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linegroup.config import Config, TrackingConfig, flat
from linegroup.files import remove_temporaries
from linegroup.training import run_file
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
_KEY_TAG = "linegroup.key"
"""Tag of a run: the name that its run folder knows it by before MLflow has given it one."""

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

    def configuration(self, logged: Config) -> None:
        """Note what the run does not say yet: all of it, or what a kill left out."""
        self._try("the configuration", lambda: _log_config(self._client, self.run_id, logged))

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
    """Start a run, or go on with the one that `out` belongs to, also where that was killed while it was made.

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
    remove_temporaries(out, run_file.RUN_FILE)
    run_id = run_file.run_of(out, uri)
    if run_id is None:
        with explained(uri, "switch tracking off (tracking.enabled=false)"):
            run_id = _make_run(open_client(uri), uri, config, out, tags)
    tracker = attach(config, run_id)
    if isinstance(tracker, MlflowTracker):
        tracker.configuration(logged)
    return tracker


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


def make_finished_run(config: TrackingConfig, name: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """A run that is over as soon as it is made: a job's result.

    Raises:
        Exception: whatever the server's clients let through.
    """
    uri = tracking_uri(config)
    with quiet_environment():
        client = open_client(uri)
        made = client.create_run(find_experiment(client, uri, config.experiment), run_name=name, tags=_tags(tags))
        run_id = str(made.info.run_id)
        now = time.time_ns() // 1_000_000
        try:
            log_metrics(client, run_id, [(key, value, now, 0) for key, value in metrics.items()])
            client.set_terminated(run_id)
        except Exception:
            with contextlib.suppress(Exception):
                client.set_terminated(run_id, "FAILED")
            raise
    return run_id


def end_run(config: TrackingConfig, out: Path, status: str) -> None:
    """End the run of a run folder whose own process could not; one that has ended, or is elsewhere, stays as it is.

    Args:
        config: Where runs are.
        out: Run folder.
        status: FINISHED, FAILED or KILLED.
    """
    _on_run(config, out, lambda client, run_id: _end(client, run_id, status))


def drop_run(config: TrackingConfig, out: Path) -> None:
    """Take the run of a run folder out of MLflow (its trash keeps it): the folder is to go."""
    _on_run(config, out, lambda client, run_id: client.delete_run(run_id))


def _make_run(client: MlflowClient, uri: str, config: TrackingConfig, out: Path, tags: Mapping[str, str]) -> str:
    """A new run that `out` remembers; its key is on disk before, so that a kill between the two leaves one run."""
    experiment = find_experiment(client, uri, config.experiment)
    key = run_file.read(out, uri).get("key")
    run_id = None if key is None else _run_with_key(client, experiment, key)
    key = key or uuid.uuid4().hex
    if run_id is None:
        run_file.write(out, uri, key=key)
        made = client.create_run(experiment, run_name=config.run_name, tags=_tags({**tags, _KEY_TAG: key}))
        run_id = str(made.info.run_id)
    run_file.write(out, uri, key=key, run_id=run_id)
    return run_id


def find_run(client: MlflowClient, uri: str, config: TrackingConfig, out: Path) -> str | None:
    """The run of a run folder, also where the server had another address when it was made; None: it has none here."""
    known = run_file.read(out, uri)
    if "run_id" in known or "key" not in known:
        return known.get("run_id")
    experiment = client.get_experiment_by_name(config.experiment)
    return None if experiment is None else _run_with_key(client, str(experiment.experiment_id), known["key"])


def _run_with_key(client: MlflowClient, experiment: str, key: str) -> str | None:
    found = client.search_runs([experiment], f"tags.`{_KEY_TAG}` = '{key}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _on_run(config: TrackingConfig, out: Path, do: Callable[[MlflowClient, str], Any]) -> None:
    """Do something to the run of a run folder, if there is one; what MLflow refuses is a warning."""
    if not config.enabled:
        return
    uri = tracking_uri(config)
    if not run_file.read(out, uri):
        return
    try:
        with quiet_environment():
            client = open_client(uri)
            run_id = find_run(client, uri, config, out)
            if run_id is not None:
                do(client, run_id)
    # As in MlflowTracker: the results are on disk.
    except Exception as error:
        logger.warning("The MLflow run of %s could not be ended (%s)", out, first_line(error))


def _end(client: MlflowClient, run_id: str, status: str) -> None:
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, status)


def _tags(more: Mapping[str, str]) -> dict[str, str]:
    commit = git_commit(Path.cwd())
    return {**({"mlflow.source.git.commit": commit} if commit else {}), "mlflow.source.name": "linegroup", **more}


def _log_config(client: MlflowClient, run_id: str, logged: Config) -> None:
    params = {name: str(value) for name, value in flat(logged).items()}
    known = client.get_run(run_id).data.params
    # What a run has once said of itself MLflow does not let change.
    missing = {name: value for name, value in params.items() if name not in known}
    if missing:
        client.log_text(run_id, logged.model_dump_json(indent=1), "config.json")
        log_params(client, run_id, missing)


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
