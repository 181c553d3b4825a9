"""What the margin decoder does with points that have no clusters."""

import numpy as np

from linegroup.grouping import margin


def test_points_that_are_all_apart_end_soon(monkeypatch):
    """Each would be a cluster of its own, held against all before it."""
    monkeypatch.setattr(margin, "MOST", 50)
    points = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    labels = margin.margin_clusters(points, 1e-4, 1e-4, 1)
    assert 0 < labels.max() < 50
    assert np.count_nonzero(labels < 0) >= 2950
