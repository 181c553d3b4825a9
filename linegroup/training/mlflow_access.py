"""The door to MLflow: addresses, clients, experiments, and its errors in the caller's words.

MLflow is imported when first used, and told by its own variables, for the length of a call, to report
nothing about us and to give up soon on a server that does not answer. Clients get their address as an
argument: no global state of MLflow is touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from linegroup.config import TrackingConfig
from linegroup.environment import default_variables
from linegroup.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Standard output belongs to the command's result.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri(config: TrackingConfig) -> str:
    """Where runs go: `config.uri`, else the environment's MLFLOW_TRACKING_URI, else a SQLite file here.

    SQLite paths come out absolute, so that other processes find them from other folders.
    """
    uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlruns/mlflow.db"
    file = sqlite_file(uri)
    return f"sqlite:///{file}" if file else uri


def public_uri(text: str) -> str:
    """A URI, or a text with some, as it may be shown and kept: without the user before `@`, and without passwords."""
    # A password may hold `@`, and for SQLAlchemy `/`; in the address of a server `host:5000/` comes before the path.
    text = re.sub(r"(\w+sql[^\s/]*://)[^\s?]*@", r"\1", text)
    text = re.sub(r"(?<=://)(?:[^/\s]*@|[^:/\s]*:(?!\d+/)[^@\s]*@)", "", text)
    return re.sub(r"(?i)((?:password|passwd|pwd|token)=)[^&\s]+", r"\1***", text)


def open_client(uri: str) -> MlflowClient:
    """A client of the tracking server and of the registry at `uri`; only inside `quiet_environment`."""
    with warnings.catch_warnings():
        # MLflow's own use of SQLAlchemy is deprecated; nothing that we could mend.
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        with _lock(uri), _logger_level("mlflow", logging.WARNING), _logger_level("alembic", logging.WARNING):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            # The registry's store opens when first asked; tables that are missing are made then.
            client.search_registered_models(max_results=1)
            return client


def find_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, which is made where it is missing."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return _create_experiment(client, uri, name)
    if found.lifecycle_stage != "active":
        raise UserError(f"The MLflow experiment {name!r} was deleted. Restore it or name another.")
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    file = sqlite_file(uri)
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
def explained(uri: str, way_out: str = "") -> Iterator[None]:
    """`quiet_environment`, with MLflow's errors turned into the caller's; `way_out` is what else the user can do."""
    try:
        with quiet_environment():
            yield
    except UserError:
        raise
    # What comes out of MLflow depends on the store: MlflowException, errors of SQLAlchemy, of HTTP, of the disk.
    except Exception as error:
        advice = "Check the name and MLFLOW_TRACKING_URI" + (f", or {way_out}." if way_out else ".")
        raise UserError(f"MLflow at {public_uri(uri)}: {first_line(error)} {advice}") from error


def quiet_environment() -> contextlib.AbstractContextManager[None]:
    """MLflow's variables for the length of a call."""
    return default_variables(_QUIET)


@contextlib.contextmanager
def _lock(uri: str) -> Iterator[None]:
    """Held by one process at a time: two that make the tables of an empty SQLite file destroy each other's work."""
    file = sqlite_file(uri)
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


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of a SQLite URI; None for other URIs."""
    path = uri.removeprefix("sqlite:///")
    return Path(path).absolute() if path != uri and path != ":memory:" else None


def _folder_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "experiment"


def first_line(error: Exception) -> str:
    """The beginning of an error's message, as a sentence and without passwords (see `public_uri`)."""
    line = public_uri((str(error).splitlines() or [type(error).__name__])[0].strip())
    return line if line.endswith(".") else f"{line}."
