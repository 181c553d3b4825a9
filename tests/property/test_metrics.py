import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.metrics import (
    METRICS,
    adjusted_rand_index,
    contingency,
    pair_scores,
    score,
    variation_of_information,
)
from linegroup.targets import draw_targets, line_pixels
from linegroup.testing import random_sample

labels = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=60).map(
    lambda pairs: np.array(pairs).T
)


@given(labels, st.permutations(range(1, 5)), st.permutations(range(1, 5)))
def test_numbers_of_the_labels_do_not_matter(pair, truth_names, predicted_names):
    truth, predicted = pair
    renamed = np.array([0, *truth_names])[truth], np.array([0, *predicted_names])[predicted]
    a, b = contingency(truth, predicted), contingency(*renamed)
    assert adjusted_rand_index(a) == pytest.approx(adjusted_rand_index(b))
    assert pair_scores(a) == pytest.approx(pair_scores(b))
    assert variation_of_information(a) == pytest.approx(variation_of_information(b))


@given(labels)
def test_by_counting_pairs(pair):
    truth, predicted = pair
    same_line = truth[:, None] == truth
    said = (predicted[:, None] == predicted) & (predicted > 0)
    every = np.triu(np.ones_like(same_line), k=1).astype(bool)
    right, found, there = (said & same_line & every).sum(), (said & every).sum(), (same_line & every).sum()
    precision, recall, _ = pair_scores(contingency(truth, predicted))
    assert precision == pytest.approx(right / found if found else 1)
    assert recall == pytest.approx(right / there if there else 1)


# Drawing is compiled on first use, and the machine may be busy: no time limit per example.
@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 4), st.integers(1, 6), st.data())
def test_every_score_is_in_its_range(seed, lines, groups, data):
    sample = random_sample(seed, (24, 32), lines)
    predicted = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, groups, (24, 32)).astype(np.uint16)
    scores = score(draw_targets(sample), line_pixels(sample), predicted)
    assert set(scores) == set(METRICS)
    for name in (
        "pair_f1",
        "sbd",
        "pq",
        "line_f1",
        "line_precision",
        "line_recall",
        "noise_ratio",
        "fg_precision",
        "fg_recall",
    ):
        assert 0 <= scores[name] <= 1, name
    assert -0.5 <= scores["ari"] <= 1
    assert scores["vi"] >= 0
    assert np.isnan(scores["crossing_recall"]) or 0 <= scores["crossing_recall"] <= 1
