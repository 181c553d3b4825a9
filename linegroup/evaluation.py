"""How well predictors find lines: scores with intervals, overall and by tag, side by side, and pictures of it."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting

from linegroup.batches import sample_pixels
from linegroup.config import DataConfig, GroupingConfig, Section, checked_section, load_config, settings_tree
from linegroup.errors import UserError
from linegroup.files import write_bytes, write_text
from linegroup.images import encode_png
from linegroup.interrupts import safe_point
from linegroup.metrics import (
    CURVE_METRICS,
    FLAT,
    LOWER_IS_BETTER,
    METRICS,
    bootstrap_mean,
    line_curves,
    score,
    score_curves,
    score_flat,
    true_curves,
)
from linegroup.pictures import Cell, contact_sheet, overlay
from linegroup.plans import spread
from linegroup.predict import Prediction, Predictor, change_grouping
from linegroup.sample import Maps, Sample
from linegroup.shards import ShardSet, category_name
from linegroup.targets import draw_targets, line_pixels
from linegroup.training.noting import DIGEST, note_job
from linegroup.training.tracking import VERSION_TAG

SCHEMA = "linegroup.evaluation/1"

BASELINES: Mapping[str, GroupingConfig] = {
    "colour": GroupingConfig(method="colour", candidates="non_background"),
    "components": GroupingConfig(method="components", candidates="non_background"),
}
"""The trivial methods that a model has to beat: colour clustering and connected components."""

ALL_METRICS: Mapping[str, str] = {**METRICS, **CURVE_METRICS}
"""Of pixels and of curves."""

Progress = Callable[[int, int], None]
"""Told how many of how many samples are done."""


@dataclass(frozen=True)
class Interval:
    """A mean over `count` pictures with its 95 % bootstrap interval; NaN where no picture has the score."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Row:
    """One method on one picture.

    Attributes:
        method: Name of the predictor.
        sample: Id of the picture.
        name: Its file name.
        tags: Its tags.
        lines: Number of true lines that have pixels.
        found: Number of lines found.
        seconds: Time the predictor took.
        scores: Every metric; NaN where a picture cannot have it.
        group: Its document.
    """

    method: str
    sample: int
    name: str
    tags: tuple[str, ...]
    lines: int
    found: int
    seconds: float
    scores: Mapping[str, float]
    group: str = ""


@dataclass(frozen=True)
class Report:
    """All rows of an evaluation.

    Attributes:
        rows: Picture by picture, method by method.
        data: How the truth was drawn.
        seed: Of the bootstrap.
    """

    rows: tuple[Row, ...]
    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0

    @property
    def methods(self) -> list[str]:
        """Names in the order in which they were given."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def tags(self) -> list[str]:
        """All tags, sorted."""
        return sorted({tag for row in self.rows for tag in row.tags})

    def pictures(self, tag: str | None = None) -> int:
        """Number of pictures, or of those with a tag."""
        return len(self._rows(self.methods[0], tag))

    def summary(self, method: str, tag: str | None = None) -> dict[str, Interval]:
        """Every metric's mean over the pictures with `tag`, or over all."""
        rows = self._rows(method, tag)
        return {name: self._interval([row.scores[name] for row in rows]) for name in ALL_METRICS}

    def seconds(self, method: str) -> float:
        """Median time of a method for one picture."""
        return float(np.median([row.seconds for row in self._rows(method, None)]))

    def to_json(self) -> dict[str, Any]:
        """Plain data: NaN becomes null."""
        by_tag = {
            tag: {"pictures": self.pictures(tag), "methods": {m: _plain(self.summary(m, tag)) for m in self.methods}}
            for tag in self.tags
        }
        return {
            "pictures": self.pictures(),
            "truth": {name: getattr(self.data, name) for name in ("category", "thickness", "min_thickness")},
            "lower_is_better": sorted(LOWER_IS_BETTER),
            "methods": {m: _plain(self.summary(m)) for m in self.methods},
            "seconds_per_picture": {m: round(self.seconds(m), 6) for m in self.methods},
            "tags": by_tag,
            "rows": [_plain_row(row) for row in self.rows],
        }

    def _rows(self, method: str, tag: str | None) -> list[Row]:
        return [row for row in self.rows if row.method == method and (tag is None or tag in row.tags)]

    def _interval(self, values: Sequence[float]) -> Interval:
        return Interval(*bootstrap_mean(values, self.seed), count=sum(map(math.isfinite, values)))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `score_model` did.

    Attributes:
        report: The figures.
        predictors: By name, the one that was asked for first.
        shards: What they were scored on.
    """

    report: Report
    predictors: Mapping[str, Predictor]
    shards: ShardSet

    @property
    def first(self) -> Predictor:
        """The predictor that was asked for."""
        return next(iter(self.predictors.values()))

    def to_json(self) -> dict[str, Any]:
        """The report with what was scored on what."""
        data = {"path": str(self.shards.path), "split": self.shards.split, "digest": self.shards.digest}
        return {
            "schema": SCHEMA,
            "model": self.first.record.model_dump(),
            "data": data,
            **self.report.to_json(),
        }


class EvaluationJob(Section):
    """What is scored on what."""

    model: str | None = Setting(None, description="See `Predictor.load`; default: the packaged model.")
    data: str = Setting("shards", description="Shard folder.")
    split: str = "val"
    limit: int = Setting(0, ge=0, description="Only so many charts, at even distances; 0: all.")
    device: str = "auto"
    out: str | None = Setting(None, description="Folder for report.json and examples.png.")
    overrides: tuple[str, ...] = Setting((), description="grouping.key=value or data.key=value.")


def load_evaluation(recipe: Path | None, flags: Mapping[str, Any]) -> EvaluationJob:
    """A job from a YAML file; flags that are not None win.

    Raises:
        UserError: the file is no mapping, a name is unknown, a value out of range.
    """
    tree = settings_tree(recipe, ()) | {name: value for name, value in flags.items() if value is not None}
    return checked_section(EvaluationJob, tree, EvaluationJob(), "Evaluation")


def run_evaluation(job: EvaluationJob) -> Evaluation:
    """Score, save the report where `out` says, and leave a run in MLflow where MLFLOW_TRACKING_URI names a place.

    Raises:
        UserError: see `score_model`.
        OSError: the folder cannot be written.
    """
    evaluation = score_model(
        job.data, job.model, split=job.split, limit=job.limit, overrides=job.overrides, device=job.device
    )
    if job.out is not None:
        save_evaluation(evaluation, Path(job.out))
    report, model = evaluation.report, evaluation.first
    metrics = {f"{m}_{name}": value.mean for m in report.methods for name, value in report.summary(m).items()}
    tags = {DIGEST: evaluation.shards.digest, "data.split": job.split, VERSION_TAG: model.version}
    note_job("evaluation", f"score {model.name}", tags, {**metrics, "pictures": report.pictures()})
    return evaluation


def score_model(
    data: str | Path,
    model: str | None = None,
    *,
    split: str = "val",
    limit: int = 0,
    overrides: Sequence[str] = (),
    against: Sequence[str] = (),
    device: str = "auto",
    progress: Progress = lambda _done, _total: None,
) -> Evaluation:
    """Score a model and the baselines on a split of a shard folder.

    The truth is drawn as the model's own task says (category, thickness), unless overrides say else.

    Args:
        data: Shard folder.
        model: See `Predictor.load`.
        split: Name of the split.
        limit: Score only so many samples, at even distances; 0: all.
        overrides: `grouping.key=value` for the model, `data.key=value` for the truth.
        against: Further groupers by name, on the same maps with the same settings.
        device: See `Predictor.load`.
        progress: Called with the number of samples done and their total.

    Raises:
        UserError: no such shards, split, model or setting, or nothing to score.
    """
    shards = ShardSet(data, split)
    drawing = load_config(None, [text for text in overrides if text.startswith("data.")]).data
    first = Predictor.load(model, device, [text for text in overrides if not text.startswith("data.")])
    drawing = first.data.model_copy(update=drawing.model_dump(exclude_unset=True))
    drawing = drawing.model_copy(update={"category": category_name(drawing.category, shards.categories, shards.path)})
    others = {
        name: replace(first, grouping=change_grouping(first.grouping, [f"grouping.method={name}"])) for name in against
    }
    predictors = {"link" if first.model is None else "model": first, **others, **baselines()}
    chosen = spread(len(shards), limit)
    done = itertools.count(1)
    report = evaluate(predictors, (shards.read(i) for i in chosen), drawing, lambda: progress(next(done), len(chosen)))
    return Evaluation(report, predictors, shards)


def save_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Write `report.json` and the contact sheet `examples.png` into `out`.

    Raises:
        OSError: the folder cannot be written.
    """
    shards, report = evaluation.shards, evaluation.report
    index = {number: i for i, number in enumerate(shards.ids.tolist())}
    rows = [
        example_row(kind, shards.read(index[sample]), evaluation.predictors, report)
        for kind, sample in choose_examples(report)
    ]
    write_bytes(out / "examples.png", encode_png(contact_sheet(rows, cell=(260, 340))))
    text = json.dumps(evaluation.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(out / "report.json", text + "\n")


def baselines() -> dict[str, Predictor]:
    """The trivial methods by name, each with settings of its own."""
    return {name: Predictor.without_model(grouping) for name, grouping in BASELINES.items()}


def evaluate(
    predictors: Mapping[str, Predictor],
    samples: Iterable[Sample],
    data: DataConfig | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """Score every predictor on every sample.

    Args:
        predictors: By name, in the order of the report.
        samples: With pictures; only one is in memory at a time.
        data: How the truth is drawn; the category by its name (see `category_name`).
        progress: Called after each sample.

    Raises:
        UserError: there are no samples, or one has no picture of its own size.
    """
    data = data or DataConfig()
    rows: list[Row] = []
    for sample in samples:
        pixels = sample_pixels(sample)
        truth, lines = draw_targets(sample, data), line_pixels(sample, data)
        curves = true_curves(sample, data)
        count = sum(len(line) > 0 for line in lines)
        maps: dict[int, tuple[Maps, float]] = {}
        for method, predictor in predictors.items():
            prediction, seconds = _timed(predictor, pixels, maps)
            labels = prediction.labels
            found_curves = [line_curves(line) for line in prediction.lines]
            scores = {**score(truth, lines, labels), **score_curves(curves, found_curves, sample.size)}
            found = int(labels.max(initial=0))
            rows.append(Row(method, sample.id, sample.name, sample.tags, count, found, seconds, scores, sample.group))
        flat = {**dict.fromkeys(METRICS, math.nan), **score_flat(curves, sample.size)}
        rows.append(Row(FLAT, sample.id, sample.name, sample.tags, count, count, 0.0, flat, sample.group))
        progress()
        safe_point()
    if not rows:
        raise UserError("There is nothing to evaluate: no samples. Choose another split with --split.")
    return Report(tuple(rows), data)


def _timed(
    predictor: Predictor, pixels: NDArray[np.uint8], maps: dict[int, tuple[Maps, float]]
) -> tuple[Prediction, float]:
    """A prediction and its seconds; the maps of each model are computed once for a picture."""
    if predictor.model is not None and id(predictor.model) not in maps:
        started = time.perf_counter()
        made = predictor.model.maps(pixels)
        maps[id(predictor.model)] = made, time.perf_counter() - started
    known, embedding = maps.get(id(predictor.model), (None, 0.0))
    started = time.perf_counter()
    prediction = predictor(pixels, known)
    return prediction, time.perf_counter() - started + embedding


def choose_examples(report: Report, each: int = 2, metric: str = "ari") -> list[tuple[str, int]]:
    """`(kind, sample id)` of the worst, median and best pictures of the report's first method, none twice."""
    rows = [row for row in report.rows if row.method == report.methods[0] and math.isfinite(row.scores[metric])]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    ranked = [row.sample for row in sorted(rows, key=lambda row: (sign * row.scores[metric], row.sample))]
    middle = max(0, (len(ranked) - each) // 2)
    parts = {"worst": ranked[:each], "median": ranked[middle : middle + each], "best": ranked[-each:]}
    kinds: dict[int, str] = {}
    for kind in ("worst", "best", "median"):
        for sample in parts[kind]:
            kinds.setdefault(sample, kind)
    return [(kinds[sample], sample) for sample in ranked if sample in kinds]


def example_row(kind: str, sample: Sample, predictors: Mapping[str, Predictor], report: Report) -> list[Cell]:
    """One row of the contact sheet: the picture, its truth, and what each predictor finds with its ARI."""
    pixels = sample_pixels(sample)
    aris = {row.method: row.scores["ari"] for row in report.rows if row.sample == sample.id}
    truth = draw_targets(sample, report.data)
    cells: list[Cell] = [
        (f"{kind}: {sample.name or sample.id}", pixels),
        (f"truth: {truth.count} lines", overlay(pixels, truth.labels)),
    ]
    for method, predictor in predictors.items():
        labels = predictor(pixels).labels
        caption = f"{method}: ARI {round(aris[method], 2) + 0:.2f}, {int(labels.max(initial=0))} lines"
        cells.append((caption, overlay(pixels, labels)))
    return cells


def _plain(summary: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    return {
        name: {"mean": _finite(it.mean), "low": _finite(it.low), "high": _finite(it.high), "count": it.count}
        for name, it in summary.items()
    }


def _plain_row(row: Row) -> dict[str, Any]:
    scores = {name: _finite(value) for name, value in row.scores.items()}
    return {**vars(row), "tags": list(row.tags), "seconds": round(row.seconds, 6), "scores": scores}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
