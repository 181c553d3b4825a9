"""Which parameters mattered in a search."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna

from linegroup.tuning.spaces import Parameter, Space
from linegroup.tuning.trials import Trial

FEWEST = 8
"""Complete trials without which nothing can be said."""


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """The share that each parameter has in what made the best trials good (PED-ANOVA, Watanabe et al. 2023).

    Parameters with the same condition are held against each other, over the trials that had them; their shares
    make up 1. Parameters of too few complete trials are left out.
    """
    groups: dict[str, list[Parameter]] = {}
    for parameter in space.parameters:
        if len(parameter.choices) != 1:
            groups.setdefault(str(parameter.when), []).append(parameter)
    found: dict[str, float] = {}
    for parameters in groups.values():
        found |= _shares(parameters, trials)
    return found


def _shares(parameters: Sequence[Parameter], trials: Sequence[Trial]) -> dict[str, float]:
    names = [parameter.name for parameter in parameters]
    complete = [t for t in trials if t.state == "complete" and all(name in t.values for name in names)]
    if len(complete) < FEWEST or len({t.objective for t in complete}) < 2:
        return {}
    distributions = {p.name: distribution(p) for p in parameters}
    with quiet_optuna(), warnings.catch_warnings():
        study = optuna.create_study(direction="maximize")
        for trial in complete:
            values = {name: trial.values[name] for name in names}
            study.add_trial(
                optuna.trial.create_trial(params=values, distributions=distributions, value=trial.objective)
            )
        # Where all trials are equally good the shares are 0/0.
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study, params=names)
    return {name: float(shares[name]) for name in names}


def distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    """The parameter as Optuna knows it."""
    if parameter.choices:
        return optuna.distributions.CategoricalDistribution(parameter.labels)
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.integer:
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return optuna.distributions.IntDistribution(low, high, log=parameter.log, step=step)
    return optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna says nothing of its own for this time."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Tune counts anew what a training tells once its process has died; what is told at the end counts.
            warnings.filterwarnings("ignore", message=".*is already reported")
            yield
    finally:
        optuna.logging.set_verbosity(before)
