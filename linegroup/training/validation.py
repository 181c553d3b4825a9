"""Scores on whole charts, grouped as they will be in use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from linegroup.batches import SampleReader, collate, sample_pixels
from linegroup.config import Config
from linegroup.grouping import group_image
from linegroup.metrics import METRICS, score
from linegroup.model import LineModel, evaluating
from linegroup.pictures import Cell, contact_sheet, overlay
from linegroup.plans import spread
from linegroup.targets import Targets, draw_targets, line_pixels
from linegroup.training.runtime import Runtime

Pixels = NDArray[np.uint8]


def validate(
    model: LineModel, samples: SampleReader, config: Config, runtime: Runtime
) -> tuple[dict[str, float], Pixels | None]:
    """Mean scores `val_…` over the validation charts, and a picture of a few of them.

    The charts are whole, one at a time, in full precision, grouped by `config.grouping`. Processes share
    them out, each chart once; the means are those over all charts. Charts that cannot have a score
    (crossings without crossings) are left out of its mean.

    Returns:
        Scores by name (those of `METRICS`, the loss terms, `val_loss`), the same in every process; and in the
        process of rank 0 `(H, W, 3)` with one row per chart: picture, truth, prediction.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    rows: list[list[Cell]] = []
    for index in spread(len(samples), config.training.val_limit)[runtime.rank :: runtime.world]:
        values, row = _score_chart(model, samples, index, config, draw=len(rows) < config.training.pictures)
        rows += [row] if row else []
        for name, value in values.items():
            if math.isfinite(value):
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + 1
    # A process may have had no chart at all, so the names come from the model and the table, not from the values.
    names = [*METRICS, "loss", *model.loss_config.model_dump()]
    totals = runtime.sum([*(sums.get(name, 0.0) for name in names), *(counts.get(name, 0) for name in names)])
    scores = {
        f"val_{name}": total / count
        for name, total, count in zip(names, totals[: len(names)], totals[len(names) :], strict=True)
        if count
    }
    return scores, contact_sheet(rows) if rows and runtime.rank == 0 else None


def _score_chart(
    model: LineModel, samples: SampleReader, index: int, config: Config, *, draw: bool
) -> tuple[dict[str, float], list[Cell]]:
    sample = samples.read(index)
    pixels = sample_pixels(sample)
    truth = draw_targets(sample, config.data)
    field, groups = group_image(pixels, model.maps(pixels), config.decoding)
    labels = groups.image(field)
    values = score(truth, line_pixels(sample, config.data), labels) | _losses(model, pixels, truth)
    if not draw:
        return values, []
    name = sample.name or str(sample.id)
    return values, [
        (name, pixels),
        (f"truth: {truth.count} lines", overlay(pixels, truth.labels)),
        (f"predicted: {groups.count}, ARI {values['ari']:.2f}", overlay(pixels, labels)),
    ]


def _losses(model: LineModel, pixels: Pixels, truth: Targets) -> dict[str, float]:
    batch = collate([(pixels, truth)], model.needs, [0])
    image, inside, targets = model.batch_tensors(batch, model.device)
    with evaluating(model), torch.inference_mode():
        terms = model.loss(model(image), targets, inside)
    return {"loss" if name == "total" else name: float(term) for name, term in terms.items()}


def merit(metric: str, scores: Mapping[str, float]) -> tuple[float, float] | None:
    """What `best` is chosen by, larger is better; None where there is no such score.

    Charts are few and scores saturate: of two checkpoints with the same score the one with the smaller
    validation loss is better.
    """
    if not math.isfinite(scores.get(metric, math.nan)):
        return None
    loss = scores.get("val_loss", math.inf)
    return (-loss if metric == "val_loss" else scores[metric], -loss)


def shown_scores(scores: Mapping[str, float], names: Sequence[str] = ("val_ari", "val_pair_f1", "val_loss")) -> str:
    """The chief scores in words."""
    return ", ".join(f"{name} {scores[name]:.3f}" for name in names if name in scores)
