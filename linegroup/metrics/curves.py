"""All scores of one picture's lines as curves, beside those of its pixels (`linegroup.metrics.report`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linegroup.config import DataConfig
from linegroup.metrics.series import (
    Curve,
    data_extraction_scores,
    flat_lines,
    identity_switches,
    match_curves,
    nrmse,
    resample,
    tolerance_of,
)
from linegroup.sample import Sample
from linegroup.targets import select_category
from linegroup.wire import LineRecord

CURVE_METRICS: dict[str, str] = {
    "curve_f1": "F1 of curves, one being another if 90 % of both lengths lie within max(2 px, 0.5 % of the diagonal)",
    "curve_precision": "share of found curves that are true ones",
    "curve_recall": "share of true curves that are found",
    "hausdorff": "mean Hausdorff distance of the matched curves, pixels",
    "nrmse": "root mean square error of y over its range, mean of the matched curves",
    "id_switches": "how often the found line changes on the way along a true one, mean per line",
    "series_6a": "similarity of data series, the best pairing over the true number (lenient)",
    "series_6b": "the same over the larger number",
}
"""What `score_curves` returns, and what it means. A score that a picture cannot have is NaN."""

FLAT = "flat"
"""Name of the baseline of flat lines at the truth's own means."""

FORWARD = 0.98
"""A curve is a function of x if its way in x is at least this share of what it moves in x."""


def score_curves(truth: Sequence[Curve], found: Sequence[Curve], size: tuple[int, int]) -> dict[str, float]:
    """Every score of `CURVE_METRICS` for one picture.

    Series are in pixels, y upwards from the picture's lower edge. They are compared where every true line is a
    function of x; with a loop among them a picture has no series scores.

    Args:
        truth: True lines, each as its parts `(n, 2)`.
        found: Found lines, likewise.
        size: (height, width) of the picture.
    """
    tolerance = tolerance_of(*size)
    matched = match_curves(truth, found, tolerance)
    scores = dict.fromkeys(CURVE_METRICS, float("nan"))
    scores |= {
        "curve_f1": matched.f1,
        "curve_precision": matched.precision,
        "curve_recall": matched.recall,
        "hausdorff": matched.hausdorff,
        "id_switches": identity_switches(truth, found, tolerance),
    }
    if all(map(is_function, truth)):
        true, other = ([_series(curve, size[0]) for curve in curves] for curves in (truth, found))
        scores["series_6a"], scores["series_6b"] = data_extraction_scores(true, other)
        errors = [nrmse(true[t], other[f]) for t, f in matched.pairs]
        scores["nrmse"] = float(np.mean(errors)) if errors else float("nan")
    return scores


def score_flat(truth: Sequence[Curve], size: tuple[int, int]) -> dict[str, float]:
    """The series scores of a flat line at the mean of each true one: what a score has to beat to say anything."""
    scores = dict.fromkeys(CURVE_METRICS, float("nan"))
    if truth and all(map(is_function, truth)):
        series = [_series(curve, size[0]) for curve in truth]
        scores["series_6a"], scores["series_6b"] = data_extraction_scores(series, flat_lines(series))
    return scores


def is_function(curve: Curve) -> bool:
    """Whether a curve runs one way in x, but for a little."""
    steps = np.concatenate([np.diff(np.asarray(part)[:, 0]) for part in curve])
    moved = float(np.abs(steps).sum())
    return moved > 0 and abs(float(steps.sum())) >= FORWARD * moved


def _series(curve: Curve, height: int) -> NDArray[np.float64]:
    points = resample(curve, 1.0)
    return np.stack([points[:, 0], height - 0.5 - points[:, 1]], axis=1)


def true_curves(sample: Sample, data: DataConfig) -> list[list[NDArray[np.float64]]]:
    """The true lines of the category as their parts `(n, 2)`, closed ones closed; what is within the picture."""
    height, width = sample.size
    curves = []
    for line in select_category(sample, data.category).instances:
        parts = [np.asarray(part, dtype=np.float64) for part in line.part_arrays()]
        parts = [np.concatenate([part, part[:1]]) if line.closed and len(part) > 2 else part for part in parts]
        parts = [piece for part in parts for piece in _within(part, width, height)]
        if parts:
            curves.append(parts)
    return curves


def _within(part: NDArray[np.float64], width: int, height: int) -> list[NDArray[np.float64]]:
    """The pieces of a polyline that lie in the picture, to half a pixel at its edges."""
    corner = (width - 0.5, height - 0.5)
    if ((part >= -0.5) & (part <= corner)).all():
        return [part]
    points = resample([part])
    inside: NDArray[np.bool_] = np.all((points >= -0.5) & (points <= corner), axis=1)
    pieces = np.split(points, np.flatnonzero(np.diff(inside)) + 1)
    return pieces[0 if inside[0] else 1 :: 2]


def line_curves(line: LineRecord) -> list[NDArray[np.float64]]:
    """A found line as its parts `(n, 2)`, a closed one closed."""
    parts = [np.array(curve, dtype=np.float64) for curve in line.curves]
    return [np.concatenate([part, part[:1]]) if line.closed else part for part in parts]
