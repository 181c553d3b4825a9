import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from linegroup.config import GroupingConfig
from linegroup.grouping import GROUPERS, group_field, group_image
from linegroup.grouping.linking import link_lines, share_out
from linegroup.sample import Field
from linegroup.testing import random_sample, unpng

CLUSTERING = ["dbscan", "hdbscan", "margin", "sklearn_dbscan", "hdbscan_library"]

seeds = st.integers(0, 10_000)


def blob_field(rng, centres: int, dimensions: int) -> tuple[Field, np.ndarray]:
    """Tight clusters whose centres are at least 3 apart, in random order in the picture."""
    places = rng.permutation(3**dimensions if dimensions < 4 else 81)[:centres]
    means = np.stack([places // 3**d % 3 for d in range(min(dimensions, 4))], axis=1) * 3.0
    means = np.pad(means, ((0, 0), (0, dimensions - means.shape[1])))
    sizes = rng.integers(25, 60, centres)
    truth = rng.permutation(np.repeat(np.arange(centres), sizes))
    features = means[truth] + rng.uniform(-0.1, 0.1, (len(truth), dimensions))
    at = np.arange(len(truth))
    positions = np.stack([at % 40, at // 40], axis=1).astype(np.int32)
    n = len(truth)
    ones, black = np.ones(n, np.float32), np.zeros((n, 3), np.float32)
    return Field(positions, features.astype(np.float32), ones, black, (n // 40 + 1, 40)), truth


def well_formed(groups, count: int) -> None:
    assert groups.labels.shape == (count,)
    numbers = np.unique(groups.labels[groups.labels > 0])
    assert numbers.tolist() == list(range(1, groups.count + 1))
    first = [int(np.argmax(groups.labels == k)) for k in numbers]
    assert first == sorted(first)
    assert ((groups.scores >= 0) & (groups.scores <= 1)).all()


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 3), st.integers(1, 8), st.sampled_from(CLUSTERING))
def test_clusters_come_out_however_they_are_turned_and_moved(seed, centres, dimensions, method):
    rng = np.random.default_rng(seed)
    field, truth = blob_field(rng, centres, dimensions)
    turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    moved = (field.features @ turn + rng.normal(size=dimensions) * 5).astype(np.float32)
    for features in (field.features, moved):
        other = Field(field.positions, features, field.foreground, field.colour, field.size)
        groups = group_field(other, GroupingConfig(method=method))
        well_formed(groups, len(field))
        assert adjusted_rand_score(truth, groups.labels) == 1


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(sorted(GROUPERS)), st.integers(0, 3), st.integers(1, 40))
def test_every_grouper_answers_in_form_and_twice_the_same(seed, method, lines, least):
    pixels = unpng(random_sample(seed, (40, 56), lines).image)
    config = GroupingConfig(method=method, candidates="non_background", min_pixels=least, noise="drop")
    field, _ = group_image(pixels, None, config.changed({"method": "components"}))
    if method in CLUSTERING:
        field = Field(field.positions, field.colour, field.foreground, field.colour, field.size)
    groups = group_field(field, config)
    well_formed(groups, len(field))
    if groups.count:
        assert np.bincount(groups.labels)[1:].min() >= least
    np.testing.assert_array_equal(groups.labels, group_field(field, config).labels)


@settings(deadline=None, max_examples=25)
@given(seeds, st.floats(0, 0.5))
def test_splitting_one_ink_loses_and_doubles_no_pixel(seed, density):
    mask = np.random.default_rng(seed).random((30, 50)) < density
    lines = link_lines(mask, (30, 50))
    labels = share_out(mask, lines)
    np.testing.assert_array_equal(labels > 0, mask)
    assert labels.max(initial=0) <= len(lines)
