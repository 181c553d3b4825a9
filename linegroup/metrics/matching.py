"""Scores that match whole lines: symmetric best Dice, panoptic quality, line F1 with tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Lines = Sequence[NDArray[np.int64]]
"""Flat raster indices of each line's pixels; lines may share pixels."""


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pixel counts of all pairs of lines.

    Attributes:
        common: `(T, P) float64`, pixels in both.
        truth: `(T,)`, pixels of each line of truth.
        predicted: `(P,)`, pixels of each predicted line.
    """

    common: NDArray[np.float64]
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @property
    def dice(self) -> NDArray[np.float64]:
        """`(T, P)`: 2·common / (sum of both sizes)."""
        return np.asarray(2 * self.common / np.maximum(self.truth[:, None] + self.predicted[None, :], 1))

    @property
    def iou(self) -> NDArray[np.float64]:
        """`(T, P)`: common / union."""
        union = self.truth[:, None] + self.predicted[None, :] - self.common
        return np.asarray(self.common / np.maximum(union, 1))


def overlaps(truth: Lines, predicted: NDArray[np.integer]) -> Overlaps:
    """Overlaps of true lines with the groups of a label image `(h, w)`; 0 = none, numbers may be left out."""
    flat = consecutive(predicted).ravel()
    count = int(flat.max(initial=0))
    common = np.zeros((len(truth), count + 1))
    for k, line in enumerate(truth):
        common[k] = np.bincount(flat[line], minlength=count + 1)
    sizes = np.bincount(flat, minlength=count + 1)
    return Overlaps(common[:, 1:], np.array([len(line) for line in truth], dtype=float), sizes[1:].astype(float))


def consecutive(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """The labels with the groups numbered 1..P in their order: a number that no pixel has is no group."""
    present = np.bincount(labels.ravel(), minlength=1) > 0
    present[0] = False
    return np.asarray(np.cumsum(present)[labels], dtype=np.int64)


def symmetric_best_dice(table: Overlaps) -> float:
    """SBD (Minervini et al. 2015): the smaller of the two mean best Dice, truth→predicted and back.

    1 when neither side has a line, 0 when only one has.
    """
    if not table.dice.size:
        return 1.0 if not len(table.truth) and not len(table.predicted) else 0.0
    return float(min(table.dice.max(axis=1).mean(), table.dice.max(axis=0).mean()))


def panoptic_quality(table: Overlaps, threshold: float = 0.5) -> float:
    """PQ (Kirillov et al. 2019): summed IoU of the matches over (matches + half of the unmatched of both sides)."""
    matched = match(table.iou, threshold)
    return _quality(sum(table.iou[t, p] for t, p in matched), len(matched), table)


def line_scores(
    truth: Lines, predicted: NDArray[np.integer], radius: int = 1, threshold: float = 0.5
) -> tuple[float, float, float]:
    """Precision, recall and F1 of whole lines; a match needs IoU ≥ `threshold` with `radius` pixels of tolerance.

    The tolerant IoU of two lines counts, on each side, the pixels that have a pixel of the other within
    `radius` (chessboard distance): (hits of truth + hits of predicted) / (sizes of both − the mean of the
    hits). So a line that is one pixel off is the same line, which plain IoU denies for thin lines.
    """
    table = tolerant_iou(truth, predicted, radius)
    matched = len(match(table, threshold))
    n_truth, n_predicted = table.shape
    precision = matched / n_predicted if n_predicted else float(n_truth == 0)
    recall = matched / n_truth if n_truth else float(n_predicted == 0)
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def tolerant_iou(truth: Lines, predicted: NDArray[np.integer], radius: int = 1) -> NDArray[np.float64]:
    """`(T, P)` tolerant IoU of true lines and label image groups (see `line_scores`)."""
    height, width = predicted.shape
    predicted = consecutive(predicted)
    count = int(predicted.max(initial=0))
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), dtype=np.uint8)
    groups = np.split(*_grouped(predicted, count))[1:] if count else []
    sizes = np.array([len(g) for g in groups], dtype=float)
    hits_predicted = np.zeros((len(truth), count))
    flat = predicted.ravel()
    for k, line in enumerate(truth):
        if len(line):
            near, y0, x0 = _dilated(line, width, kernel, radius)
            ys, xs = np.nonzero(near)
            ys, xs = ys + y0, xs + x0
            keep = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
            found = np.bincount(flat[ys[keep] * width + xs[keep]], minlength=count + 1)
            hits_predicted[k] = found[1:]
    hits_truth = np.zeros((len(truth), count))
    for p, group in enumerate(groups):
        if not len(group):
            continue
        near, y0, x0 = _dilated(group, width, kernel, radius)
        for k, line in enumerate(truth):
            ys, xs = line // width - y0, line % width - x0
            keep = (ys >= 0) & (ys < near.shape[0]) & (xs >= 0) & (xs < near.shape[1])
            hits_truth[k, p] = near[ys[keep], xs[keep]].sum()
    n_truth = np.array([len(line) for line in truth], dtype=float)[:, None]
    common = (hits_truth + hits_predicted) / 2
    return np.asarray(common / np.maximum(n_truth + sizes[None, :] - common, 1))


def match(score: NDArray[np.float64], threshold: float) -> list[tuple[int, int]]:
    """One-to-one pairs `(row, column)` of the largest total score, among those of at least `threshold`."""
    if not score.size:
        return []
    allowed = np.where(score >= threshold, score, 0.0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c] > 0]


def _quality(summed: float, matched: int, table: Overlaps) -> float:
    unmatched = (len(table.truth) - matched) + (len(table.predicted) - matched)
    whole = matched + unmatched / 2
    return float(summed / whole) if whole else 1.0


def _grouped(predicted: NDArray[np.integer], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    flat = predicted.ravel()
    ink = np.flatnonzero(flat)
    order = np.argsort(flat[ink], kind="stable")
    ends = np.cumsum(np.bincount(flat[ink], minlength=count + 1))
    return ink[order], ends[:-1]


def _dilated(
    line: NDArray[np.int64], width: int, kernel: NDArray[np.uint8], radius: int
) -> tuple[NDArray[np.uint8], int, int]:
    """The line grown by the kernel, within its own box; and the box's first row and column."""
    ys, xs = line // width, line % width
    y0, x0 = int(ys.min()) - radius, int(xs.min()) - radius
    box = np.zeros((int(ys.max()) - y0 + 1 + radius, int(xs.max()) - x0 + 1 + radius), dtype=np.uint8)
    box[ys - y0, xs - x0] = 1
    return np.asarray(cv2.dilate(box, kernel)), y0, x0
