"""A trained model as a folder: configuration, weights, grouping, scores. No pickle: nothing in it is executed.

artifact.json         schema, version, SHA-256 of every other file, digests of the data it was trained and validated on
config.json           the whole configuration of the run
weights.safetensors   parameters and buffers
grouping.json         how maps become lines
metrics.json          validation scores
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor
from torch.overrides import TorchFunctionMode

from linegroup.config import Config, GroupingConfig, build_config
from linegroup.errors import UserError, plainly
from linegroup.files import REPLACED, left_beside, new_folder, recover_folder, write_bytes
from linegroup.model import LineModel

logger = logging.getLogger(__name__)

INDEX = "artifact.json"
CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
GROUPING = "grouping.json"
METRICS = "metrics.json"
FILES = (CONFIG, WEIGHTS, GROUPING, METRICS)

PRETRAINED = "pretrained"
"""The packaged model's name."""

PRETRAINED_FOLDER = Path(__file__).parents[1] / PRETRAINED
"""Its artifact folder."""

SCHEMA_NAME = "linegroup.artifact"
SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Artifact:
    """A checked model folder, read into memory.

    Attributes:
        config: Configuration that the model was trained with.
        grouping: How its maps become lines.
        metrics: Its scores; NaN where a score could not be had.
        version: Name of this very content.
        path: Where it was read.
        weights: Parameters and buffers by name.
        data: Digests of what it was trained and validated on (see `training.data.data_tags`); empty: not known.
    """

    config: Config
    grouping: GroupingConfig
    metrics: dict[str, float]
    version: str
    path: Path
    weights: Mapping[str, Tensor] = field(repr=False)
    data: Mapping[str, str] = field(default_factory=dict)

    def build(self, device: torch.device | str = "cpu") -> LineModel:
        """The network with its weights, in evaluation mode, on `device`."""
        model = LineModel(self.config.model, self.config.loss)
        model.load_state_dict(self.weights)
        return model.to(device).eval()


def save_artifact(
    folder: Path,
    model: LineModel,
    config: Config,
    grouping: GroupingConfig,
    metrics: Mapping[str, float],
    version: str | None = None,
    data: Mapping[str, str] | None = None,
) -> Artifact:
    """Write a model folder: the whole of it becomes visible at once, an older artifact there is replaced.

    What a killed writer left beside it is cleared away first (see `recover`).

    Args:
        folder: New, empty, or an artifact.
        model: Its weights must be finite.
        config: Stored as it is, with `model`'s own sections.
        grouping: Stored beside the weights, for every later use.
        metrics: Scores; NaN is stored as null.
        version: Letters, digits, `.`, `_`, `-`; None: a digest of the content.
        data: Digests of what it was trained and validated on, by name.

    Returns:
        The artifact as `load_artifact` reads it.

    Raises:
        UserError: the folder holds something else, the weights are not finite, the version is no name, or it could
            not be written (disk full); then what stands there is whole.
    """
    if version is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", version):
        raise UserError(f"A version is named with letters, digits, '.', '_' and '-'; got {version!r}.")
    _check_replaceable(folder)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _check_finite(weights, "the model to be saved")
    config = config.model_copy(update={"model": model.config, "loss": model.loss_config})
    contents = {
        CONFIG: _json(config.model_dump(mode="json")),
        WEIGHTS: safetensors.save(weights, metadata={"format": "pt"}),
        GROUPING: _json(grouping.model_dump(mode="json")),
        METRICS: _json({name: value if math.isfinite(value) else None for name, value in metrics.items()}),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    version = version or hashlib.sha256(_json(hashes)).hexdigest()[:12]
    index = {
        "schema": f"{SCHEMA_NAME}/{SCHEMA_VERSION}",
        "version": version,
        "sha256": hashes,
        "data": dict(data or {}),
    }
    _write(folder, {**contents, INDEX: _json(index)})
    return load_artifact(folder)


def load_artifact(folder: Path) -> Artifact:
    """Read a model folder and check everything: hashes, configuration, names, shapes and values of the weights.

    Raises:
        UserError: no artifact, a file missing or changed, written by a newer version, or weights that do not fit
            the configuration; the message names the file.
    """
    folder = Path(folder)
    version, hashes, data = _read_index(folder)
    contents = {name: _read_checked(folder / name, hashes[name]) for name in FILES}
    config = build_config(_tree(contents[CONFIG], folder / CONFIG), where=str(folder / CONFIG))
    try:
        grouping = GroupingConfig.model_validate(_tree(contents[GROUPING], folder / GROUPING))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / GROUPING}: {key}: {first['msg']}. Was it made by a newer linegroup?") from None
    metrics = {
        str(name): math.nan if value is None else float(value)
        for name, value in _tree(contents[METRICS], folder / METRICS).items()
    }
    weights = _read_weights(contents[WEIGHTS], folder / WEIGHTS)
    _check_fit(weights, config, folder / WEIGHTS)
    return Artifact(config, grouping, metrics, version, folder.absolute(), weights, data)


def is_artifact(folder: Path) -> bool:
    """Whether there is an artifact at `folder`, good or bad."""
    return (folder / INDEX).is_file()


def copy_artifact(source: Path, folder: Path) -> Artifact:
    """Copy a model folder: the whole of it becomes visible at once.

    Raises:
        UserError: the source is damaged, `folder` holds something that is no artifact, or it could not be written.
    """
    load_artifact(source)
    _check_replaceable(folder)
    _write(folder, {name: (source / name).read_bytes() for name in (*FILES, INDEX)})
    return load_artifact(folder)


def recover(folder: Path) -> None:
    """Clear away what killed writers of an artifact left beside it; for its only writer, before it begins.

    An artifact that had stepped aside for a new one when its writer was killed comes back.

    Args:
        folder: Where the artifact is, or was, or will be.
    """
    if recover_folder(folder, _is_good):
        logger.warning("%s is back: it was being replaced when its writer was killed.", folder)


def _is_good(folder: Path) -> bool:
    try:
        load_artifact(folder)
    except UserError:
        return False
    return True


def _read_index(folder: Path) -> tuple[str, dict[str, str], dict[str, str]]:
    path = folder / INDEX
    if not path.is_file():
        raise UserError(f"{folder} is no model: it has no {INDEX}.{_advice(folder)}")
    tree = _tree(path.read_bytes(), path)
    name, _, number = str(tree.get("schema")).partition("/")
    if name != SCHEMA_NAME or not number.isdecimal():
        raise UserError(f"{path} was not written by linegroup: its schema is {tree.get('schema')!r}.")
    if int(number) > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema {tree['schema']}, newer than {SCHEMA_NAME}/{SCHEMA_VERSION}, the newest that this"
            " version reads. Update linegroup."
        )
    hashes = tree.get("sha256")
    if not isinstance(hashes, dict) or any(not isinstance(hashes.get(file), str) for file in FILES):
        raise UserError(f"{path} is damaged: it lacks the hash of a file. Take the artifact from its source again.")
    data = tree.get("data", {})  # artifacts made before it was noted have none
    if not isinstance(data, dict):
        raise UserError(f"{path} is damaged: its data are no mapping. Take the artifact from its source again.")
    return str(tree.get("version")), hashes, {str(name): str(digest) for name, digest in data.items()}


def _advice(folder: Path) -> str:
    aside = [] if folder.exists() else [path.name for path in left_beside(folder.absolute(), REPLACED)]
    if aside:
        return (
            f" It was being replaced when its writer was killed, and lies beside it as {aside[0]}: run the training"
            " (or the tuning) again, or rename that folder."
        )
    return " Give the `artifact` folder of a training run."


def _read_checked(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): the artifact is incomplete. Take it again."
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"{path} is not what {INDEX} says (another SHA-256): damaged or changed. Take it again.")
    return content


def _read_weights(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is no valid safetensors file: {error}. Take the artifact from its source again."
        ) from None


class _Unfilled(TorchFunctionMode):
    """Parameters are left as they were allocated.

    On `meta` there is nothing to fill, and torch would load its whole compiler for it: a second and more.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, torch.nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check_fit(weights: Mapping[str, Tensor], config: Config, path: Path) -> None:
    with torch.device("meta"), _Unfilled():
        expected = LineModel(config.model, config.loss).state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in weights]
    wrong += [f"{name} is unknown" for name in weights if name not in expected]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} {weights[name].dtype}, expected {tuple(want.shape)} {want.dtype}"
        for name, want in expected.items()
        if name in weights and (weights[name].shape != want.shape or weights[name].dtype != want.dtype)
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"{path} does not fit {CONFIG}: {'; '.join(wrong[:5])}{more}.")
    _check_finite(weights, str(path))


def _check_finite(weights: Mapping[str, Tensor], where: str) -> None:
    bad = [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise UserError(f"Weights of {where} are NaN or infinite: {', '.join(bad[:5])}. Train again with a lower lr.")


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not is_artifact(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something that is no artifact. Name a new folder.")


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    try:
        recover(folder)
        with new_folder(folder) as work:
            for name, content in contents.items():
                write_bytes(work / name, content)
    except OSError as error:
        raise UserError(
            f"Cannot write the model {folder}: {error.strerror or error}. What stands there is whole: make room or"
            " correct the rights, then run the same command again."
        ) from error


def _json(tree: Mapping[str, Any]) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _tree(content: bytes, path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(content)
    except ValueError as error:
        raise UserError(
            f"{path} is not valid JSON: {plainly(error)}. Take the artifact from its source again."
        ) from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a JSON object; got {type(tree).__name__}.")
    return tree
