"""Two models on the same frozen charts: what one gains over the other, overall and by tag."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linegroup.config import DataConfig, TrackingConfig, load_config
from linegroup.errors import UserError
from linegroup.evaluation import Progress, Report, Row, evaluate
from linegroup.metrics import LOWER_IS_BETTER
from linegroup.metrics.paired import PairedGain, paired_gain
from linegroup.plans import spread
from linegroup.predict import Predictor
from linegroup.sample import Sample
from linegroup.shards import ShardSet, category_name
from linegroup.sources.synth import is_stream, open_stream
from linegroup.training.data import STREAM_CATEGORIES
from linegroup.wire import ModelRecord

SCHEMA = "linegroup.comparison/1"

CANDIDATE, CHAMPION = "candidate", "champion"
"""Names of the two in the report."""

_DRAWING = ("category", "thickness", "min_thickness")


@dataclass(frozen=True)
class Frozen:
    """Charts that are the same in every comparison.

    Attributes:
        name: Shard folder, or generated source.
        split: Of the shards; None for a generated source.
        digest: Names the data exactly.
        numbers: Which of them are used.
        read: The sample of a number.
        categories: Category names by number.
        groups: The document of each that is used; empty: each is its own.
    """

    name: str
    split: str | None
    digest: str
    numbers: Sequence[int]
    read: Callable[[int], Sample]
    categories: Mapping[int, str]
    groups: Sequence[str] = ()

    @property
    def documents(self) -> int:
        """Number of documents that the charts are of."""
        return len(set(self.groups)) if self.groups else len(self.numbers)

    def to_json(self) -> dict[str, Any]:
        """Plain data: what names the charts."""
        return {"name": self.name, "split": self.split, "digest": self.digest, "pictures": len(self.numbers)}


def open_frozen(name: str, split: str = "val", limit: int = 0) -> Frozen:
    """The charts of a shard folder's split, or of a generated source such as `synth:validation`.

    Args:
        name: Folder, or source; of one without end the first `limit` charts.
        split: Of a shard folder.
        limit: Only so many, at even distances; 0: all.

    Raises:
        UserError: no such shards, split or source, or a source without end and no limit.
    """
    if not is_stream(name):
        shards = ShardSet(name, split)
        chosen = spread(len(shards), limit)
        groups, names = shards.groups, shards.categories
        return Frozen(str(shards.path), split, shards.digest, chosen, shards.read, names, [groups[i] for i in chosen])
    stream = open_stream(name)
    if isinstance(stream, Sized):
        numbers: Sequence[int] = spread(len(stream), limit)
    elif limit > 0:
        numbers = range(limit)
    else:
        raise UserError(f"{name} has no end: say how many of its charts are compared, for example --limit 200.")
    return Frozen(name, None, stream.digest, numbers, stream.read, STREAM_CATEGORIES)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare_models` found.

    Attributes:
        report: Scores of both on every chart, under `CANDIDATE` and `CHAMPION`.
        candidate: Name and version of the one.
        champion: Name and version of the other.
        data: On which charts.
    """

    report: Report
    candidate: ModelRecord
    champion: ModelRecord
    data: Frozen

    def gain(self, metric: str, tag: str | None = None, *, level: float = 0.95, seed: int = 0) -> PairedGain:
        """What the candidate gains in a metric over the charts with `tag`, or over all."""
        one, other = (self._scores(method, metric, tag) for method in (CANDIDATE, CHAMPION))
        better = metric in LOWER_IS_BETTER
        groups = [row.group for row in self._with_tag(CANDIDATE, tag)]
        return paired_gain(one, other, groups=groups, lower_is_better=better, level=level, seed=seed)

    def documents(self, metric: str, tag: str | None = None) -> int:
        """Number of documents with a chart on which both have a score; a chart without any is its own."""
        pairs = zip(self._with_tag(CANDIDATE, tag), self._with_tag(CHAMPION, tag), strict=True)
        both = [one.group for one, other in pairs if math.isfinite(one.scores[metric] - other.scores[metric])]
        return len(set(both))

    def judged_tags(self, metrics: Sequence[str], fewest: int) -> list[tuple[str, str]]:
        """Tags with each metric that charts of at least `fewest` documents have."""
        return [(tag, m) for tag in self.report.tags for m in metrics if self.documents(m, tag) >= fewest]

    def tag_level(self, metrics: Sequence[str], level: float, fewest: int) -> float:
        """The level of each interval of a tag, such that all that are judged are to hold together with `level`."""
        return together(level, len(self.judged_tags(metrics, fewest)))

    def mean(self, method: str, metric: str, tag: str | None = None) -> float:
        """Mean score of `CANDIDATE` or `CHAMPION` over the charts that have it; NaN where none has."""
        finite = [value for value in self._scores(method, metric, tag) if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else math.nan

    def pictures(self, tag: str | None = None) -> int:
        """Number of charts, or of those with a tag."""
        return self.report.pictures(tag)

    def to_json(self, metrics: Sequence[str], level: float = 0.95, seed: int = 0, fewest: int = 30) -> dict[str, Any]:
        """Plain data; intervals by tag hold for all tags and metrics together that are judged (see `judged_tags`)."""
        tags = self.report.tags
        narrow = self.tag_level(metrics, level, fewest)
        return {
            "schema": SCHEMA,
            "candidate": self.candidate.model_dump(),
            "champion": self.champion.model_dump(),
            "data": self.data.to_json(),
            "truth": {name: getattr(self.report.data, name) for name in _DRAWING},
            "level": level,
            "tag_level": narrow,
            "overall": {metric: self._record(metric, None, level, seed) for metric in metrics},
            "tags": {
                tag: {
                    "pictures": self.pictures(tag),
                    **{metric: self._record(metric, tag, narrow, seed) for metric in metrics},
                }
                for tag in tags
            },
        }

    def _record(self, metric: str, tag: str | None, level: float, seed: int) -> dict[str, float | int | None]:
        gain = self.gain(metric, tag, level=level, seed=seed)
        means = {method: self.mean(method, metric, tag) for method in (CANDIDATE, CHAMPION)}
        numbers = {**means, "gain": gain.mean, "low": gain.low, "high": gain.high}
        return {name: value if math.isfinite(value) else None for name, value in numbers.items()} | {
            "count": gain.count
        }

    def _scores(self, method: str, metric: str, tag: str | None) -> list[float]:
        return [row.scores[metric] for row in self._with_tag(method, tag)]

    def _with_tag(self, method: str, tag: str | None) -> list[Row]:
        return [row for row in self._rows[method] if tag is None or tag in row.tags]

    @functools.cached_property
    def _rows(self) -> dict[str, list[Row]]:
        """Of each of both, in the order of the charts."""
        rows = sorted(self.report.rows, key=lambda row: row.sample)
        return {method: [row for row in rows if row.method == method] for method in (CANDIDATE, CHAMPION)}


def together(level: float, intervals: int) -> float:
    """The level of each of several intervals that are to hold together with `level` (Bonferroni)."""
    return 1 - (1 - level) / max(1, intervals)


def compare_models(
    candidate: str,
    champion: str,
    data: str,
    *,
    split: str = "val",
    limit: int = 0,
    overrides: Sequence[str] = (),
    device: str = "auto",
    tracking: TrackingConfig | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Comparison:
    """Score two models on the same charts, chart by chart.

    Args:
        candidate: See `Predictor.load`.
        champion: Likewise.
        data: Shard folder or generated source, see `open_frozen`.
        split: Of a shard folder.
        limit: See `open_frozen`.
        overrides: `data.key=value`: how the truth is drawn; else as the models' own task has it.
        device: See `Predictor.load`.
        tracking: Where the registry is.
        progress: Called with the number of charts done and their total.

    Raises:
        UserError: no such data or model, nothing to score, or models of different tasks.
    """
    frozen = open_frozen(data, split, limit)
    first, second = (Predictor.load(name, device, tracking=tracking) for name in (candidate, champion))
    drawing = _drawing(first, second, overrides)
    drawing = drawing.model_copy(
        update={"category": category_name(drawing.category, frozen.categories, Path(frozen.name))}
    )
    done = itertools.count(1)
    report = evaluate(
        {CANDIDATE: first, CHAMPION: second},
        (frozen.read(number) for number in frozen.numbers),
        drawing,
        lambda: progress(next(done), len(frozen.numbers)),
    )
    return Comparison(report, first.record, second.record, frozen)


def _drawing(first: Predictor, second: Predictor, overrides: Sequence[str]) -> DataConfig:
    """How the truth is drawn: one truth for both."""
    given = load_config(None, overrides)
    if given.model_fields_set - {"data"}:
        raise UserError("Only settings of `data` can be changed in a comparison, for example data.thickness=2.")
    fixed = given.data.model_dump(exclude_unset=True)
    with_task = [predictor for predictor in (first, second) if predictor.model is not None]
    for name in _DRAWING:
        values = {getattr(predictor.data, name) for predictor in with_task}
        if len(values) > 1 and name not in fixed:
            one, other = (getattr(predictor.data, name) for predictor in with_task)
            raise UserError(
                f"The models draw the truth differently: data.{name} is {one} for the candidate and {other} for the"
                f" other. Say which holds for both, for example --set data.{name}={one}."
            )
    task = with_task[0].data if with_task else DataConfig()
    return task.model_copy(update=fixed)
