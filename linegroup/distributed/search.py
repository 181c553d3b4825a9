"""The search for a whole method: Ray Tune trains networks, each is judged with the best grouping for it.

ASHA stops the poor ones early, Optuna chooses what is tried next, `linegroup.tuning.judging` judges.
A training is the loop of `linegroup.training`, in the process that Tune gives it. Its checkpoints are its own, in
`search.out`, which all machines see; so a search that was killed goes on where its trainings stood.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import ResultGrid, TuneConfig, Tuner
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from linegroup.distributed.session import start_ray
from linegroup.errors import UserError
from linegroup.files import write_bytes, write_text
from linegroup.training.artifact import Artifact, is_artifact, load_artifact
from linegroup.training.checkpoint import LAST, load_checkpoint
from linegroup.training.data import data_tags
from linegroup.training.loop import CHECKPOINTS, public, run_length, train
from linegroup.training.runtime import Runtime, choose_device
from linegroup.training.tracking import Tracker, attach, start_tracker
from linegroup.tuning.drawing import draw_search
from linegroup.tuning.grouping import Gain, tune_grouping
from linegroup.tuning.importance import quiet_optuna
from linegroup.tuning.judging import ARTIFACT, Judge
from linegroup.tuning.plans import SearchPlan, save_plan
from linegroup.tuning.settings import DecoderSettings
from linegroup.tuning.tables import trials_csv
from linegroup.tuning.trials import State, Trial, best_of

logger = logging.getLogger(__name__)

TRIALS, PICTURE, REPORT = "search.csv", "search.png", "result.json"
SCHEMA = "linegroup.search/1"
_STATE = "ray"
_WHOLE = 100
"""A training's progress at its end, in percent: what ASHA counts."""

_ENVIRONMENT = {
    # The table is ours.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # An interrupt ends the search; Tune would go on to its end.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Seconds between two notes of where the search stands. A killed one goes on from the last.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # With the older output, `verbose=0` is silence.
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Search:
    """What a finished search left.

    Attributes:
        trials: All trainings in order; `spent` is percent of the length, `note` the reason of a failure.
        best: The number of the best.
        artifact: The model: the best network, its grouping tuned once more.
        tuned: That tuning, on the charts it saw.
        held: On those that it did not see.
        run_id: The MLflow run above those of the trainings.
    """

    trials: tuple[Trial, ...]
    best: int
    artifact: Path
    tuned: Gain
    held: Gain | None
    run_id: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"schema": SCHEMA, **asdict(self), "artifact": str(self.artifact)}


def search_method(plan: SearchPlan) -> Search:
    """Search, or go on with the search in `search.out`.

    Leaves there `artifact` (the best model), `search.csv`, `search.png`, `result.json`, and what `tune_grouping`
    leaves of the last tuning. One training that fails is noted; the others go on.

    Args:
        plan: As `plan_search` made it.

    Raises:
        UserError: every training failed; the first reason is given.
    """
    out, base = plan.out, plan.base
    save_plan(plan)
    tracker = start_tracker(base.tracking, out, public(base), {**data_tags(base.data), "linegroup.kind": "search"})
    try:
        # Standard output is for results.
        silence = contextlib.redirect_stdout(sys.stderr)
        with _environment(), quiet_optuna(), silence, start_ray(base.ray.address, _cpus(plan)):
            grid = _tuner(plan, tracker.run_id).fit()
        trials, names = _trials(plan, grid)
        _close_runs(plan, dict(zip(names, trials, strict=True)))
        search = _finish(plan, trials, names, tracker)
    except BaseException as error:
        tracker.close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.close()
    return search


def _tuner(plan: SearchPlan, parent: str | None) -> Tuner:
    settings = plan.settings
    trainable = tune.with_resources(_trainable(plan, parent), _resources(plan))
    place = str(plan.out / _STATE)
    if Tuner.can_restore(place):
        logger.info("Going on with the search in %s.", plan.out)
        return Tuner.restore(place, trainable, resume_unfinished=True, resume_errored=True)
    return Tuner(
        trainable,
        tune_config=TuneConfig(
            num_samples=settings.trials,
            max_concurrent_trials=settings.concurrent or None,
            search_alg=OptunaSearch(
                plan.space.suggest,
                metric="objective",
                mode="max",
                points_to_evaluate=[plan.space.values({}, plan.base)],
                seed=settings.seed,
            ),
            scheduler=ASHAScheduler(
                time_attr="progress",
                metric="objective",
                mode="max",
                # Beyond the end: trainings end by themselves.
                max_t=_WHOLE + 1,
                grace_period=max(1, round(_WHOLE * settings.grace)),
                reduction_factor=settings.reduction,
            ),
            trial_name_creator=lambda trial: f"trial-{trial.trial_id}",
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=_STATE,
            storage_path=str(plan.out),
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            callbacks=[_Notes(settings.trials)],
            verbose=0,
        ),
    )


def _trainable(plan: SearchPlan, parent: str | None) -> Callable[[dict[str, Any]], None]:
    given = plan.model_dump_json()

    def line_search(values: dict[str, Any]) -> None:
        run_trial(SearchPlan.model_validate_json(given), values, tune.get_context().get_trial_id(), parent)

    return line_search


def run_trial(plan: SearchPlan, values: Mapping[str, Any], trial: str, parent: str | None) -> None:
    """One training of a search, in a process of Tune's, reported to it and to MLflow.

    Args:
        plan: The search.
        values: What is tried, by parameter.
        trial: Its name; also that of its folder.
        parent: The MLflow run above.
    """
    config = plan.config(values, trial)
    folder = plan.folder(trial)
    tags = {**data_tags(config.data), **({"mlflow.parentRunId": parent} if parent else {})}
    tracker = start_tracker(config.tracking, folder, public(config), tags)
    try:
        device = choose_device(config.training.device if _gpus(plan) else "cpu")
        runtime = _JudgedRuntime(device, Judge(config, plan.settings, folder), run_length(config), tracker)
        train(config, runtime, _Numbers(tracker), bar=False)
        # One that was killed after its last checkpoint has not been judged at it.
        runtime.saved(Path(config.training.out), {})
        tracker.model(load_artifact(folder / ARTIFACT))
    except BaseException:
        tracker.close("FAILED")
        raise
    tracker.close()


class _JudgedRuntime(Runtime):
    """Judges each checkpoint, and tells Tune, which may end the training then."""

    def __init__(self, device: Any, judge: Judge, total: int, tracker: Tracker) -> None:
        super().__init__(device)
        self._judge = judge
        self._total = total
        self._tracker = tracker

    def saved(self, out: Path, _metrics: Mapping[str, float]) -> None:
        """See `Runtime.saved`."""
        state = load_checkpoint(out / CHECKPOINTS / LAST)
        if self._judge.last is not None and self._judge.last.step >= state.step:
            # Judged before a kill; Tune may not have heard of it.
            judged = self._judge.last
        else:
            judged, scores = self._judge(state, self)
            finite = {name: value for name, value in scores.items() if math.isfinite(value)}
            self._tracker.metrics({**finite, "objective": judged.objective, "best_objective": judged.best}, judged.step)
        # Tune may end this process at the report.
        self._tracker.flush()
        tune.report({"objective": judged.best, "progress": _WHOLE * judged.step // self._total, "step": judged.step})


class _Numbers(Tracker):
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


class _Notes(tune.Callback):
    """Says what becomes of the trainings."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._best = -math.inf

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override]  # Tune gives all by name
        """One has come to its end, or was stopped."""
        self._done += 1
        result = info["trial"].last_result or {}
        self._best = max(self._best, result.get("objective", -math.inf))
        logger.info(
            "Training %d of %d: %.3f after %d %% (best %.3f)",
            self._done,
            self._total,
            result.get("objective", math.nan),
            result.get("progress", 0),
            self._best,
        )

    def on_trial_error(self, **info: Any) -> None:  # type: ignore[override]
        """One has failed for good."""
        self._done += 1
        logger.warning("Training %d of %d failed: %s", self._done, self._total, info["trial"].trial_id)


def _trials(plan: SearchPlan, grid: ResultGrid) -> tuple[list[Trial], list[str]]:
    """The trainings in the order in which they began, and their names."""
    trials, names = [], []
    for number in range(len(grid)):
        result = grid[number]
        metrics = result.metrics or {}
        progress = int(metrics.get("progress", 0))
        state: State = "failed" if result.error else "complete" if progress >= _WHOLE else "stopped"
        values = dict(result.config or {})
        trials.append(
            Trial(
                number,
                state,
                metrics.get("objective"),
                progress,
                float(metrics.get("time_total_s", 0.0)),
                values,
                plan.space.settings(values, plan.base),
                _reason(result.error),
            )
        )
        names.append(Path(result.path).name)
    return trials, names


def _reason(error: Exception | None) -> str:
    """The last line of a traceback says it."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _close_runs(plan: SearchPlan, trials: Mapping[str, Trial]) -> None:
    """End the MLflow runs of trainings that could not: stopped by ASHA, or dead."""
    status = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
    for folder in sorted((plan.out / "trials").glob("*/run.json")):
        run_id = json.loads(folder.read_text(encoding="utf-8"))["run_id"]
        trial = trials.get(folder.parent.name)
        attach(plan.base.tracking, run_id).close(status[trial.state] if trial else "KILLED")


def _finish(plan: SearchPlan, trials: list[Trial], names: list[str], tracker: Tracker) -> Search:
    out, settings = plan.out, plan.settings
    write_text(out / TRIALS, trials_csv(trials))
    candidates = [t for t in trials if t.objective is not None and is_artifact(plan.folder(names[t.number]) / ARTIFACT)]
    if not candidates:
        reasons = [trial.note for trial in trials if trial.note]
        raise UserError(f"Every training failed: {reasons[0] if reasons else 'none was begun'}. See {out / TRIALS}.")
    best = best_of(candidates)
    write_bytes(out / PICTURE, draw_search(plan.space, trials, best, settings.objective))
    final = DecoderSettings(
        trials=settings.final_trials,
        charts=settings.final_charts,
        objective=settings.objective,
        space=settings.grouping_space,
        seed=settings.seed,
    )
    val = plan.base.data.val
    assert val is not None
    tuning = tune_grouping(str(plan.folder(names[best.number]) / ARTIFACT), val, out, final)
    search = Search(tuple(trials), best.number, tuning.artifact.path, tuning.tuned, tuning.held, tracker.run_id)
    write_text(out / REPORT, json.dumps(search.to_json(), indent=1, ensure_ascii=False) + "\n")
    _report(tracker, plan, search, tuning.artifact)
    return search


def _report(tracker: Tracker, plan: SearchPlan, search: Search, artifact: Artifact) -> None:
    finite = {f"best_{name}": value for name, value in artifact.metrics.items() if math.isfinite(value)}
    best = search.trials[search.best].objective or 0.0
    tracker.metrics({**finite, "objective": best, "trials": float(len(search.trials))}, 0)
    tracker.picture(plan.out / PICTURE)
    tracker.model(artifact)


def _resources(plan: SearchPlan) -> dict[str, float]:
    gpus = _gpus(plan)
    return {"CPU": plan.settings.cpus, **({"GPU": gpus} if gpus else {})}


def _gpus(plan: SearchPlan) -> float:
    if plan.settings.gpus is not None:
        return plan.settings.gpus
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return 1.0 if resources.get("GPU", 0) >= 1 else 0.0


def _cpus(plan: SearchPlan) -> int:
    """CPUs of a private Ray: one training must fit, or it would wait for ever."""
    return max(os.cpu_count() or 1, math.ceil(plan.settings.cpus))


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Tune's settings for the length of a search; what the user has set stays as it is."""
    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
