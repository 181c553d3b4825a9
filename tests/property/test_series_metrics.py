import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.metrics.series import (
    data_extraction_scores,
    flat_lines,
    hausdorff,
    identity_switches,
    match_curves,
    nrmse,
    resample,
    series_similarity,
    tolerance_of,
)

seeds = st.integers(0, 10_000)


def test_vertices_close_together_count_no_more():
    even = np.array([[0.0, 50], [400, 50]])
    dense = np.stack([np.append(np.linspace(0, 200, 20_001), 400), np.full(20_002, 50.0)], axis=1)
    half = np.array([[0.0, 50], [200, 50]])
    for line in (even, dense):
        assert match_curves([[line]], [[half]], 2.0).f1 == 0
        assert match_curves([[half]], [[line]], 2.0).f1 == 0
        assert match_curves([[line]], [[even]], 2.0).f1 == 1
    # Another curve is nearer for a pixel in the middle of many vertices: not as long as the tolerance.
    aside = np.array([[100.0, 50], [101, 50]])
    below = even + np.array([0, 0.5])
    for line in (even, dense):
        assert identity_switches([[line]], [[below], [aside]], 2.0) == 0


def wave(rng, count=60, up=0.0):
    x = np.linspace(10, 300, count)
    return np.stack([x, 100 + 40 * np.sin(x / rng.uniform(20, 60) + rng.uniform(0, 6)) + rng.normal() + up], axis=1)


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 5))
def test_the_truth_itself_is_perfect_in_any_order(seed, count):
    rng = np.random.default_rng(seed)
    truth = [wave(rng, up=60 * k) for k in range(count)]
    found = [truth[k] for k in rng.permutation(count)]
    assert data_extraction_scores(truth, found) == pytest.approx((1, 1))
    curves = [[line] for line in truth]
    matched = match_curves(curves, [[line] for line in found], 2.0)
    assert (matched.precision, matched.recall, matched.f1) == (1, 1, 1)
    assert matched.hausdorff == pytest.approx(0, abs=1e-9)
    assert identity_switches(curves, [[line] for line in found], 2.0) == 0
    assert nrmse(truth[0], truth[0]) == 0


@settings(deadline=None, max_examples=40)
@given(seeds, st.floats(0.5, 20))
def test_a_shift_is_its_hausdorff_distance(seed, shift):
    line = wave(np.random.default_rng(seed))
    turn = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    moved = line + shift * np.array([np.cos(turn), np.sin(turn)])
    assert hausdorff([line], [moved]) <= shift + 0.26
    matched = match_curves([[line]], [[moved]], 2.0)
    assert matched.f1 == 1 if shift < 1.9 else True
    assert hausdorff([line], [moved]) == pytest.approx(hausdorff([moved], [line]))


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_scores_lie_between_0_and_1_and_6b_is_never_more(seed):
    rng = np.random.default_rng(seed)
    make = lambda: [wave(rng, int(rng.integers(1, 30))) * rng.uniform(-2, 2) for _ in range(int(rng.integers(0, 4)))]  # noqa: E731
    truth, found = make(), make()
    a, b = data_extraction_scores(truth, found)
    assert 0 <= b <= a <= 1 + 1e-12


def test_6a_forgives_what_is_too_much_and_6b_does_not():
    rng = np.random.default_rng(0)
    truth = [wave(rng), wave(rng, up=70)]
    a, b = data_extraction_scores(truth, [*truth, wave(rng, up=200)])
    assert (a, b) == pytest.approx((1, 2 / 3))
    assert data_extraction_scores(truth, truth[:1]) == pytest.approx((0.5, 0.5))
    assert data_extraction_scores([], []) == (1, 1)
    assert data_extraction_scores(truth, []) == (0, 0)


def test_the_similarity_is_the_weighted_mean_by_hand():
    truth = np.array([[0.0, 10], [1, 20], [4, 10]])
    found = np.array([[0.0, 10], [1, 10], [4, 10]])
    allowed = 20 + 0.1
    assert series_similarity(truth, found) == pytest.approx((0.5 * 1 + 2 * (1 - 10 / allowed) + 1.5 * 1) / 4)
    half = np.array([[0.0, 10], [1, 20]])
    assert series_similarity(truth, half) == pytest.approx(2.5 / 4), "what is missing is not extrapolated"


def test_a_flat_line_scores_well_where_the_curve_is_far_from_zero_and_the_strict_scores_see_it():
    x = np.linspace(0, 300, 200)
    truth = np.stack([x, 200 + 25 * np.sin(x / 15)], axis=1)
    flat = flat_lines([truth])
    assert data_extraction_scores([truth], flat)[0] > 0.8
    assert match_curves([[truth]], [flat], tolerance_of(300, 400)).f1 == 0
    assert nrmse(truth, flat[0]) > 0.3


def test_two_curves_that_swap_at_their_crossing_have_a_switch_each():
    x = np.linspace(0, 200, 201)
    up, down = np.stack([x, x], axis=1), np.stack([x, 200 - x], axis=1)
    left = x <= 100
    swapped = [np.concatenate([up[left], down[~left]]), np.concatenate([down[left], up[~left]])]
    assert identity_switches([[up], [down]], [[line] for line in swapped], 2.0) == 1
    assert identity_switches([[up], [down]], [[up], [down]], 2.0) == 0
    assert identity_switches([[up]], [], 2.0) == 0


def test_half_a_curve_is_not_the_curve():
    line = wave(np.random.default_rng(1))
    assert match_curves([[line]], [[line[:40]]], 2.0).f1 == 0
    assert match_curves([[line]], [[line[:57]]], 2.0).f1 == 1
    assert match_curves([], [], 2.0).f1 == 1
    assert match_curves([[line]], [], 2.0).f1 == 0


def test_parts_are_not_joined():
    points = resample([np.array([[0.0, 0], [10, 0]]), np.array([[90.0, 0], [100, 0]])])
    assert points[:, 0].max() == 100
    assert not ((points[:, 0] > 10) & (points[:, 0] < 90)).any()
    assert np.diff(np.sort(points[:, 0]))[:20].max() <= 0.5
    assert resample([np.array([[3.0, 4]])]).tolist() == [[3, 4]]
