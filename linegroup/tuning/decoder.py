"""The search for a grouping: Optuna, in this process, on charts whose maps are known.

Every trial is held against the best one so far on the same charts. One that is behind by more than chance allows is
stopped after a part of them. What was there before is trial 0, so that the answer is never worse than it on these
charts; only other charts say what was gained.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from linegroup.config import Config, GroupingConfig
from linegroup.errors import UserError, unknown_name
from linegroup.interrupts import safe_point
from linegroup.tuning.importance import quiet_optuna
from linegroup.tuning.objective import OBJECTIVES
from linegroup.tuning.scoring import Scorer
from linegroup.tuning.spaces import Space, change
from linegroup.tuning.trials import Trial, best_of

METHOD = "grouping.method"

MOST_WORK = 5_000_000
"""Steps (see `grouping.max_work`) after which a setting is too slow to be tried: a quarter of a second for a chart."""

_PARTS = (0.2, 0.4, 0.7)
"""Shares of the charts after which a trial may be stopped."""

_FEWEST = 3
"""Charts before that."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        grouping: The best setting.
        trials: All, in order.
        number: Of the trial that it is of.
    """

    grouping: GroupingConfig
    trials: tuple[Trial, ...]
    number: int

    @property
    def best(self) -> Trial:
        """The trial that `grouping` is of."""
        return self.trials[self.number]


def search_grouping(
    config: Config,
    space: Space,
    scorer: Scorer,
    charts: Sequence[int],
    *,
    trials: int,
    groups: Sequence[str] | None = None,
    objective: str = "ari",
    seed: int = 0,
    patience: float = 1.0,
    caution: float = 1.0,
    progress: Progress = lambda _done, _total: None,
) -> Found:
    """Look for the grouping with the largest mean objective over some charts.

    The same arguments give the same answer, whatever the number of processes.

    Args:
        config: Of the model; its `grouping` is trial 0, its margins are units of the space.
        space: What is tried, settings of `grouping`.
        scorer: Where the charts are.
        charts: Which of them.
        trials: How many settings are tried, trial 0 included.
        groups: The document of each of the charts: those of one gain and lose together. None: each is its own.
        objective: One of `OBJECTIVES`.
        seed: Of the search, and of the order of the charts.
        patience: Standard errors that a trial may be behind the best one before it is stopped.
        caution: Standard errors that a trial must be ahead of trial 0 to take its place; 0: any gain will do.
        progress: Told how many trials of how many are done.

    Raises:
        UserError: unknown objective, a space that does not fit, no charts, or a grouping that cannot be used as it is.
    """
    if objective not in OBJECTIVES:
        raise unknown_name("objective", objective, OBJECTIVES)
    if not charts or trials < 1:
        raise UserError("A search needs at least one chart and one trial.")
    space = space.of_heads(config.model.heads)
    space.check(config, "grouping")
    order = np.random.default_rng(seed).permutation(np.asarray(charts)).tolist()
    of = dict(zip(charts, charts if groups is None else groups, strict=True))
    search = _Search(config, space, scorer, objective, order, [str(of[chart]) for chart in order], patience)
    with quiet_optuna():
        study = optuna.create_study(direction="maximize", sampler=_sampler(seed))
        search.begin(study)
        progress(1, trials)
        for number in range(1, trials):
            safe_point()
            search.go(study, number)
            progress(number + 1, trials)
    best = search.answer(caution)
    return Found(change(config, best.settings).grouping, tuple(search.trials), best.number)


class _Search:
    """The trials so far, and the scores of the best one chart by chart."""

    def __init__(
        self,
        config: Config,
        space: Space,
        scorer: Scorer,
        objective: str,
        order: list[int],
        groups: list[str],
        patience: float,
    ) -> None:
        self.config = config
        self.space = space
        self.scorer = scorer
        self.objective = objective
        self.order = order
        self.groups = groups
        self.patience = patience
        self.trials: list[Trial] = []
        self.scores: dict[int, list[float]] = {}
        self.best: list[float] = []

    def begin(self, study: optuna.Study) -> None:
        """Score what is there as it is, and let each method begin from it."""
        started = time.perf_counter()
        self.best = self.scores[0] = self.scorer.objective(self.objective, self.config.grouping, self.order)
        mean = float(np.mean(self.best))
        self.trials = [Trial(0, "complete", mean, len(self.order), time.perf_counter() - started)]
        for start in starts(self.space, self.config):
            study.enqueue_trial(start)

    def go(self, study: optuna.Study, number: int) -> None:
        """One more trial."""
        started = time.perf_counter()
        asked = study.ask()
        values = self.space.suggest(asked)
        settings = self.space.settings(values, self.config)
        scores: list[float] = []
        note = ""
        try:
            scores = self._scores(asked, self._tried(settings))
            mean = float(np.mean(scores))
            state: Any = "complete" if len(scores) == len(self.order) else "stopped"
        except UserError as error:
            state, mean, note = "failed", math.nan, str(error)
        study.tell(asked, None if state != "complete" else mean, state=_STATES[state])
        seconds = time.perf_counter() - started
        objective = None if state == "failed" else mean
        self.trials.append(Trial(number, state, objective, len(scores), seconds, values, settings, note))
        if state == "complete":
            self.scores[number] = scores
            self.best = max(self.best, scores, key=np.mean)

    def answer(self, caution: float) -> Trial:
        """The best of the trials that are ahead of trial 0 by more than chance allows, or trial 0."""
        start = self.scores[0]
        ahead = [n for n, scores in self.scores.items() if n == 0 or is_behind(start, scores, caution, self.groups)]
        return best_of([self.trials[n] for n in ahead])

    def _tried(self, settings: Mapping[str, Any]) -> GroupingConfig:
        """A setting that would take long is refused, not sampled: it would be slow in use, too."""
        grouping = change(self.config, settings).grouping
        limit = min(grouping.max_work or MOST_WORK, MOST_WORK)
        return grouping.model_copy(update={"max_work": limit, "over_work": "error"})

    def _scores(self, asked: optuna.Trial, grouping: GroupingConfig) -> list[float]:
        """Chart by chart, as far as it is worth while."""
        scores: list[float] = []
        for first, last in itertools.pairwise(parts(len(self.order))):
            scores += self.scorer.objective(self.objective, grouping, self.order[first:last])
            asked.report(float(np.mean(scores)), last)
            if last < len(self.order) and is_behind(scores, self.best, self.patience, self.groups):
                break
        return scores


_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "stopped": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


def parts(count: int) -> list[int]:
    """Numbers of charts at which trials are looked at, from 0 to all."""
    marks = {math.ceil(share * count) for share in _PARTS}
    return [0, *sorted(mark for mark in marks if _FEWEST <= mark < count), count]


def is_behind(
    scores: Sequence[float], best: Sequence[float], errors: float, groups: Sequence[str] | None = None
) -> bool:
    """Whether a trial is behind another one by more than chance allows, chart held against chart.

    Args:
        scores: Of the trial, on the first charts.
        best: Of the other one, on all.
        errors: Standard errors of the mean difference; one document alone says nothing, unless this is 0.
        groups: The document of each chart; None: each is its own.
    """
    behind = np.asarray(best[: len(scores)]) - np.asarray(scores)
    if not errors:
        return bool(behind.mean() > 0)
    names = range(len(behind)) if groups is None else groups[: len(behind)]
    return bool(behind.mean() > errors * _standard_error(behind, names))


def _standard_error(values: NDArray[np.float64], names: Iterable[Any]) -> float:
    """Of the mean, when values of one name are of one draw (the linearised ratio of sums); of one name it is inf."""
    number: dict[Any, int] = {}
    group = np.array([number.setdefault(name, len(number)) for name in names])
    count = len(number)
    if count < 2:
        return math.inf
    off = np.bincount(group, values - values.mean())
    return math.sqrt(float(off @ off) * count / (count - 1)) / len(values)


def starts(space: Space, config: Config) -> list[dict[str, Any]]:
    """Where to begin: the present setting, as near as the space has it, and the same for each other method."""
    present = config.grouping.method
    methods = [p.choices for p in space.parameters if p.key == METHOD]
    others = [choice for choice in (methods[0] if methods else ()) if choice != present]
    return [space.values({METHOD: method}, config) for method in (present, *others)]


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed)
