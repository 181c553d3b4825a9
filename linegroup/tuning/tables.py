"""The trials of a search as a file for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

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
