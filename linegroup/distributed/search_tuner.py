"""Ray Tune as a search uses it: environment, resources, ASHA and Optuna, and going on after a kill."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import ResultGrid, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from linegroup.distributed.search_outcome import WHOLE
from linegroup.distributed.search_state import STATE, claim_folder, find_state, forget
from linegroup.distributed.search_trial import run_trial
from linegroup.environment import default_variables
from linegroup.errors import UserError
from linegroup.tuning.plans import TRAININGS, SearchPlan

logger = logging.getLogger(__name__)

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


def run_trainings(plan: SearchPlan, parent: str | None) -> ResultGrid:
    """All trainings of a search, those of earlier sessions included; Ray must be there.

    Args:
        plan: The search.
        parent: The MLflow run above.

    Raises:
        UserError: Tune ended before all were tried.
    """
    wanted = plan.settings.trials
    grid = open_tuner(plan, parent).fit()
    if len(grid) < wanted:
        logger.warning(
            "Tune has lost trainings (%d of %d are left): it begins anew with their folders.", len(grid), wanted
        )
        forget(plan.out)
        grid = open_tuner(plan, parent).fit()
    if len(grid) < wanted:
        raise UserError(
            f"Ray Tune ended after {len(grid)} of {wanted} trainings; its log says why. Give the same command to go on."
        )
    return grid


def open_tuner(plan: SearchPlan, parent: str | None) -> Tuner:
    """Tune where the search stood, if that can be read, else from the beginning."""
    settings = plan.settings
    resources = trial_resources(plan)
    logger.info("Each training gets %s.", ", ".join(f"{count:g} {name}" for name, count in resources.items()))
    trainable = tune.with_resources(_trainable(plan, parent), resources)
    if find_state(plan.out):
        logger.info("Going on with the search in %s.", plan.out)
        return Tuner.restore(str(plan.out / STATE), trainable, resume_unfinished=True, resume_errored=True)
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
                max_t=WHOLE + 1,
                grace_period=max(1, round(WHOLE * settings.grace)),
                reduction_factor=settings.reduction,
            ),
            trial_name_creator=_trial_name,
            trial_dirname_creator=functools.partial(_trial_folder, plan.out / TRAININGS),
        ),
        run_config=tune.RunConfig(
            name=STATE,
            storage_path=str(plan.out),
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            callbacks=[Notes(settings.trials, settings.max_failures)],
            verbose=0,
        ),
    )


def trial_resources(plan: SearchPlan) -> dict[str, float]:
    """What each training asks for. With `gpus=null` the machines decide that are there now, not those to come."""
    gpus = plan.settings.gpus
    if gpus is None:
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
    return {"CPU": plan.settings.cpus, **({"GPU": gpus} if gpus else {})}


def private_cpus(plan: SearchPlan) -> int:
    """CPUs of a private Ray: one training must fit, or it would wait for ever."""
    return max(os.cpu_count() or 1, math.ceil(plan.settings.cpus))


def tune_environment() -> contextlib.AbstractContextManager[None]:
    """Tune's settings for the length of a search."""
    return default_variables(_ENVIRONMENT)


def _trainable(plan: SearchPlan, parent: str | None) -> Callable[[dict[str, Any]], None]:
    given = plan.model_dump_json()

    def line_search(values: dict[str, Any]) -> None:
        context = tune.get_context()
        # As it was given: one that goes on keeps what it was begun with.
        asked = context.get_trial_resources().required_resources
        folder = Path(context.get_trial_dir()).name
        run_trial(SearchPlan.model_validate_json(given), values, folder, parent, gpu=asked.get("GPU", 0) > 0)

    return line_search


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.trial_id}"


def _trial_folder(trials: Path, trial: Trial) -> str:
    return claim_folder(trials, trial.config, trial.trial_id)


class Notes(tune.Callback):
    """Says what becomes of the trainings."""

    def __init__(self, total: int, deaths: int) -> None:
        self._total = total
        self._deaths = deaths
        self._begun = False
        self._done = 0
        self._best = -math.inf

    def on_step_begin(self, **info: Any) -> None:  # type: ignore[override]
        """A search that goes on has some behind it."""
        if not self._begun:
            self._begun = True
            over = [trial for trial in info["trials"] if trial.status in (Trial.TERMINATED, Trial.ERROR)]
            self._done = len(over)
            self._best = max([(t.last_result or {}).get("objective", -math.inf) for t in over], default=-math.inf)
            if over:
                logger.info("%d of %d trainings are over already (best %.3f)", self._done, self._total, self._best)

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override]  # Tune gives all by name
        """One has come to its end, or was stopped."""
        self._done += 1
        result = info["trial"].last_result or {}
        self._best = max(self._best, result.get("objective", -math.inf))
        logger.info(
            "%d of %d trainings are over, this one with %.3f after %d %% (best %.3f)",
            self._done,
            self._total,
            result.get("objective", math.nan),
            result.get("progress", 0),
            self._best,
        )

    def on_trial_recover(self, **info: Any) -> None:  # type: ignore[override]
        """One has died and begins again."""
        trial = info["trial"]
        error = trial.get_error()
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        logger.warning(
            "Training %s died (%d of %d times that it may) and goes on from its last checkpoint: %s",
            trial.trial_id,
            trial.num_failures,
            self._deaths,
            reason,
        )

    def on_trial_error(self, **info: Any) -> None:  # type: ignore[override]
        """One has failed for good."""
        self._done += 1
        trial = info["trial"].trial_id
        logger.warning("%d of %d trainings are over, this one has failed: %s", self._done, self._total, trial)
