import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.batches import BatchPlan

groups = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(tuple)


@settings(deadline=None)
@given(groups, st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(1, 40))
def test_no_sample_is_lost_or_doubled(row_groups, batch_size, world, seed, window):
    plan = BatchPlan(row_groups, batch_size, world, seed, window)
    n, epochs = sum(row_groups), 3
    steps = -(-epochs * n // (batch_size * world))
    ledger = [item for step in range(steps) for rank in range(world) for item in plan.items(step, rank)]
    for epoch in range(epochs):
        assert sorted(index for e, index in ledger if e == epoch) == list(range(n))
    assert [epoch for epoch, _ in ledger] == sorted(epoch for epoch, _ in ledger)
    assert plan.steps_per_epoch == -(-n // (batch_size * world))


@settings(deadline=None)
@given(groups, st.integers(1, 5), st.integers(2, 4), st.integers(0, 50))
def test_workers_share_the_batch_of_one(row_groups, batch_size, world, step):
    many, one = BatchPlan(row_groups, batch_size, world), BatchPlan(row_groups, batch_size * world)
    assert [item for rank in range(world) for item in many.items(step, rank)] == one.items(step)


@settings(deadline=None)
@given(groups, st.integers(0, 3), st.integers(1, 60), st.integers(0, 5))
def test_windows_stay_local(row_groups, seed, window, epoch):
    order = BatchPlan(row_groups, 1, 1, seed, window).order(epoch)
    group_of = np.repeat(np.arange(len(row_groups)), row_groups)
    for first in range(0, len(order), window):
        # The rows of a window come from as many groups as fit into it, and the two it shares with its neighbours.
        seen = len(set(group_of[order[first : first + window]]))
        assert seen <= window // min(row_groups) + 2


@settings(deadline=None)
@given(groups, st.integers(1, 7), st.integers(1, 3), st.integers(0, 40))
def test_any_step_is_a_cut_of_the_endless_sequence(row_groups, batch_size, world, step):
    plan = BatchPlan(row_groups, batch_size, world, seed=-3, window=8)
    n = plan.samples
    for rank in range(world):
        places = [(step * world + rank) * batch_size + i for i in range(batch_size)]
        assert plan.items(step, rank) == [(p // n, plan.order(p // n)[p % n]) for p in places]


def test_epochs_and_seeds_differ():
    plan = BatchPlan((50,), 4)
    assert not np.array_equal(plan.order(0), plan.order(1))
    assert not np.array_equal(plan.order(0), BatchPlan((50,), 4, seed=1).order(0))
    assert not np.array_equal(plan.order(0), np.arange(50))
