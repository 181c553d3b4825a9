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
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linegroup.config import recipe
from linegroup.distributed.search_outcome import read_trials
from linegroup.distributed.search_tuner import private_cpus, run_trainings, tune_environment
from linegroup.distributed.session import start_ray
from linegroup.errors import UserError
from linegroup.files import write_bytes, write_text
from linegroup.locking import locked
from linegroup.training.artifact import Artifact, load_artifact
from linegroup.training.data import data_tags
from linegroup.training.loop import public
from linegroup.training.tracking import Tracker, drop_run, end_run, start_tracker
from linegroup.tuning.drawing import draw_search
from linegroup.tuning.grouping import Improvement, tune_grouping
from linegroup.tuning.importance import importances, quiet_optuna
from linegroup.tuning.judging import ARTIFACT
from linegroup.tuning.plans import TRAININGS, SearchPlan, save_plan
from linegroup.tuning.settings import DecoderSettings
from linegroup.tuning.tables import finite, trials_csv
from linegroup.tuning.trials import Trial, best_of

logger = logging.getLogger(__name__)

TRIALS, PICTURE, REPORT, BEST = "search.csv", "search.png", "result.json", "best.yaml"
SCHEMA = "linegroup.search/1"
_ENDS = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Search:
    """What a finished search left.

    Attributes:
        trials: All trainings in order; `spent` is percent of the length, `note` the reason of a failure.
        folders: Theirs in `trials`, in the same order; in MLflow a training is called after it.
        best: The number of the best.
        artifact: The model: the best network, its grouping tuned once more.
        tuned: That tuning, on the charts it saw.
        held: On those that it did not see.
        run_id: The MLflow run above those of the trainings.
    """

    trials: tuple[Trial, ...]
    folders: tuple[str, ...]
    best: int
    artifact: Path
    tuned: Improvement
    held: Improvement | None
    run_id: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain data; NaN becomes null."""
        tree: dict[str, Any] = finite({"schema": SCHEMA, **asdict(self), "artifact": str(self.artifact)})
        return tree


def search_method(plan: SearchPlan) -> Search:
    """Search, or go on with the search in `search.out`.

    Leaves there `artifact` (the best model), `best.yaml` (the recipe of its training, with its grouping), `search.csv`,
    `search.png`, `result.json`, and what `tune_grouping` leaves of the last tuning. One training that fails is noted;
    the others go on.

    Args:
        plan: As `plan_search` made it.

    Raises:
        UserError: every training failed (the first reason is given), or another process searches there.
    """
    with locked(plan.out, kind="a search"):
        return _search(plan)


def _search(plan: SearchPlan) -> Search:
    out, base = plan.out, plan.base
    save_plan(plan)
    tracker = start_tracker(base.tracking, out, public(base), {**data_tags(base.data), "linegroup.kind": "search"})
    try:
        # Standard output is for results.
        silence = contextlib.redirect_stdout(sys.stderr)
        with tune_environment(), quiet_optuna(), silence, start_ray(base.ray.address, private_cpus(plan)):
            grid = run_trainings(plan, tracker.run_id)
        trials, names = read_trials(plan, grid)
        _close_runs(plan, {name: _ENDS[trial.state] for name, trial in zip(names, trials, strict=True)})
        _drop_orphans(plan, names)
        search = _finish(plan, trials, names, tracker)
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        _close_runs(plan, {})
        tracker.close(status)
        raise
    tracker.close()
    return search


def _close_runs(plan: SearchPlan, ends: Mapping[str, str]) -> None:
    """End the MLflow runs of trainings that could not: stopped by ASHA, dead, or with the search itself."""
    for folder in _folders(plan):
        end_run(plan.base.tracking, folder, ends.get(folder.name, "KILLED"))


def _drop_orphans(plan: SearchPlan, names: list[str]) -> None:
    """What a search that lost its state has begun and not found again is none of its trainings."""
    for folder in _folders(plan):
        if folder.name not in names:
            logger.info("%s belongs to no training of this search: it is removed.", folder)
            drop_run(plan.base.tracking, folder)
            shutil.rmtree(folder)


def _folders(plan: SearchPlan) -> list[Path]:
    return sorted(path for path in (plan.out / TRAININGS).glob("*") if path.is_dir())


def _finish(plan: SearchPlan, trials: list[Trial], names: list[str], tracker: Tracker) -> Search:
    out, settings = plan.out, plan.settings
    write_text(out / TRIALS, trials_csv(trials))
    best, model = choose_best(plan, trials, names)
    shares = importances(plan.space, trials)
    write_bytes(out / PICTURE, draw_search(plan.space, trials, best, settings.objective, shares))
    final = DecoderSettings(
        trials=settings.final_trials,
        charts=settings.final_charts,
        objective=settings.objective,
        space=settings.grouping_space,
        seed=settings.seed,
    )
    val = plan.base.data.val
    assert val is not None
    tuning = tune_grouping(str(model), val, out, final, space=plan.grouping, owned=True)
    write_text(out / BEST, recipe(tuning.artifact.config.model_copy(update={"grouping": tuning.artifact.grouping})))
    search = Search(
        tuple(trials), tuple(names), best.number, tuning.artifact.path, tuning.tuned, tuning.held, tracker.run_id
    )
    text = json.dumps(search.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(out / REPORT, text + "\n")
    _report(tracker, plan, search, tuning.artifact)
    return search


def choose_best(plan: SearchPlan, trials: list[Trial], names: list[str]) -> tuple[Trial, Path]:
    """The best training whose model can be read, and that model; a damaged one makes way for the next.

    Raises:
        UserError: there is none; the first reason is given.
    """
    left = [trial for trial in trials if trial.objective is not None]
    reasons = [trial.note for trial in trials if trial.note]
    while left:
        best = best_of(left)
        model = plan.folder(names[best.number]) / ARTIFACT
        try:
            load_artifact(model)
        except UserError as error:
            logger.warning("Training %d is left out: %s", best.number, error)
            reasons.append(str(error))
            left.remove(best)
        else:
            return best, model
    raise UserError(f"Every training failed: {reasons[0] if reasons else 'none was begun'}. See {plan.out / TRIALS}.")


def _report(tracker: Tracker, plan: SearchPlan, search: Search, artifact: Artifact) -> None:
    finite = {f"best_{name}": value for name, value in artifact.metrics.items() if math.isfinite(value)}
    best = search.trials[search.best].objective or 0.0
    tracker.metrics({**finite, "objective": best, "trials": float(len(search.trials))}, 0)
    tracker.picture(plan.out / PICTURE)
    tracker.model(artifact)
