"""One training of a search, in the process that Tune gives it: the loop of `linegroup.training`, judged as it goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from linegroup.distributed.search_outcome import WHOLE
from linegroup.training.artifact import load_artifact
from linegroup.training.checkpoint import LAST, Checkpoint, find_checkpoint, load_checkpoint
from linegroup.training.data import data_tags
from linegroup.training.loop import CHECKPOINTS, run_length, train
from linegroup.training.runtime import Runtime, choose_device
from linegroup.training.tracking import Tracker, start_tracker
from linegroup.tuning.judging import ARTIFACT, Judge
from linegroup.tuning.plans import SearchPlan


def run_trial(plan: SearchPlan, values: Mapping[str, Any], trial: str, parent: str | None, *, gpu: bool) -> None:
    """One training of a search, reported to Tune and to MLflow.

    Args:
        plan: The search.
        values: What is tried, by parameter.
        trial: Name of its folder.
        parent: The MLflow run above.
        gpu: Whether this process was given a GPU.
    """
    config = plan.config(values, trial)
    folder = plan.folder(trial)
    tags = {**data_tags(config.data), **({"mlflow.parentRunId": parent} if parent else {})}
    stored = plan.stored(config)
    tracker = start_tracker(config.tracking, folder, stored, tags)
    judge = Judge(stored, plan.settings, plan.grouping, folder)
    total = run_length(config)
    try:
        runtime = JudgedRuntime(choose_device(config.training.device if gpu else "cpu"), judge, total, tracker)
        runtime.catch_up(Path(config.training.out))
        train(config, runtime, Numbers(tracker), bar=False)
    except Exception:
        tracker.close("FAILED")
        raise
    except BaseException:
        # Tune ends a training so, at a report, also at the last one.
        tracker.close("FINISHED" if judge.last is not None and judge.last.step >= total else "KILLED")
        raise
    tracker.close()


class JudgedRuntime(Runtime):
    """Judges each checkpoint, and tells Tune, which may end the training then."""

    def __init__(self, device: Any, judge: Judge, total: int, tracker: Tracker) -> None:
        super().__init__(device)
        self._judge = judge
        self._total = total
        self._tracker = tracker

    def catch_up(self, out: Path) -> None:
        """Judge the checkpoint that a training goes on from: a kill may have come between the two."""
        found = find_checkpoint(out / CHECKPOINTS)
        if found is not None:
            self._report(found[0])

    def saved(self, out: Path, _metrics: Mapping[str, float]) -> None:
        """See `Runtime.saved`."""
        self._report(load_checkpoint(out / CHECKPOINTS / LAST))

    def _report(self, state: Checkpoint) -> None:
        judged = self._judge.last
        # One that was judged before a kill is only told again: Tune may not have heard of it.
        if judged is None or judged.step < state.step:
            judged, scores = self._judge(state, self)
            finite = {name: value for name, value in scores.items() if math.isfinite(value)}
            self._tracker.metrics({**finite, "objective": judged.objective, "best_objective": judged.best}, judged.step)
        if judged.step >= self._total:
            self._tracker.model(load_artifact(self._judge.folder / ARTIFACT))
        # Tune may end this process at the report, also at the last one.
        self._tracker.flush()
        tune.report(
            {
                "objective": judged.best,
                "progress": WHOLE * judged.step // self._total,
                "step": judged.step,
                # Tune's own count begins anew with each process.
                "seconds": judged.seconds,
            }
        )


class Numbers(Tracker):
    """Passes on what a training reports, but not its model: the judge's is the one to keep."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.run_id = tracker.run_id

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.metrics`."""
        self._tracker.metrics({name: value for name, value in values.items() if name.startswith("train_")}, step)

    def flush(self) -> None:
        """See `Tracker.flush`."""
        self._tracker.flush()
