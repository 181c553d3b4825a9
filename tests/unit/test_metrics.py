"""Scores with known values."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, pair_confusion_matrix

from linegroup.errors import UserError
from linegroup.metrics import (
    METRICS,
    adjusted_rand_index,
    bootstrap_mean,
    contingency,
    foreground_scores,
    line_scores,
    overlaps,
    pair_scores,
    panoptic_quality,
    score,
    symmetric_best_dice,
    tolerant_iou,
    variation_of_information,
)
from linegroup.sample import Instance, Sample
from linegroup.targets import draw_targets, line_pixels
from linegroup.testing import parallel_lines, two_crossing_lines


def drawn(sample):
    return draw_targets(sample), line_pixels(sample)


def ari(truth, predicted) -> float:
    return adjusted_rand_index(contingency(np.array(truth), np.array(predicted)))


def test_noise_is_singletons():
    truth = np.repeat([1, 2], 50)
    one_line_missing = np.repeat([1, 0], 50)
    assert ari(truth, truth) == 1
    assert ari(truth, one_line_missing) < 0.7
    assert adjusted_rand_score(truth, one_line_missing) == 1  # what taking noise for one group would say
    assert ari(truth, np.zeros(100, dtype=int)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"), [([], [], 1), ([1], [1], 1), ([1, 1], [1, 1], 1), ([1, 1], [0, 0], 0)]
)
def test_ari_at_the_edges(truth, predicted, expected):
    assert ari(np.array(truth, dtype=int), np.array(predicted, dtype=int)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(1, 5, 300), rng.integers(1, 6, 300)
    table = contingency(truth, predicted)
    assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(truth, predicted))
    (_, wrong), (missed, right) = pair_confusion_matrix(truth, predicted)
    precision, recall, f1 = pair_scores(table)
    assert precision == pytest.approx(right / (right + wrong))
    assert recall == pytest.approx(right / (right + missed))
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_splits_and_merges_in_bits():
    split = contingency(np.ones(8, dtype=int), np.repeat([1, 2], 4))
    merged = contingency(np.repeat([1, 2], 4), np.ones(8, dtype=int))
    assert variation_of_information(split) == pytest.approx((1, 0))
    assert variation_of_information(merged) == pytest.approx((0, 1))


def test_a_perfect_answer():
    truth, lines = drawn(two_crossing_lines())
    scores = score(truth, lines, truth.labels)
    assert set(scores) == set(METRICS)
    perfect = ("ari", "pair_f1", "line_f1", "crossing_recall", "fg_precision", "fg_recall")
    assert {name: scores[name] for name in perfect} == dict.fromkeys(perfect, 1)
    assert scores["count_error"] == scores["noise_ratio"] == scores["vi"] == 0
    # The lower line lacks the crossing in a label image, so the whole-line scores are just below 1.
    assert 0.9 < scores["sbd"] < 1
    assert 0.9 < scores["pq"] < 1


def test_nothing_found_and_nothing_there():
    truth, lines = drawn(parallel_lines(3))
    nothing = score(truth, lines, np.zeros_like(truth.labels))
    assert nothing["ari"] == pytest.approx(0, abs=1e-9)
    assert (nothing["line_f1"], nothing["sbd"], nothing["pq"], nothing["fg_recall"]) == (0, 0, 0, 0)
    assert (nothing["noise_ratio"], nothing["count_error"]) == (1, 3)
    assert np.isnan(nothing["crossing_recall"])
    empty = draw_targets(Sample(1, (5, 6)))
    right = score(empty, [], np.zeros((5, 6), dtype=np.uint16))
    assert (right["ari"], right["line_f1"], right["sbd"], right["pq"], right["fg_precision"]) == (1, 1, 1, 1, 1)
    wrong = score(empty, [], np.ones((5, 6), dtype=np.uint16))
    assert (wrong["line_f1"], wrong["sbd"], wrong["pq"], wrong["fg_precision"], wrong["count_error"]) == (0, 0, 0, 0, 1)


def test_one_pixel_off_is_the_same_line():
    truth = Sample(1, (30, 60), (Instance(1, [[5, 10], [55, 10]], thickness=2),))
    moved = Sample(1, (30, 60), (Instance(1, [[5, 11], [55, 11]], thickness=2),))
    far = Sample(1, (30, 60), (Instance(1, [[5, 16], [55, 16]], thickness=2),))
    lines = line_pixels(truth)
    assert overlaps(lines, draw_targets(moved).labels).iou[0, 0] < 0.55
    assert tolerant_iou(lines, draw_targets(moved).labels)[0, 0] > 0.95
    assert line_scores(lines, draw_targets(moved).labels) == (1, 1, 1)
    assert line_scores(lines, draw_targets(far).labels) == (0, 0, 0)


def test_splitting_a_line_costs_line_scores():
    truth, lines = drawn(parallel_lines(2, width=80))
    halves = truth.labels.copy()
    halves[:, 40:][halves[:, 40:] == 1] = 3
    precision, recall, _ = line_scores(lines, halves)
    assert precision < 1
    assert recall <= 1
    assert symmetric_best_dice(overlaps(lines, halves)) < 0.9
    assert panoptic_quality(overlaps(lines, halves)) < 0.9


def test_crossing_pixels_may_go_to_either_line_and_no_third():
    truth, lines = drawn(two_crossing_lines())
    either = truth.labels.copy()
    either[truth.crossing] = 1
    assert score(truth, lines, either)["crossing_recall"] == 1
    third = truth.labels.copy()
    third[truth.crossing] = 3
    assert score(truth, lines, third)["crossing_recall"] < 1


def test_foreground_at_two_pixels():
    truth = draw_targets(Sample(1, (30, 60), (Instance(1, [[5, 10], [55, 10]], thickness=1.6),)))
    assert foreground_scores(truth, np.roll(truth.foreground, 2, axis=0)) == (1, 1)
    precision, recall = foreground_scores(truth, np.roll(truth.foreground, 3, axis=0))
    assert precision < 0.1
    assert recall < 0.1


def test_numbers_without_pixels_are_no_groups():
    truth, lines = drawn(parallel_lines(2))
    gaps = np.where(truth.labels == 2, 700, truth.labels).astype(np.uint16)
    assert score(truth, lines, gaps) == pytest.approx(score(truth, lines, truth.labels), nan_ok=True)
    assert overlaps(lines, gaps).iou.shape == tolerant_iou(lines, gaps).shape == (2, 2)


def test_nothing_counts_where_there_is_no_truth():
    truth, lines = drawn(parallel_lines(2))
    ignore = np.zeros_like(truth.ignore)
    ignore[:, :20] = True
    anything = np.where(ignore, 5, truth.labels).astype(np.uint16)
    scores = score(replace(truth, ignore=ignore), lines, anything)
    assert (scores["ari"], scores["line_f1"], scores["pq"], scores["sbd"], scores["fg_precision"]) == (1, 1, 1, 1, 1)
    assert scores["count_error"] == 0


def test_a_thin_line_one_pixel_off_has_a_third_of_plain_iou():
    line = [np.arange(100) + 100 * row for row in (10, 11)]
    moved = np.zeros((30, 100), dtype=np.uint16)
    moved[11:13] = 1
    whole = [np.concatenate(line)]
    assert overlaps(whole, moved).iou[0, 0] == pytest.approx(1 / 3)
    assert line_scores(whole, moved)[2] == 1


def test_wrong_size_is_refused():
    truth, lines = drawn(two_crossing_lines())
    with pytest.raises(UserError, match="sizes must be equal"):
        score(truth, lines, truth.labels[1:])


def test_bootstrap():
    mean, low, high = bootstrap_mean([0.0, 1.0] * 50)
    assert mean == 0.5
    assert 0.38 < low < 0.45 < 0.55 < high < 0.62
    assert bootstrap_mean([0.0, 1.0] * 50) == (mean, low, high)
    assert bootstrap_mean([1.0, float("nan")]) == (1, 1, 1)
    assert np.isnan(bootstrap_mean([float("nan")])).all()
