"""The trials of a search as files: for spreadsheets, and as plain JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from linegroup.tuning.trials import Trial

_FIRST = ("trial", "state", "objective", "spent", "seconds")


def trials_csv(trials: Sequence[Trial]) -> str:
    """One row for each trial: what became of it, and its settings; empty where a trial has none."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.settings))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_FIRST, *keys, "note"])
    for trial in trials:
        objective = "" if trial.objective is None else f"{trial.objective:.6f}"
        first = [trial.number, trial.state, objective, trial.spent, f"{trial.seconds:.3f}"]
        writer.writerow([*first, *(trial.settings.get(key, "") for key in keys), trial.note])
    return stream.getvalue()


def finite(tree: Any) -> Any:
    """Plain data with null in place of NaN and infinite numbers."""
    if isinstance(tree, Mapping):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
