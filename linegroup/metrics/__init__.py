"""How good a grouping is: partitions, whole lines, foreground."""

from linegroup.metrics.contingency import (
    Contingency,
    adjusted_rand_index,
    contingency,
    pair_scores,
    variation_of_information,
)
from linegroup.metrics.matching import line_scores, overlaps, panoptic_quality, symmetric_best_dice, tolerant_iou
from linegroup.metrics.report import LOWER_IS_BETTER, METRICS, bootstrap_mean, foreground_scores, score

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "Contingency",
    "adjusted_rand_index",
    "bootstrap_mean",
    "contingency",
    "foreground_scores",
    "line_scores",
    "overlaps",
    "pair_scores",
    "panoptic_quality",
    "score",
    "symmetric_best_dice",
    "tolerant_iou",
    "variation_of_information",
]
