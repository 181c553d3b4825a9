"""What several commands need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from linegroup.predict import Predictor


def console() -> Console:
    """Standard error: progress and warnings; results go to standard output."""
    return Console(stderr=True)


def grouping_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`eps=0.4` or `grouping.eps=0.4` as a dictionary.

    Raises:
        UserError: a setting is unknown or out of range.
    """
    from linegroup.config import load_config

    names = [s if s.startswith("grouping.") else f"grouping.{s}" for s in settings]
    changed = load_config(None, names).grouping
    return {name.removeprefix("grouping.").partition("=")[0]: getattr(changed, _key(name)) for name in names}


def _key(setting: str) -> str:
    return setting.removeprefix("grouping.").partition("=")[0]


def without_model(predictor: Predictor) -> str:
    """What to say when there is no network."""
    return (
        f"No model is packaged yet and none was given (--model): grouping by {predictor.grouping.method} alone, "
        "without learning."
    )
