"""How good a grouping is: partitions, whole lines, foreground."""

from linegroup.metrics.contingency import (
    Contingency,
    adjusted_rand_index,
    contingency,
    pair_scores,
    variation_of_information,
)
from linegroup.metrics.curves import CURVE_METRICS, FLAT, line_curves, score_curves, score_flat, true_curves
from linegroup.metrics.matching import line_scores, overlaps, panoptic_quality, symmetric_best_dice, tolerant_iou
from linegroup.metrics.report import LOWER_IS_BETTER, METRICS, bootstrap_mean, foreground_scores, score

__all__ = [
    "CURVE_METRICS",
    "FLAT",
    "LOWER_IS_BETTER",
    "METRICS",
    "Contingency",
    "adjusted_rand_index",
    "bootstrap_mean",
    "contingency",
    "foreground_scores",
    "line_curves",
    "line_scores",
    "overlaps",
    "pair_scores",
    "panoptic_quality",
    "score",
    "score_curves",
    "score_flat",
    "symmetric_best_dice",
    "tolerant_iou",
    "true_curves",
    "variation_of_information",
]
