"""What a search makes as large as it can: one number for each chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import unknown_name
from linegroup.metrics import adjusted_rand_index, contingency, line_scores
from linegroup.tuning.charts import Chart

Labels = NDArray[np.uint16]

OBJECTIVES: dict[str, tuple[str, ...]] = {
    "ari": ("ari",),
    "line_f1": ("line_f1",),
    "ari_line_f1": ("ari", "line_f1"),
}
"""By name: the scores of `METRICS` whose mean is the objective; each in [-0.5, 1], larger is better."""


def objective(name: str, chart: Chart, labels: Labels) -> float:
    """The objective of one chart, without the scores that it does not need."""
    return float(np.mean([_SCORES[score](chart, labels) for score in _parts(name)]))


def objective_of(name: str, metrics: Mapping[str, float]) -> float:
    """The objective, where all scores are known."""
    return float(np.mean([metrics[score] for score in _parts(name)]))


def _parts(name: str) -> tuple[str, ...]:
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def _ari(chart: Chart, labels: Labels) -> float:
    """As `metrics.score` has it: each pixel of noise is a group of its own."""
    valid = chart.truth.valid
    return adjusted_rand_index(contingency(chart.truth.labels[valid], labels[valid]))


def _line_f1(chart: Chart, labels: Labels) -> float:
    """As `metrics.score` has it: nothing counts where there is no truth."""
    lines = chart.lines
    if chart.truth.ignore.any():
        known = ~chart.truth.ignore.ravel()
        lines = [line[known[line]] for line in lines]
        labels = np.where(chart.truth.ignore, 0, labels).astype(np.uint16)
    return line_scores([line for line in lines if len(line)], labels)[2]


_SCORES: dict[str, Callable[[Chart, Labels], float]] = {"ari": _ari, "line_f1": _line_f1}
