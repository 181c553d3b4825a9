import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from linegroup.unions import find, unite


@pytest.mark.parametrize("seed", range(5))
def test_sets_are_the_connected_components(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 60))
    pairs = rng.integers(0, count, (int(rng.integers(0, 60)), 2))
    parent = np.arange(count)
    joined = [unite(parent, one, other) for one, other in pairs]
    number, names = connected_components(coo_array((np.ones(len(pairs)), pairs.T), (count, count)), directed=False)
    assert count - sum(joined) == number
    found = np.array([find(parent, item) for item in range(count)])
    # The smallest of a set stands for it.
    np.testing.assert_array_equal(found, [np.flatnonzero(names == name)[0] for name in names])
