"""The life of a model in a replica: loaded, checked, changed for another without a pause."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from linegroup.errors import UserError
from linegroup.predict import Predictor
from linegroup.serving.loading import Loaded
from linegroup.serving.stages import Overloaded
from linegroup.serving.warming import warm_up
from linegroup.training.registry import written_version

_log = logging.getLogger(__name__)

Load = Callable[[str | None], Loaded]
Meant = Callable[[str], str | None]

RETRY_S = 600.0
"""A version that was refused is tried again after this time: what failed may have been the way to it."""


class ModelChoice(BaseModel):
    """`user_config` of the embedder: changed in place, while requests go on.

    Attributes:
        model_uri: Which model, as the setting MODEL_URI; None: the packaged one.
        reload: Any value; another one than before makes the replicas look at once where an alias points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_uri: str | None = None
    reload: Any = None


class ModelHolder:
    """One model that serves, or none yet.

    Args:
        load: From a reference to a model, verified; errors are the model's.
        meant: From a reference to the version that its alias means now; None for one that always means the same.
    """

    def __init__(self, load: Load, meant: Meant = lambda _reference: None) -> None:
        self._load = load
        self._meant = meant
        self._changing = threading.Lock()
        self._current: Loaded | None = None
        self._choice: Mapping[str, Any] = {}
        """Of the model that serves: its alias is followed, whatever was refused since."""
        self._tried: str | None = None
        """Version of the alias when a model was last loaded or refused."""
        self._again = math.inf
        """When a refused one is tried once more."""
        self._reachable = True

    @property
    def current(self) -> Loaded:
        """What serves now. Who takes it once and keeps it for a picture has one version in all of its answer.

        Raises:
            Overloaded: nothing is loaded yet.
        """
        if self._current is None:
            raise Overloaded("No model is loaded yet.")
        return self._current

    def change(self, choice: Mapping[str, Any]) -> bool:
        """Load a model, try it, and let it serve; the one before serves until then, and on when this one is bad.

        Args:
            choice: A `ModelChoice`.

        Returns:
            Whether it serves now.

        Raises:
            Exception: it is bad, and there is none before.
        """
        with self._changing:
            return self._change(dict(choice))

    def follow(self) -> bool:
        """Load anew where the alias means another version than when a model was last loaded, or refused.

        A registry that does not answer is a warning: what serves serves on.

        Returns:
            Whether another model serves now.
        """
        with self._changing:
            if self._current is None:
                return False
            version = self._ask(self._choice)
            due = self._tried is not None and time.monotonic() >= self._again
            return version is not None and (version != self._tried or due) and self._change(self._choice)

    def _ask(self, choice: Mapping[str, Any]) -> str | None:
        """The version that the alias means now; None where the choice has no alias, or nobody knows."""
        reference = choice.get("model_uri")
        try:
            version = self._meant(reference) if isinstance(reference, str) else None
        # Whatever the registry's client lets through: where it is the model that is missing, loading it says so.
        except Exception as error:
            if self._reachable:
                _log.warning("the registry does not say where the alias points", extra={"reason": str(error)})
            self._reachable = False
            return None
        self._reachable = True
        return version

    def _change(self, choice: Mapping[str, Any]) -> bool:
        version = self._ask(choice)
        try:
            loaded = self._load(ModelChoice.model_validate(choice).model_uri)
            try_out(loaded.predictor)
        except Exception as error:
            if self._current is None:
                raise
            if choice == self._choice:
                self._tried, self._again = version, time.monotonic() + RETRY_S
            serving = self._current.info.version
            told = {"choice": dict(choice), "reason": str(error), "serving": serving}
            _log.error("model refused, the one before serves on", extra=told)
            return False
        # Where the alias has moved meanwhile, nobody knows which of the two was loaded.
        self._tried = version if version is not None and self._ask(choice) == version else None
        registered = self._tried or written_version(str(choice.get("model_uri")))
        info = loaded.info.model_copy(update={"registry_version": registered})
        self._current, self._choice, self._again = replace(loaded, info=info), choice, math.inf
        told = {"choice": dict(choice), "model": info.name, "version": info.version}
        _log.info("model serves", extra={**told, "registry_version": registered})
        return True


def try_out(predictor: Predictor) -> None:
    """Do a small picture in the model's own way: no client is to be the first.

    Raises:
        UserError: its maps are not finite.
        Exception: it cannot do it.
    """
    if predictor.model is not None:
        pixels = np.full((96, 128, 3), 255, dtype=np.uint8)
        pixels[40:42], pixels[:, 60:62] = (200, 30, 30), (30, 60, 200)
        maps = predictor.model.maps(pixels)
        bad = [name for name, values in vars(maps).items() if not np.isfinite(values).all()]
        if bad:
            raise UserError(f"The model's {', '.join(bad)} of a plain chart is not finite: it must not serve.")
    warm_up(predictor, [predictor.grouping.method])
