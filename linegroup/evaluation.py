"""How well predictors find lines: scores with intervals, overall and by tag, side by side, and pictures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.config import DataConfig, GroupingConfig
from linegroup.errors import UserError
from linegroup.images import Decoded, decode
from linegroup.metrics import METRICS, bootstrap_mean, score
from linegroup.pictures import Cell, contact_sheet, overlay
from linegroup.predict import Predictor
from linegroup.sample import Sample
from linegroup.targets import draw_targets, line_pixels

BASELINES: dict[str, GroupingConfig] = {
    "colour": GroupingConfig(method="colour", candidates="non_white", noise="assign"),
    "components": GroupingConfig(method="components", candidates="non_white", noise="drop"),
}
"""The trivial methods that a model has to beat: colour clustering and connected components."""


@dataclass(frozen=True)
class Row:
    """One method on one picture.

    Attributes:
        method: Name of the predictor.
        sample: Id of the picture.
        name: Its file name.
        tags: Its tags.
        scores: Every metric; NaN where a picture cannot have it.
    """

    method: str
    sample: int
    name: str
    tags: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """All rows of an evaluation.

    Attributes:
        rows: Method by method for each picture.
        seed: Of the bootstrap.
    """

    rows: tuple[Row, ...]
    seed: int = 0

    @property
    def methods(self) -> list[str]:
        """Names in the order in which they were given."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def tags(self) -> list[str]:
        """All tags, sorted."""
        return sorted({tag for row in self.rows for tag in row.tags})

    def summary(self, method: str, tag: str | None = None) -> dict[str, tuple[float, float, float]]:
        """Mean, low and high end of the 95 % bootstrap interval of each metric, over the pictures with `tag`."""
        rows = [row for row in self.rows if row.method == method and (tag is None or tag in row.tags)]
        return {name: bootstrap_mean([row.scores[name] for row in rows], self.seed) for name in METRICS}

    def to_json(self) -> dict[str, Any]:
        """Plain data; NaN becomes null."""
        return {
            "schema": "linegroup.evaluation/1",
            "pictures": len({row.sample for row in self.rows}),
            "overall": {method: _plain(self.summary(method)) for method in self.methods},
            "tags": {
                tag: {
                    "pictures": len({row.sample for row in self.rows if tag in row.tags}),
                    **{method: _plain(self.summary(method, tag)) for method in self.methods},
                }
                for tag in self.tags
            },
            "rows": [
                {
                    "method": row.method,
                    "sample": row.sample,
                    "name": row.name,
                    "tags": list(row.tags),
                    "scores": {name: _finite(value) for name, value in row.scores.items()},
                }
                for row in self.rows
            ],
        }


def evaluate(
    predictors: Mapping[str, Predictor],
    samples: Iterable[Sample],
    data: DataConfig | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """Score every predictor on every sample.

    Args:
        predictors: By name, in the order of the report.
        samples: With pictures.
        data: How the truth is drawn.
        progress: Called after each sample.

    Raises:
        UserError: there are no samples, or one has no picture.
    """
    rows: list[Row] = []
    for sample in samples:
        image = sample_image(sample)
        truth, lines = draw_targets(sample, data), line_pixels(sample, data)
        for method, predictor in predictors.items():
            scores = score(truth, lines, predictor(image).labels)
            rows.append(Row(method, sample.id, sample.name, sample.tags, scores))
        progress()
    if not rows:
        raise UserError("There is nothing to evaluate: no samples in this split. Choose another one with --split.")
    return Report(tuple(rows))


def sample_image(sample: Sample) -> Decoded:
    """The decoded picture of a sample.

    Raises:
        UserError: the sample has none.
    """
    if sample.image is None:
        raise UserError(f"Sample {sample.id} ({sample.name or 'no name'}) has no picture to evaluate on.")
    return decode(sample.image)


def choose_examples(report: Report, each: int = 2, metric: str = "ari") -> list[tuple[str, int]]:
    """`(kind, sample id)` of the worst, median and best pictures of the report's first method, none twice."""
    first = report.methods[0]
    rows = sorted((row.scores[metric], row.sample) for row in report.rows if row.method == first)
    ids = [sample for _, sample in rows]
    middle = max(0, len(ids) // 2 - each // 2)
    picked = [("worst", s) for s in ids[:each]]
    picked += [("median", s) for s in ids[middle : middle + each]]
    picked += [("best", s) for s in ids[-each:]]
    seen: set[int] = set()
    return [(kind, s) for kind, s in picked if not (s in seen or seen.add(s))]  # type: ignore[func-returns-value]


def example_row(
    kind: str, sample: Sample, predictors: Mapping[str, Predictor], report: Report, data: DataConfig | None = None
) -> list[Cell]:
    """One row of the contact sheet: the picture, its truth, and what each predictor finds."""
    image = sample_image(sample)
    scores = {row.method: row.scores["ari"] for row in report.rows if row.sample == sample.id}
    truth = draw_targets(sample, data)
    cells: list[Cell] = [
        (f"{kind}: {sample.name or sample.id}", image.pixels),
        (f"truth, {truth.count} lines", overlay(image.pixels, truth.labels)),
    ]
    for method, predictor in predictors.items():
        labels = predictor(image).labels
        caption = f"{method}: ARI {scores[method]:.2f}, {int(labels.max(initial=0))} lines"
        cells.append((caption, overlay(image.pixels, labels)))
    return cells


def examples_sheet(rows: Sequence[Sequence[Cell]]) -> NDArray[np.uint8]:
    """The contact sheet of rows made by `example_row`."""
    return contact_sheet(rows, cell=(260, 340))


def _plain(summary: Mapping[str, tuple[float, float, float]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {"mean": _finite(mean), "low": _finite(low), "high": _finite(high)}
        for name, (mean, low, high) in summary.items()
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
