"""The registry of models, MLflow's: names, versions, aliases, and the folders that they mean."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linegroup.config import TrackingConfig, flat
from linegroup.errors import UserError
from linegroup.training.artifact import PRETRAINED, PRETRAINED_FOLDER, Artifact, is_artifact, load_artifact
from linegroup.training.downloads import download
from linegroup.training.mlflow_access import explained, open_client, tracking_uri
from linegroup.training.tracking import (
    MODELS,
    VERSION_TAG,
    find_run,
    initialise,
    log_metrics,
    log_model,
    log_params,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CHAMPION = "champion"
"""The alias that names the version in use."""


@dataclass(frozen=True)
class Holder:
    """Who has an alias: a version, or None where nobody has it."""

    version: str | None


_ENTRY = "promotion."
_NOTED = frozenset({"action", "alias", "version", "before"})
"""What the history of an alias is made of."""

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_ALIAS = re.compile(r"models:/([^/@]+)@([^/@]+)")
_VERSION = re.compile(r"models:/[^/@]+/([0-9]+)")


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
        with explained(uri):
            return download(uri, str(_find_version(open_client(uri), reference).source), reference)
    if _RUN_ID.fullmatch(reference):
        with explained(uri):
            return download(uri, _run_model(open_client(uri), reference), reference)
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
    with explained(uri):
        client = open_client(uri)
        _make_model(client, name)
        tags = {VERSION_TAG: artifact.version, **artifact.data}
        # Nothing to wait for: a version of these stores is ready when it is made.
        made = client.create_model_version(name, _run_model(client, run_id), run_id, tags=tags, await_creation_for=0)
        return {"name": name, "version": str(made.version), "run_id": run_id, "artifact_version": artifact.version}


def promote(
    name: str,
    version: str,
    alias: str = CHAMPION,
    config: TrackingConfig | None = None,
    entry: Mapping[str, Any] | None = None,
    expected: Holder | None = None,
) -> dict[str, Any]:
    """Point an alias at a version, whatever its scores (see `linegroup.promotion`); its model is checked first.

    Args:
        name: Of the model.
        version: Its number.
        alias: What is to point there.
        config: Where the registry is.
        entry: What the version's tags are to say of it, as JSON. It is written before the alias moves: no version
            ever has the alias without a word of why.
        expected: Who must have the alias when it moves; None: whoever has it.

    Returns:
        name, version, alias, and `before`: the version that it pointed at, or None.

    Raises:
        UserError: no such version, its model is damaged, another version than the expected one has the alias, or the
            alias cannot be named so.
    """
    uri = tracking_uri(config or TrackingConfig())
    check_alias(alias)
    load_artifact(resolve_model(f"models:/{name}/{version}", config))
    with explained(uri):
        client = open_client(uri)
        before = _holder(client, name, alias)
        # Checked here, after the model was fetched: MLflow has no "set it if", so that a moment is left, not minutes.
        if expected is not None and before != expected.version:
            raise UserError(f"models:/{name}@{alias} was given to another version meanwhile. Run this again.")
        with _noted(client, name, version, alias, entry):
            client.set_registered_model_alias(name, alias, version)
    return {"name": name, "version": str(version), "alias": alias, "before": before}


def check_alias(alias: str) -> None:
    """Refuse names that MLflow keeps for itself, or has no letters for.

    Raises:
        UserError: says which names can be given.
    """
    if not re.fullmatch(r"[\w-]{1,255}", alias) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise UserError(
            f"An alias is named with letters, digits, '_' and '-', and neither latest nor v1, v2, …; got {alias!r}."
        )


def version_of(name: str, alias: str = CHAMPION, config: TrackingConfig | None = None) -> str | None:
    """The version that an alias of a model points at, if any.

    Raises:
        UserError: there is no such model.
    """
    uri = tracking_uri(config or TrackingConfig())
    with explained(uri):
        return _holder(open_client(uri), name, alias)


def meant_version(reference: str, config: TrackingConfig | None = None) -> str | None:
    """The version that `models:/name@alias` means now; None where nothing has the alias, and for other references.

    Raises:
        UserError: there is no such model, or the registry does not answer.
    """
    match = _ALIAS.fullmatch(reference)
    return None if match is None else version_of(match[1], match[2], config)


def written_version(reference: str) -> str | None:
    """The version that `models:/name/version` says; None for other references."""
    match = _VERSION.fullmatch(reference)
    return None if match is None else match[1]


def entries(name: str, config: TrackingConfig | None = None) -> list[dict[str, Any]]:
    """All that `promote` has noted of the versions of a model, oldest first; what cannot be read is left out.

    Raises:
        UserError: there is no such model.
    """
    uri = tracking_uri(config or TrackingConfig())
    found: list[tuple[str, dict[str, Any]]] = []
    with explained(uri):
        client = open_client(uri)
        client.get_registered_model(name)
        for version in _all_pages(client.search_model_versions, f"name = '{_quoted(name)}'"):
            notes = [(key, _read_note(text)) for key, text in version.tags.items() if key.startswith(_ENTRY)]
            found += [(key, note) for key, note in notes if note is not None]
            for key in (key for key, note in notes if note is None):
                logger.warning("The tag %s of %s version %s is no note of ours: left out.", key, name, version.version)
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def list_models(config: TrackingConfig | None = None) -> list[dict[str, Any]]:
    """All versions of all models, newest first: name, version, aliases, run_id, created, metrics."""
    uri = tracking_uri(config or TrackingConfig())
    with explained(uri):
        client = open_client(uri)
        aliases: dict[tuple[str, str], list[str]] = {}
        for model in _all_pages(client.search_registered_models):
            for alias, version in model.aliases.items():
                aliases.setdefault((model.name, str(version)), []).append(alias)
        versions = sorted(_all_pages(client.search_model_versions), key=lambda v: (v.name, -int(v.version)))
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
        "data": dict(artifact.data),
    }


def _all_pages(search: Callable[..., Any], *given: Any) -> Iterator[Any]:
    """What a search of MLflow's finds, beyond its first page, too."""
    token = None
    while token != "":
        page = search(*given, page_token=token)
        yield from page
        token = page.token or ""


def _holder(client: MlflowClient, name: str, alias: str) -> str | None:
    version = client.get_registered_model(name).aliases.get(alias)
    return str(version) if version else None


def _make_model(client: MlflowClient, name: str) -> None:
    """The name in the registry, where it is missing."""
    from mlflow.exceptions import MlflowException

    def known() -> bool:
        return any(model.name == name for model in client.search_registered_models(f"name = '{_quoted(name)}'"))

    if known():
        return
    try:
        client.create_registered_model(name)
    except MlflowException:
        # Another process was quicker.
        if not known():
            raise


@contextlib.contextmanager
def _noted(
    client: MlflowClient, name: str, version: str, alias: str, entry: Mapping[str, Any] | None
) -> Iterator[None]:
    """Note why a version gets an alias, before it does; where it does not, take the note back."""
    if entry is None:
        yield
        return
    key = _entry_key()
    client.set_model_version_tag(name, version, key, json.dumps(entry, ensure_ascii=False))
    try:
        yield
    except BaseException:
        # A server that did not answer may have moved the alias, or not answer now: then the note stays.
        with contextlib.suppress(Exception):
            if _holder(client, name, alias) != version:
                client.delete_model_version_tag(name, version, key)
        raise


def _read_note(text: str) -> dict[str, Any] | None:
    """What `promote` has noted in a tag; None where somebody else wrote it."""
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= _NOTED else None


def _entry_key() -> str:
    """Names of tags that sort by time; a version that is promoted again gets another."""
    return f"{_ENTRY}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


def _run_for(artifact: Artifact, config: TrackingConfig) -> str:
    """The run that a folder came from, when it is known there with this very model; else a new one."""
    uri = tracking_uri(config)
    experiment = initialise(config)
    with explained(uri):
        client = open_client(uri)
        known = find_run(client, uri, config, artifact.path.parent)
        if known is not None and _run_version(client, known) == artifact.version:
            return known
        run = client.create_run(
            experiment, run_name=f"artifact-{artifact.version}", tags={"mlflow.source.name": "import"}
        )
        run_id = str(run.info.run_id)
        # As a training names the scores of its best checkpoint.
        best = {f"best_{name.removeprefix('best_')}": value for name, value in artifact.metrics.items()}
        finite = [(name, value, 0, 0) for name, value in best.items() if math.isfinite(value)]
        log_metrics(client, run_id, finite)
        log_params(client, run_id, {name: str(value) for name, value in flat(artifact.config).items()})
        log_model(client, run_id, artifact)
        client.set_terminated(run_id)
        return run_id


def _run_version(client: MlflowClient, run_id: str) -> str | None:
    """The version of a run's model; None also where the run is gone, so that a folder gets a new one."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    version: str | None = run.data.tags.get(VERSION_TAG) if run.info.lifecycle_stage == "active" else None
    return version


def _run_model(client: MlflowClient, run_id: str) -> str:
    """Where the latest model of a run lies."""
    run = client.get_run(run_id)
    if VERSION_TAG not in run.data.tags:
        raise UserError(f"The run {run_id} holds no model of linegroup: it has not finished, or is no training run.")
    return f"{run.info.artifact_uri}/{MODELS}/{run.data.tags[VERSION_TAG]}"


def _find_version(client: MlflowClient, reference: str) -> Any:
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", reference)
    if match is None:
        raise UserError(f"{reference!r} must read models:/name@alias or models:/name/version.")
    name, alias, version = match.groups()
    return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)


def _version_record(client: MlflowClient, version: Any, aliases: list[str]) -> dict[str, Any]:
    metrics = client.get_run(version.run_id).data.metrics if version.run_id else {}
    return {
        "name": version.name,
        "version": str(version.version),
        "aliases": sorted(aliases),
        "run_id": version.run_id,
        "artifact_version": version.tags.get(VERSION_TAG),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(version.creation_timestamp / 1000)),
        "metrics": {name: value for name, value in sorted(metrics.items()) if name.startswith("best_")},
    }


def _quoted(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9 ._-]+", name):
        raise UserError(f"A model is named with letters, digits, spaces, '.', '_' and '-'; got {name!r}.")
    return name
