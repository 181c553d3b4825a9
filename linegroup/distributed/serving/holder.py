"""The life of a model in a replica: loaded, checked, changed for another without a pause."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from linegroup.errors import UserError
from linegroup.predict import Predictor
from linegroup.serving.loading import Loaded
from linegroup.serving.stages import Overloaded
from linegroup.serving.warming import warm_up

_log = logging.getLogger(__name__)

Load = Callable[[str | None], Loaded]


class ModelChoice(BaseModel):
    """`user_config` of the embedder: changed in place, while requests go on.

    Attributes:
        model_uri: Which model, as the setting MODEL_URI; None: the packaged one.
        reload: Any value; another one than before makes the replicas look anew where an alias points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_uri: str | None = None
    reload: Any = None


class ModelHolder:
    """One model that serves, or none yet.

    Args:
        load: From a reference to a model, verified; errors are the model's.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._changing = threading.Lock()
        self._current: Loaded | None = None

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
            try:
                loaded = self._load(ModelChoice.model_validate(choice).model_uri)
                try_out(loaded.predictor)
            except Exception as error:
                if self._current is None:
                    raise
                serving = self._current.info.version
                told = {"choice": dict(choice), "reason": str(error), "serving": serving}
                _log.error("model refused, the one before serves on", extra=told)
                return False
            self._current = loaded
        told = {"choice": dict(choice), "model": loaded.info.name, "version": loaded.info.version}
        _log.info("model serves", extra=told)
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
