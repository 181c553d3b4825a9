"""All scores of one picture, and means with intervals over many."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.metrics.contingency import adjusted_rand_index, contingency, pair_scores, variation_of_information
from linegroup.metrics.matching import (
    Lines,
    consecutive,
    line_scores,
    match,
    overlaps,
    panoptic_quality,
    symmetric_best_dice,
)
from linegroup.targets import Targets

METRICS: dict[str, str] = {
    "ari": "adjusted Rand index over pixels on exactly one line, noise as singletons",
    "pair_f1": "F1 of pairs of pixels said to be on one line",
    "pair_precision": "share of claimed pairs that are right",
    "pair_recall": "share of true pairs that are found",
    "count_error": "|number of lines found − number of lines|",
    "noise_ratio": "share of line pixels that no group has",
    "sbd": "symmetric best Dice of whole lines",
    "pq": "panoptic quality",
    "vi": "variation of information in bits, smaller is better",
    "vi_split": "its part from lines split up",
    "vi_merge": "its part from lines merged",
    "line_f1": "F1 of whole lines, matched at IoU ≥ 0.5 with 1 pixel of tolerance",
    "line_precision": "share of found lines that match",
    "line_recall": "share of lines that are matched",
    "crossing_recall": "share of crossing pixels given to one of their lines",
    "fg_precision": "share of grouped pixels within 2 pixels of a line",
    "fg_recall": "share of line pixels within 2 pixels of a grouped one",
}
"""What `score` returns, and what it means. A score that a picture cannot have (crossings without crossings) is NaN."""

LOWER_IS_BETTER = frozenset(
    {"count_error", "noise_ratio", "vi", "vi_split", "vi_merge", "hausdorff", "nrmse", "id_switches"}
)
"""Among these scores and those of curves."""


def score(truth: Targets, lines: Lines, predicted: NDArray[np.integer]) -> dict[str, float]:
    """Every score of `METRICS` for one picture.

    Args:
        truth: What `draw_targets` says of the picture.
        lines: What `line_pixels` says: all pixels of each line, crossings included.
        predicted: `(h, w) uint16`, 0 = none; the groups' numbers need not be consecutive.

    Where there is no truth (`truth.ignore`) nothing is scored: neither lines nor groups have pixels there.

    Raises:
        UserError: the label image has another size than the truth.
    """
    if predicted.shape != truth.labels.shape:
        raise UserError(f"Labels are {predicted.shape}, the truth is {truth.labels.shape}: sizes must be equal.")
    if truth.ignore.any():
        known = ~truth.ignore.ravel()
        lines = [line[known[line]] for line in lines]
        predicted = np.where(truth.ignore, 0, predicted)
    predicted = consecutive(predicted)
    lines = [line for line in lines if len(line)]
    table = contingency(truth.labels[truth.valid], predicted[truth.valid])
    precision, recall, f1 = pair_scores(table)
    splits, merges = variation_of_information(table)
    whole = overlaps(lines, predicted)
    found_precision, found_recall, found_f1 = line_scores(lines, predicted)
    fg_precision, fg_recall = foreground_scores(truth, predicted > 0)
    valid = predicted[truth.valid]
    return {
        "ari": adjusted_rand_index(table),
        "pair_f1": f1,
        "pair_precision": precision,
        "pair_recall": recall,
        "count_error": float(abs(int(predicted.max(initial=0)) - len(lines))),
        "noise_ratio": float((valid == 0).mean()) if len(valid) else 0.0,
        "sbd": symmetric_best_dice(whole),
        "pq": panoptic_quality(whole),
        "vi": splits + merges,
        "vi_split": splits,
        "vi_merge": merges,
        "line_f1": found_f1,
        "line_precision": found_precision,
        "line_recall": found_recall,
        "crossing_recall": _crossing_recall(truth, lines, predicted),
        "fg_precision": fg_precision,
        "fg_recall": fg_recall,
    }


def foreground_scores(truth: Targets, found: NDArray[np.bool_], tolerance: int = 2) -> tuple[float, float]:
    """Precision and recall of "on a line" with `tolerance` pixels (Euclidean); ignored pixels do not count."""
    known = ~truth.ignore
    found, wanted = found & known, truth.foreground
    precision = float(_near(wanted, tolerance)[found].mean()) if found.any() else 1.0
    recall = float(_near(found, tolerance)[wanted & known].mean()) if (wanted & known).any() else 1.0
    return precision, recall


def bootstrap_mean(values: Sequence[float], seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and percentile bootstrap interval (Efron 1979) of the finite values; NaN where there are none."""
    finite = np.array([v for v in values if np.isfinite(v)])
    if not len(finite):
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = finite[rng.integers(0, len(finite), size=(2000, len(finite)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(finite.mean()), float(low), float(high)


def _near(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Without any pixel set OpenCV returns arbitrary large numbers; nothing is near nothing.
    return np.asarray(away <= distance) if mask.any() else np.zeros_like(mask)


def _crossing_recall(truth: Targets, lines: Lines, predicted: NDArray[np.integer]) -> float:
    """One group stands for each line, by the best match; a crossing pixel is right with any of its lines."""
    crossing = truth.crossing & ~truth.ignore
    if not crossing.any():
        return float("nan")
    table = overlaps(lines, predicted)
    line_of = np.full(len(table.predicted) + 1, -1)
    for number, group in match(table.iou, threshold=0.0):
        line_of[group + 1] = number
    claimed = line_of[predicted.ravel()]
    right = np.zeros(predicted.size, dtype=np.bool_)
    for k, line in enumerate(lines):
        right[line] |= claimed[line] == k
    return float(right[crossing.ravel()].mean())
