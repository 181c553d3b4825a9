import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.errors import UserError
from linegroup.plans import PERIOD, BatchPlan, Item, Mix

groups = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(tuple)
source = st.tuples(st.none() | groups, st.floats(0.1, 20))
mixes = st.lists(source, min_size=1, max_size=4)


def mixed(mix, batch_size, world=1, seed=0) -> BatchPlan:
    sources, weights = zip(*mix, strict=True)
    return BatchPlan(sources, batch_size, world, seed, weights=weights, epoch_samples=50)


def ledger(plan: BatchPlan, steps: int) -> list[Item]:
    return [item for step in range(steps) for rank in range(plan.world) for item in plan.items(step, rank)]


@settings(deadline=None)
@given(groups, st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(1, 40))
def test_no_sample_is_lost_or_doubled(row_groups, batch_size, world, seed, window):
    plan = BatchPlan((row_groups,), batch_size, world, seed, window)
    n, epochs = sum(row_groups), 3
    items = ledger(plan, -(-epochs * n // (batch_size * world)))
    for epoch in range(epochs):
        assert sorted(item.number for item in items if item.epoch == epoch) == list(range(n))
    assert [item.epoch for item in items] == sorted(item.epoch for item in items)
    assert plan.steps_per_epoch == -(-n // (batch_size * world))


def test_the_length_of_an_epoch_changes_no_batch():
    whole, short = (BatchPlan(((5, 9), (20,)), 4, 2, seed=1, epoch_samples=length) for length in (None, 8))
    assert short.steps_per_epoch == 1
    assert ledger(short, 12) == ledger(whole, 12)


@settings(deadline=None)
@given(groups, st.integers(0, 3), st.integers(1, 60), st.integers(0, 5))
def test_windows_stay_local(row_groups, seed, window, epoch):
    order = BatchPlan((row_groups,), 1, 1, seed, window).order(epoch)
    group_of = np.repeat(np.arange(len(row_groups)), row_groups)
    for first in range(0, len(order), window):
        # The rows of a window come from as many groups as fit into it, and the two it shares with its neighbours.
        seen = len(set(group_of[order[first : first + window]]))
        assert seen <= window // min(row_groups) + 2


@settings(deadline=None)
@given(groups, st.integers(1, 7), st.integers(1, 3), st.integers(0, 40))
def test_any_step_is_a_cut_of_the_endless_sequence(row_groups, batch_size, world, step):
    plan = BatchPlan((row_groups,), batch_size, world, seed=-3, window=8)
    n = plan.samples
    for rank in range(world):
        places = [(step * world + rank) * batch_size + i for i in range(batch_size)]
        assert plan.items(step, rank) == [(0, p // n, plan.order(p // n)[p % n]) for p in places]


def test_epochs_and_seeds_differ():
    plan = BatchPlan(((50,),), 4)
    assert not np.array_equal(plan.order(0), plan.order(1))
    assert not np.array_equal(plan.order(0), BatchPlan(((50,),), 4, seed=1).order(0))
    assert not np.array_equal(plan.order(0), np.arange(50))
    assert not np.array_equal(plan.order(0), BatchPlan(((50,), (50,)), 4).order(0, 1))


@settings(deadline=None)
@given(mixes, st.integers(1, 7), st.integers(2, 4), st.integers(0, 2000), st.integers(-2, 3))
def test_workers_share_the_batch_of_one(mix, batch_size, world, step, seed):
    many, one = mixed(mix, batch_size, world, seed), mixed(mix, batch_size * world, 1, seed)
    assert [item for rank in range(world) for item in many.items(step, rank)] == one.items(step)


@settings(deadline=None, max_examples=40)
@given(mixes, st.integers(1, 40), st.integers(0, 3))
def test_each_source_gives_its_samples_in_order_and_none_twice(mix, batch_size, seed):
    """Steps asked for one by one, with no state between them, are one endless sequence."""
    plan = mixed(mix, batch_size, 1, seed)
    items = ledger(plan, 2500 // batch_size)
    for number, (row_groups, _) in enumerate(mix):
        own = [(item.epoch, item.number) for item in items if item.source == number]
        if row_groups is None:
            assert own == [(0, i) for i in range(len(own))]
            continue
        assert len(set(own)) == len(own)
        assert [epoch for epoch, _ in own] == sorted(epoch for epoch, _ in own)
        for epoch in range(own[-1][0] if own else 0):
            assert sorted(index for e, index in own if e == epoch) == list(range(sum(row_groups)))


@settings(deadline=None)
@given(st.lists(st.floats(0.5, 20), min_size=1, max_size=6), st.integers(-1, 5), st.integers(0, 10**12))
def test_weights_are_met_in_each_period(weights, seed, first):
    mix = Mix(tuple(weights), seed)
    drawn = Counter(mix.sources(first, first + PERIOD))
    for number, weight in enumerate(weights):
        assert abs(drawn[number] - PERIOD * weight / sum(weights)) < 1
        assert mix.before(first + PERIOD, number) - mix.before(first, number) == drawn[number]


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=4), st.integers(0, 5000), st.integers(0, 5000))
def test_counts_before_a_place_are_those_of_reading_up_to_it(weights, first, length):
    mix = Mix(tuple(weights))
    drawn = Counter(mix.sources(first, first + length))
    for number in range(len(weights)):
        assert mix.before(first + length, number) == mix.before(first, number) + drawn[number]


def test_every_stretch_is_mixed_as_the_whole_but_not_in_step():
    pattern = np.array(Mix((1.0, 1.0), seed=3).sources(0, PERIOD))
    ones = [pattern[first : first + 20].sum() for first in range(0, PERIOD, 20)]
    assert 6 <= min(ones) <= max(ones) <= 14
    assert 0.3 < pattern[::2].mean() < 0.7  # two workers with batches of one see both
    assert not np.array_equal(pattern, Mix((1.0, 1.0), seed=4).sources(0, PERIOD))


def test_an_epoch_is_all_shards_or_as_long_as_is_said():
    assert BatchPlan(((3, 4), (5,)), 5, weights=(1, 9)).steps_per_epoch == 3
    assert BatchPlan(((3, 4), None), 5).samples == 2048
    for sources in ((None,), ((3, 4), None), ((3, 4),), ((1000,) * 500,)):
        assert BatchPlan(sources, 5, 2, epoch_samples=101).steps_per_epoch == 11
    assert BatchPlan((None,), 4).items(10**9) == [(0, 0, 4 * 10**9 + i) for i in range(4)]


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, -1.0), (1.0, float("inf")), (1e5, 1.0), ()])
def test_weights_that_read_nothing_are_refused(weights):
    with pytest.raises(UserError, match="eight"):
        Mix(weights)


def test_a_late_step_of_a_large_mix_is_quick():
    plan = BatchPlan(((16,) * 62_500, None, (16,) * 100), 4, 2, weights=(3, 2, 1))
    late = 500_000
    plan.items(late)
    start = time.process_time()
    for step in range(late, late + 50):
        plan.items(step, 1)
    assert time.process_time() - start < 0.3
