"""Fine-tuning: a run whose network begins with the weights of a finished model (`training.init`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel
from torch import Tensor

from linegroup.config import Config
from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.training.artifact import load_artifact
from linegroup.training.registry import resolve_model

logger = logging.getLogger(__name__)

_BACKBONE = "backbone."
_S = TypeVar("_S", bound=BaseModel)


def as_started(config: Config) -> Config:
    """The configuration with the network, loss and grouping of the model that `training.init` names.

    What the user set himself stays as it is.

    Raises:
        UserError: there is no such model, or a damaged one.
    """
    if config.training.init is None:
        return config
    artifact = load_artifact(resolve_model(config.training.init, config.tracking))
    return config.model_copy(
        update={
            "model": _filled(config.model, artifact.config.model),
            "loss": _filled(config.loss, artifact.config.loss),
            "grouping": _filled(config.grouping, artifact.grouping),
        }
    )


def load_start(model: LineModel, config: Config) -> None:
    """Put the weights of the model that `training.init` names into a new network.

    The backbone must fit; heads begin anew where the model has none like them.

    Raises:
        UserError: there is no such model, or its backbone is another one.
    """
    if config.training.init is None:
        return
    artifact = load_artifact(resolve_model(config.training.init, config.tracking))
    own = model.state_dict()
    fitting = {name: value for name, value in artifact.weights.items() if _fits(own, name, value)}
    missing = [name for name in own if name not in fitting]
    if any(name.startswith(_BACKBONE) for name in missing):
        raise UserError(
            f"training.init={config.training.init}: its backbone is {artifact.config.model.backbone} of width"
            f" {artifact.config.model.width}, growth {artifact.config.model.growth:g} and depth"
            f" {artifact.config.model.depth}, not the one of model.*. Leave out the settings of model.* that differ."
        )
    if missing:
        logger.warning("New, without weights to begin with: %s.", ", ".join(missing))
    model.load_state_dict({**own, **fitting})


def _filled(given: _S, other: _S) -> _S:
    """What was set in `given`, the rest from `other`."""
    return given.model_copy(
        update={name: getattr(other, name) for name in type(given).model_fields if name not in given.model_fields_set}
    )


def _fits(own: Mapping[str, Tensor], name: str, value: Tensor) -> bool:
    return name in own and own[name].shape == value.shape
