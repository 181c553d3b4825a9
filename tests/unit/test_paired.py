"""Gains of one method over another on the same pictures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linegroup.metrics.paired import paired_gain

numbers = st.lists(st.floats(-1, 1), min_size=2, max_size=20)


def test_pairs_tell_what_means_cannot():
    """Pictures differ by ±1, methods by 0.01: the mean alone could not say so."""
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-1, 1, 60)
    gain = paired_gain(pictures + 0.01 + rng.normal(0, 0.01, 60), pictures)
    assert 0 < gain.low < gain.mean < gain.high < 0.02
    assert gain.count == 60


def test_interval_holds_as_often_as_it_says():
    """Of 120 experiments without any difference about 5 % claim one."""
    rng = np.random.default_rng(1)
    claims = 0
    for _ in range(120):
        gain = paired_gain(rng.normal(0, 1, 40), np.zeros(40), seed=int(rng.integers(1 << 30)))
        claims += gain.low > 0 or gain.high < 0
    assert 1 <= claims <= 16


def test_a_seed_gives_the_same_interval():
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=30), rng.normal(size=30)
    assert paired_gain(one, other, seed=3) == paired_gain(one, other, seed=3)
    assert paired_gain(one, other, seed=3) != paired_gain(one, other, seed=4)


@given(numbers, st.randoms())
def test_the_other_way_round_is_the_other_sign(values, random):
    other = [random.uniform(-1, 1) for _ in values]
    there, back = paired_gain(values, other), paired_gain(other, values)
    less = paired_gain(values, other, lower_is_better=True)
    assert there.mean == pytest.approx(-back.mean)
    assert (less.mean, less.low, less.high) == pytest.approx((back.mean, back.low, back.high))
    assert there.low <= there.mean + 1e-12
    assert there.mean <= there.high + 1e-12


def test_scores_that_one_of_both_lacks_do_not_count():
    gain = paired_gain([1.0, math.nan, 0.5], [0.5, 0.0, math.nan])
    assert (gain.mean, gain.low, gain.high, gain.count) == (0.5, 0.5, 0.5, 1)
    none = paired_gain([math.nan], [1.0])
    assert none.count == 0
    assert math.isnan(none.mean)


def test_a_higher_level_is_a_wider_interval():
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=50), rng.normal(size=50)
    narrow, wide = paired_gain(one, other, level=0.8), paired_gain(one, other, level=0.999)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_gain([1.0, 2.0], [1.0])
