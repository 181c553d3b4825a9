"""The gate of the registry: whether a candidate is clearly worse than the model in use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic import Field as Setting
from pydantic import field_validator

from linegroup.comparison import CANDIDATE, CHAMPION, Comparison
from linegroup.config import Section, Share
from linegroup.errors import unknown_name
from linegroup.evaluation import ALL_METRICS
from linegroup.metrics import LOWER_IS_BETTER

_ONLY_OF_MATCHES = frozenset({"hausdorff", "nrmse"})
"""Means over matched lines: a model that finds none has none, so that they cannot tell a loss."""

_WON_BY_NOTHING = frozenset({"pair_precision", "vi_merge", "fg_precision", "id_switches"})
"""Scores that are best where no line is found: alone they would make an empty model the champion."""


class GateConfig(Section):
    """When a candidate is refused."""

    metrics: tuple[str, ...] = Setting(("ari", "line_f1"), description="Scores that must not get worse.")
    tolerance: float = Setting(0.0, ge=0, description="Loss over all charts that is forgiven.")
    tag_tolerance: float = Setting(0.02, ge=0, description="Loss over the charts of a tag that is forgiven.")
    pictures: int = Setting(30, ge=2, description="Charts of fewer documents decide nothing: refused.")
    tag_pictures: int = Setting(30, ge=2, description="Tags on fewer documents are shown, but not judged.")
    level: Share = Setting(
        0.95, gt=0.5, lt=1, description="Of the intervals; those of tags are wider, the more tags are judged."
    )
    floor: dict[str, float] = Setting({}, description="Mean scores that are demanded in any case, {ari: 0.6}.")
    baseline: str = Setting("none", description="What the first model is compared with; none: the grouper link alone.")
    seed: int = Setting(0, ge=0, description="Of the bootstrap.")

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_word(cls, metrics: Any) -> Any:
        """A single score needs no brackets."""
        return (metrics,) if isinstance(metrics, str) else metrics

    @field_validator("metrics")
    @classmethod
    def _can_tell_a_loss(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if not metrics:
            raise ValueError("name at least one score")
        for metric in metrics:
            _check_metric(metric)
            if metric in _ONLY_OF_MATCHES:
                raise ValueError(f"{metric} is a mean over matched lines and gets no worse where none is found")
        if not set(metrics) - _WON_BY_NOTHING:
            raise ValueError(
                f"a model that finds no line wins in {', '.join(metrics)}: name a score such as ari beside it"
            )
        return metrics

    @field_validator("floor")
    @classmethod
    def _knows_the_scores(cls, floor: dict[str, float]) -> dict[str, float]:
        for metric in floor:
            _check_metric(metric)
        return floor


@dataclass(frozen=True)
class Verdict:
    """Whether the gate lets a candidate pass, and each reason why not."""

    passed: bool
    reasons: tuple[str, ...] = ()


def judge(comparison: Comparison, gate: GateConfig) -> Verdict:
    """Ask the gate: every reason to refuse the candidate.

    A loss counts where its whole interval lies beyond what is forgiven: over all charts, and over the charts of
    each tag that has enough of them. What is enough is counted in documents: charts of one are alike.
    """
    few = [
        f"{metric}: charts of {comparison.documents(metric)} documents have it, the gate wants {gate.pictures}"
        " (gate.pictures)"
        for metric in gate.metrics
        if comparison.documents(metric) < gate.pictures
    ]
    reasons = [*few, *_below_floor(comparison, gate)]
    for metric in gate.metrics:
        reasons += _loss(comparison, gate, metric, None, gate.level, gate.tolerance)
    level = comparison.tag_level(gate.metrics, gate.level, gate.tag_pictures)
    for tag, metric in comparison.judged_tags(gate.metrics, gate.tag_pictures):
        reasons += _loss(comparison, gate, metric, tag, level, gate.tag_tolerance)
    return Verdict(not reasons, tuple(reasons))


def _below_floor(comparison: Comparison, gate: GateConfig) -> list[str]:
    reasons = []
    for metric, floor in gate.floor.items():
        mean = comparison.mean(CANDIDATE, metric)
        worse = mean > floor if metric in LOWER_IS_BETTER else mean < floor
        if worse or math.isnan(mean):
            reasons.append(f"{metric}: {mean:.3f}, the floor is {floor:g} (gate.floor)")
    return reasons


def _loss(
    comparison: Comparison, gate: GateConfig, metric: str, tag: str | None, level: float, forgiven: float
) -> list[str]:
    """The sentence of a clear loss, if it is one."""
    gain = comparison.gain(metric, tag, level=level, seed=gate.seed)
    if not gain.high < -forgiven:
        return []
    one, other = comparison.mean(CANDIDATE, metric, tag), comparison.mean(CHAMPION, metric, tag)
    where = f" on charts with the tag {tag}" if tag is not None else ""
    return [
        f"{metric}{where}: {one:.3f} instead of {other:.3f}, a loss of {-gain.high:.3f} to {-gain.low:.3f}"
        f" ({gain.count} charts)"
    ]


def _check_metric(name: str) -> None:
    if name not in ALL_METRICS:
        raise ValueError(str(unknown_name("score", name, ALL_METRICS)).rstrip("."))
