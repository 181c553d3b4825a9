"""The record of a search: one row for each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        number: 0 is what was there before.
        state: complete; stopped early, because it was worse than the best; or failed.
        objective: On what it was scored on; None where it failed.
        spent: How much of the whole it took: charts, or percent of a training.
        seconds: Time it took.
        values: What was chosen, by the parameter's name.
        settings: The settings that this means, dotted.
        note: Why it failed.
    """

    number: int
    state: State
    objective: float | None
    spent: int
    seconds: float
    values: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def best_of(trials: Sequence[Trial]) -> Trial:
    """The complete trial with the largest objective, or the best of the others where none is; of equals the first."""
    scored = [trial for trial in trials if trial.objective is not None]
    complete = [trial for trial in scored if trial.state == "complete"]
    return max(complete or scored, key=lambda trial: (trial.objective, -trial.number))
