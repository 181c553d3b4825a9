"""What Tune says of the trainings of a search, in our words."""

from __future__ import annotations

from pathlib import Path

from ray.tune import ResultGrid

from linegroup.distributed.search_state import began
from linegroup.tuning.plans import TRAININGS, SearchPlan
from linegroup.tuning.trials import State, Trial

WHOLE = 100
"""A training's progress at its end, in percent: what ASHA counts."""


def read_trials(plan: SearchPlan, grid: ResultGrid) -> tuple[list[Trial], list[str]]:
    """The trainings in the order in which they began, and the names of their folders."""
    trials, names = [], []
    # Tune itself tells them in another order after it has gone on with a search.
    results = sorted((grid[k] for k in range(len(grid))), key=lambda r: began(plan.out / TRAININGS, Path(r.path).name))
    for number, result in enumerate(results):
        metrics = result.metrics or {}
        progress = int(metrics.get("progress", 0))
        state: State = "failed" if result.error else "complete" if progress >= WHOLE else "stopped"
        values = dict(result.config or {})
        trials.append(
            Trial(
                number,
                state,
                metrics.get("objective"),
                progress,
                float(metrics.get("seconds", 0.0)),
                values,
                plan.space.settings(values, plan.base),
                reason(result.error),
            )
        )
        names.append(Path(result.path).name)
    return trials, names


def reason(error: Exception | None) -> str:
    """Why a training failed: the last line of a traceback says it."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""
