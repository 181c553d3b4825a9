"""MLflow: what runs report, and the registry of models. The only file that knows MLflow.

MLflow is imported when first used, and told by its own variables, for the length of a call, to report
nothing about us and to give up soon on a server that does not answer. Clients get their address as an
argument: no global state of MLflow is touched. Models are folders of ours (`artifact.py`) inside the run;
they are downloaded and read by us, never by MLflow's loaders, which may execute what they find.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linegroup.config import Config, TrackingConfig, flat
from linegroup.errors import UserError
from linegroup.files import write_text
from linegroup.training.artifact import PRETRAINED, PRETRAINED_FOLDER, Artifact, is_artifact, load_artifact
from linegroup.training.code_version import git_commit

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CHAMPION = "champion"
"""The alias that names the version in use."""

MODELS = "models"
"""Where a run keeps its models: each in a folder named after its version, so that a registered one never changes."""

_FLAVOUR = "linegroup"
_VERSION_TAG = "artifact_version"
_RUN_FILE = "run.json"
_FLUSH_SECONDS = 10.0
_FLUSH_VALUES = 900
"""MLflow refuses more than 1000 metrics in one call."""

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def tracking_uri(config: TrackingConfig) -> str:
    """Where runs go: `config.uri`, else the environment's MLFLOW_TRACKING_URI, else a SQLite file here.

    SQLite paths come out absolute, so that other processes find them from other folders.
    """
    uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlruns/mlflow.db"
    file = _sqlite_file(uri)
    return f"sqlite:///{file}" if file else uri


def initialise(config: TrackingConfig) -> str:
    """Make database and experiment where they are missing; call it before several processes start to log.

    Returns:
        The id of the experiment.

    Raises:
        UserError: the tracking server does not answer, or refuses.
    """
    uri = tracking_uri(config)
    with _explained(uri):
        return _experiment(_client(uri), uri, config.experiment)


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
            if not self._try("metrics", lambda part=part: _log_metrics(self._client, self.run_id, part)):
                return
            self._values = rest
        self._sent = time.monotonic()

    def picture(self, path: Path) -> None:
        """See `Tracker.picture`."""
        self._try(path.name, lambda: self._client.log_artifact(self.run_id, str(path), "pictures"))

    def model(self, artifact: Artifact) -> None:
        """See `Tracker.model`."""
        self._try("the model", lambda: _log_model(self._client, self.run_id, artifact))

    def close(self, status: str = "FINISHED") -> None:
        """See `Tracker.close`."""
        self.flush()
        self._try("the end of the run", lambda: self._client.set_terminated(self.run_id, status))
        if self._values:
            logger.warning("%d numbers did not reach MLflow; metrics.jsonl has them all.", len(self._values))

    def _try(self, what: str, send: Any) -> bool:
        try:
            with _environment():
                send()
        # MLflow lets errors of its database, of HTTP and of every storage client through: none of them
        # is worth a training run.
        except Exception as error:
            self._quiet_until = time.monotonic() + 60
            logger.warning("MLflow did not take %s (%s); training goes on.", what, _first_line(error))
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
    known = _read_run(out, uri)
    if known is not None:
        return attach(config, known)
    with _explained(uri, "switch tracking off (tracking.enabled=false)"):
        client = _client(uri)
        experiment = _experiment(client, uri, config.experiment)
        run = client.create_run(experiment, run_name=config.run_name, tags=_tags(tags))
        run_id = str(run.info.run_id)
        _log_params(client, run_id, {name: str(value) for name, value in flat(logged).items()})
        client.log_text(run_id, logged.model_dump_json(indent=1), "config.json")
    write_text(out / _RUN_FILE, json.dumps({"run_id": run_id, "uri": uri}) + "\n")
    return MlflowTracker(client, run_id)


def attach(config: TrackingConfig, run_id: str) -> Tracker:
    """Go on reporting to a run; where that fails, training goes on untracked, with a warning."""
    try:
        with _environment():
            client = _client(tracking_uri(config))
            client.update_run(run_id, status="RUNNING")
    # As in MlflowTracker: no failure of tracking is worth a training run.
    except Exception as error:
        logger.warning("Cannot go on with the MLflow run %s (%s) Training is not tracked.", run_id, _first_line(error))
        return Tracker()
    return MlflowTracker(client, run_id)


def resolve_model(reference: str, config: TrackingConfig | None = None) -> Path:
    """The artifact folder that a reference means, downloaded where it is not here.

    Args:
        reference: `pretrained`, a folder, `models:/name@alias`, `models:/name/version`, or a run id.
        config: Where the registry is.

    Raises:
        UserError: there is no such thing; the message says what was looked for, and where.
    """
    folder = PRETRAINED_FOLDER if reference == PRETRAINED else Path(reference)
    if is_artifact(folder):
        return folder.absolute()
    uri = tracking_uri(config or TrackingConfig())
    if reference.startswith("models:/"):
        with _explained(uri):
            return _download(uri, str(_find_version(_client(uri), reference).source), reference)
    if _RUN_ID.fullmatch(reference):
        with _explained(uri):
            return _download(uri, _run_model(_client(uri), reference), reference)
    if folder.is_dir():
        raise UserError(f"{folder} is no model: it has no artifact.json. Give the `artifact` folder of a training run.")
    raise UserError(
        f"There is no model {reference!r}: no such folder, and neither pretrained, models:/name@alias,"
        " models:/name/version nor a run id (32 hexadecimal digits)."
    )


def register(reference: str, name: str = "linegroup", config: TrackingConfig | None = None) -> dict[str, Any]:
    """Make a run's model, or an artifact folder, a new version in the registry.

    Returns:
        name, version, run_id, artifact_version.

    Raises:
        UserError: there is no such run or folder, or the model in it is damaged.
    """
    config = config or TrackingConfig()
    artifact = load_artifact(resolve_model(reference, config))
    uri = tracking_uri(config)
    run_id = reference if _RUN_ID.fullmatch(reference) else _run_for(artifact, config)
    with _explained(uri):
        client = _client(uri)
        if not any(model.name == name for model in client.search_registered_models(f"name = '{_quoted(name)}'")):
            client.create_registered_model(name)
        tags = {_VERSION_TAG: artifact.version}
        made = client.create_model_version(name, _run_model(client, run_id), run_id, tags=tags)
        return {"name": name, "version": str(made.version), "run_id": run_id, "artifact_version": artifact.version}


def promote(name: str, version: str, alias: str = CHAMPION, config: TrackingConfig | None = None) -> dict[str, Any]:
    """Point an alias at a version; the model is downloaded and checked first.

    Returns:
        name, version, alias, and `before`: the version that it pointed at, or None.

    Raises:
        UserError: no such version, or its model is damaged.
    """
    uri = tracking_uri(config or TrackingConfig())
    load_artifact(resolve_model(f"models:/{name}/{version}", config))
    with _explained(uri):
        client = _client(uri)
        before = client.get_registered_model(name).aliases.get(alias)
        client.set_registered_model_alias(name, alias, version)
    return {"name": name, "version": str(version), "alias": alias, "before": str(before) if before else None}


def list_models(config: TrackingConfig | None = None) -> list[dict[str, Any]]:
    """All versions of all models, newest first: name, version, aliases, run_id, created, metrics."""
    uri = tracking_uri(config or TrackingConfig())
    with _explained(uri):
        client = _client(uri)
        aliases: dict[tuple[str, str], list[str]] = {}
        for model in client.search_registered_models():
            for alias, version in model.aliases.items():
                aliases.setdefault((model.name, str(version)), []).append(alias)
        versions = sorted(client.search_model_versions(), key=lambda v: (v.name, -int(v.version)))
        return [_version_record(client, v, aliases.get((v.name, str(v.version)), [])) for v in versions]


def show_model(reference: str, config: TrackingConfig | None = None) -> dict[str, Any]:
    """What a reference (see `resolve_model`) means: version, folder, settings, grouping, scores.

    Raises:
        UserError: there is no such model, or it is damaged.
    """
    artifact = load_artifact(resolve_model(reference, config))
    return {
        "reference": reference,
        "version": artifact.version,
        "path": str(artifact.path),
        "parameters": sum(weight.numel() for weight in artifact.weights.values()),
        "model": artifact.config.model.model_dump(mode="json"),
        "grouping": artifact.grouping.model_dump(mode="json"),
        "metrics": artifact.metrics,
    }


def _tags(more: Mapping[str, str]) -> dict[str, str]:
    commit = git_commit(Path.cwd())
    return {**({"mlflow.source.git.commit": commit} if commit else {}), "mlflow.source.name": "linegroup", **more}


def _log_metrics(client: MlflowClient, run_id: str, values: list[tuple[str, float, int, int]]) -> None:
    from mlflow.entities import Metric

    client.log_batch(run_id, metrics=[Metric(name, value, at, step) for name, value, at, step in values])


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    every = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(every), 100):
        client.log_batch(run_id, params=every[start : start + 100])


def _log_model(client: MlflowClient, run_id: str, artifact: Artifact) -> None:
    """The folder as `models/<version>/artifact`, with an `MLmodel` of our own flavour beside it."""
    from mlflow.models import Model

    flavour = {"artifact": "artifact", "version": artifact.version, "schema": "linegroup.artifact/1"}
    place = f"{MODELS}/{artifact.version}"
    with tempfile.TemporaryDirectory() as work:
        Model(artifact_path=place, run_id=run_id, flavors={_FLAVOUR: flavour}).save(str(Path(work) / "MLmodel"))
        client.log_artifact(run_id, str(Path(work) / "MLmodel"), place)
    client.log_artifacts(run_id, str(artifact.path), f"{place}/artifact")
    client.set_tag(run_id, _VERSION_TAG, artifact.version)


def _run_for(artifact: Artifact, config: TrackingConfig) -> str:
    """The run that a folder came from, when it is known there with this very model; else a new one."""
    known = _read_run(artifact.path.parent, tracking_uri(config))
    uri = tracking_uri(config)
    experiment = initialise(config)
    with _explained(uri):
        client = _client(uri)
        if known is not None and client.get_run(known).data.tags.get(_VERSION_TAG) == artifact.version:
            return known
        run = client.create_run(
            experiment, run_name=f"artifact-{artifact.version}", tags={"mlflow.source.name": "import"}
        )
        run_id = str(run.info.run_id)
        finite = [(name, value, 0, 0) for name, value in artifact.metrics.items() if value == value]
        _log_metrics(client, run_id, finite)
        _log_params(client, run_id, {name: str(value) for name, value in flat(artifact.config).items()})
        _log_model(client, run_id, artifact)
        client.set_terminated(run_id)
        return run_id


def _run_model(client: MlflowClient, run_id: str) -> str:
    """Where the latest model of a run lies."""
    run = client.get_run(run_id)
    if _VERSION_TAG not in run.data.tags:
        raise UserError(f"The run {run_id} holds no model of linegroup: it has not finished, or is no training run.")
    return f"{run.info.artifact_uri}/{MODELS}/{run.data.tags[_VERSION_TAG]}"


def _find_version(client: MlflowClient, reference: str) -> Any:
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", reference)
    if match is None:
        raise UserError(f"{reference!r} must read models:/name@alias or models:/name/version.")
    name, alias, version = match.groups()
    return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)


def _download(uri: str, source: str, reference: str) -> Path:
    from mlflow.artifacts import download_artifacts

    folder = Path(download_artifacts(artifact_uri=source, tracking_uri=uri)) / "artifact"
    if not is_artifact(folder):
        raise UserError(f"{reference} holds no model of linegroup (there is no artifact in {source}).")
    return folder


def _version_record(client: MlflowClient, version: Any, aliases: list[str]) -> dict[str, Any]:
    metrics = client.get_run(version.run_id).data.metrics if version.run_id else {}
    return {
        "name": version.name,
        "version": str(version.version),
        "aliases": sorted(aliases),
        "run_id": version.run_id,
        "artifact_version": version.tags.get(_VERSION_TAG),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(version.creation_timestamp / 1000)),
        "metrics": {name: value for name, value in sorted(metrics.items()) if name.startswith("best_")},
    }


def _client(uri: str) -> MlflowClient:
    """A client of the tracking server and of the registry at `uri`; only inside `_environment`."""
    with warnings.catch_warnings():
        # MLflow's own use of SQLAlchemy is deprecated; nothing that we could mend.
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        with _lock(uri), _logger_level("mlflow", logging.WARNING), _logger_level("alembic", logging.WARNING):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            # The registry's store opens when first asked; tables that are missing are made then.
            client.search_registered_models(max_results=1)
            return client


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, which is made where it is missing."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return _create_experiment(client, uri, name)
    if found.lifecycle_stage != "active":
        raise UserError(f"The MLflow experiment {name!r} was deleted. Restore it or name another.")
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    file = _sqlite_file(uri)
    place = (file.parent / "artifacts" / _folder_name(name)).as_uri() if file else None
    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException:
        # Another process was quicker.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


@contextlib.contextmanager
def _explained(uri: str, way_out: str = "") -> Iterator[None]:
    """`_environment`, with MLflow's errors turned into the caller's; `way_out` is what else the user can do."""
    try:
        with _environment():
            yield
    except UserError:
        raise
    # What comes out of MLflow depends on the store: MlflowException, errors of SQLAlchemy, of HTTP, of the disk.
    except Exception as error:
        advice = "Check the name and MLFLOW_TRACKING_URI" + (f", or {way_out}." if way_out else ".")
        raise UserError(f"MLflow at {uri}: {_first_line(error)} {advice}") from error


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """MLflow's variables for the length of a call; what the user has set stays as it is."""
    added = [name for name in _QUIET if name not in os.environ]
    os.environ.update({name: _QUIET[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _lock(uri: str) -> Iterator[None]:
    """Held by one process at a time: two that make the tables of an empty SQLite file destroy each other's work."""
    file = _sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _logger_level(name: str, level: int) -> Iterator[None]:
    noisy = logging.getLogger(name)
    before = noisy.level
    noisy.setLevel(level)
    try:
        yield
    finally:
        noisy.setLevel(before)


def _read_run(out: Path, uri: str) -> str | None:
    try:
        known = json.loads((out / _RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(known["run_id"]) if isinstance(known, dict) and known.get("uri") == uri else None


def _sqlite_file(uri: str) -> Path | None:
    """The absolute path of a SQLite URI; None for other URIs."""
    path = uri.removeprefix("sqlite:///")
    return Path(path).absolute() if path != uri and path != ":memory:" else None


def _folder_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "experiment"


def _quoted(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9 ._-]+", name):
        raise UserError(f"A model is named with letters, digits, spaces, '.', '_' and '-'; got {name!r}.")
    return name


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0].strip()
    return line if line.endswith(".") else f"{line}."
