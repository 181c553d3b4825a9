"""The grouper object: crossings, budgets, trying again, the libraries beside ours, baselines that count."""

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

import linegroup.grouping.workspace as workspace_module
from linegroup.config import Config, GroupingConfig
from linegroup.errors import UserError
from linegroup.grouping import CANDIDATES, GROUPERS, Grouper, crossings, group_field, group_image, make_field, maps_read
from linegroup.grouping.clustering import number_lines
from linegroup.grouping.crossings import share_crossings
from linegroup.grouping.engine.budget import WorkExceeded
from linegroup.grouping.grouper import READS
from linegroup.grouping.margin import margin_clusters
from linegroup.heads import HEADS
from linegroup.sample import Field, Groups, Maps
from linegroup.targets import draw_targets
from linegroup.testing import two_crossing_lines, unpng


def plain_field(positions, size, features=None, crossing=None):
    n = len(positions)
    features = np.zeros((n, 2)) if features is None else features
    return Field(
        np.asarray(positions, dtype=np.int32),
        np.asarray(features, dtype=np.float32),
        np.ones(n, np.float32),
        np.zeros((n, 3), np.float32),
        size,
        crossing=np.zeros(n, np.float32) if crossing is None else np.asarray(crossing, dtype=np.float32),
    )


def crossing_field(size=(61, 61), mixed=True):
    """Two diagonals three pixels wide whose embeddings mix where they cross; the truth of each pixel."""
    one, two = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    cv2.line(one, (5, 5), (55, 55), 1, 3)
    cv2.line(two, (5, 55), (55, 5), 1, 3)
    ys, xs = np.nonzero(one | two)
    both = (one & two)[ys, xs] > 0
    features = np.where(one[ys, xs, None] > 0, [3.0, 0.0], [-3.0, 0.0])
    if mixed:
        features[both] = np.linspace([-3, 0], [3, 0], int(both.sum()))  # a bridge
    field = plain_field(np.stack([xs, ys], axis=1), size, features, both)
    return field, one[ys, xs] > 0, two[ys, xs] > 0


@pytest.mark.parametrize("method", ["dbscan", "hdbscan", "margin"])
def test_crossings_belong_to_both_lines_and_bridge_none(method):
    field, one, two = crossing_field()
    config = GroupingConfig(method=method, min_samples=3, eps=0.8, min_cluster_size=20)
    groups = group_field(field, config)
    assert groups.count == 2
    members = [np.isin(np.arange(len(field)), m) for m in groups.members]
    for line in (one, two):
        assert max((line & m).sum() / (line | m).sum() for m in members) > 0.97
    shared = np.isin(np.arange(len(field)), groups.shared[:, 0])
    assert (shared & one & two).sum() > 0.9 * (one & two).sum()
    ignored = group_field(field, config.changed({"crossing_threshold": 2.0}))
    assert len(ignored.shared) == 0
    if method == "dbscan":
        assert ignored.count == 1, "taken as points like others, the pixels of the crossing join the lines"


def test_a_line_that_ends_at_a_crossing_does_not_take_what_lies_beyond():
    size = (40, 40)
    across, up = np.zeros(size, bool), np.zeros(size, bool)
    across[20, 2:38] = True
    up[2:21, 20] = True  # ends on the other line
    ys, xs = np.nonzero(across | up)
    crossing = (np.abs(xs - 20) <= 2) & (np.abs(ys - 20) <= 2)
    labels = np.where(across[ys, xs], 1, 2)
    field = plain_field(np.stack([xs, ys], axis=1), size)
    groups = share_crossings(field, Groups(labels.astype(np.int32), np.ones(2, np.float32)), crossing)
    first, second = (np.isin(np.arange(len(xs)), m) for m in groups.members)
    assert (first & (ys == 20)).sum() == 36
    assert not (second & (ys == 20) & (np.abs(xs - 20) > 1)).any()


def test_a_patch_without_lines_around_stays_without():
    field = plain_field([[5, 5], [6, 5], [20, 5]], (10, 30))
    groups = share_crossings(
        field, Groups(np.array([1, 1, 1], np.int32), np.ones(1, np.float32)), np.array([False, False, True])
    )
    assert groups.labels.tolist() == [1, 1, 0]
    assert groups.shared.shape == (0, 2)


def test_the_crossings_a_model_predicts_reach_the_field():
    sample = two_crossing_lines()
    truth = draw_targets(sample)
    pixels = unpng(sample.image)
    maps = Maps(np.zeros((2, *sample.size), np.float32), np.ones(sample.size, np.float32), truth.crossing * 0.9)
    field = make_field(pixels, maps, GroupingConfig(candidates="non_white"))
    xs, ys = field.positions.T
    np.testing.assert_allclose(field.crossing, truth.crossing[ys, xs] * np.float32(0.9))


@pytest.mark.parametrize("candidates", sorted(CANDIDATES))
@pytest.mark.parametrize("method", sorted(GROUPERS))
@pytest.mark.parametrize("embedding_cost", [0.0, 2.0])
@pytest.mark.parametrize("known", [True, False])
def test_what_a_method_does_not_read_changes_nothing(method, candidates, embedding_cost, known):
    rng = np.random.default_rng(0)
    sample = two_crossing_lines()
    truth = draw_targets(sample)
    size = sample.size
    noise = rng.normal(scale=0.2, size=(2, *size))
    maps = Maps(
        (truth.labels + noise).astype(np.float32),
        np.where(truth.foreground, 0.9, rng.uniform(0, 0.6, size)).astype(np.float32),
        np.where(truth.crossing, 0.9, 0).astype(np.float32),
        rng.normal(size=(2, *size)).astype(np.float32),
    )
    config = GroupingConfig(method=method, candidates=candidates, min_samples=5, max_candidate_points=2000, seed=3)
    config = config.changed({"embedding_cost": embedding_cost})
    if not known:
        maps = Maps(maps.embedding, np.ones(size, np.float32), maps.crossing, maps.tangent, foreground_known=False)
    pixels = unpng(sample.image)
    if candidates == "model" and not known:
        with pytest.raises(UserError, match="foreground head"):
            group_image(pixels, maps, config)
        return
    read = maps_read(config)
    kept = {name: value for name, value in vars(maps).items() if name in read}
    neutral = {"embedding": np.zeros((0, *size), np.float32), "foreground": np.ones(size, np.float32)}
    some = Maps(**{**neutral, **kept}, foreground_known=known and "foreground" in read)
    wanted, found = (group_image(pixels, each if read else None, config)[1] for each in (maps, some))
    assert np.array_equal(found.labels, wanted.labels)
    assert np.array_equal(found.shared, wanted.shared)
    assert wanted.count > 0


def test_every_method_says_what_it_reads():
    assert set(READS) == set(GROUPERS)
    assert set().union(*(reads(GroupingConfig(embedding_cost=1)) for reads in READS.values())) == set(HEADS)
    with pytest.raises(UserError, match="Unknown grouper"):
        maps_read(GroupingConfig(method="magic"))


def clustered_field(rng, dimensions=4, each=400):
    places = np.array([[0, 0], [3, 0], [0, 3], [3, 3]])
    places = np.pad(places, ((0, 0), (0, dimensions - 2)))
    truth = rng.permutation(np.repeat(np.arange(4), each))
    features = places[truth] + rng.normal(scale=0.15, size=(len(truth), dimensions))
    at = np.arange(len(truth))
    return plain_field(np.stack([at % 40, at // 40], axis=1), (len(at) // 40 + 1, 40), features), truth


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("dbscan", {"eps": 0.7}),
        ("dbscan", {"min_samples": 5}),
        ("hdbscan", {"min_cluster_size": 50}),
        ("hdbscan", {"min_samples": 5}),
        ("margin", {"margin": 0.8}),
        ("dbscan", {"method": "hdbscan"}),
        ("dbscan", {"use_spatial": True}),
        ("dbscan", {"max_candidate_points": 300}),
        ("dbscan", {"auto_eps": True}),
    ],
)
def test_trying_again_is_fitting_anew(method, changes):
    field, _ = clustered_field(np.random.default_rng(0))
    config = GroupingConfig(method=method)
    grouper = Grouper(config)
    grouper.fit(field)
    again, anew = grouper.refit(**changes), group_field(field, config.changed(changes))
    np.testing.assert_array_equal(again.labels, anew.labels)
    np.testing.assert_array_equal(again.scores, anew.scores)
    np.testing.assert_array_equal(grouper.refit().labels, group_field(field, config).labels)


def test_trying_again_builds_each_tree_once(monkeypatch):
    built = []
    build = workspace_module.build_tree
    monkeypatch.setattr(workspace_module, "build_tree", lambda points: built.append(1) or build(points))
    field, _ = clustered_field(np.random.default_rng(0))
    grouper = Grouper(GroupingConfig())
    grouper.fit(field)
    for eps in (0.3, 0.4, 0.5):
        grouper.refit(eps=eps)
    grouper.refit(method="hdbscan")
    assert len(built) == 1
    grouper.refit(use_spatial=True)
    assert len(built) == 2


def test_trying_again_needs_a_first_time_and_known_settings():
    grouper = Grouper(GroupingConfig())
    with pytest.raises(UserError, match="fit"):
        grouper.refit(eps=0.3)
    grouper.fit(clustered_field(np.random.default_rng(0))[0])
    with pytest.raises(UserError, match="did you mean"):
        grouper.refit(epps=0.3)


@pytest.mark.parametrize(("ours", "theirs"), [("dbscan", "sklearn_dbscan"), ("hdbscan", "hdbscan_library")])
def test_the_libraries_answer_the_same(ours, theirs):
    field, truth = clustered_field(np.random.default_rng(1))
    config = GroupingConfig(method=ours, min_samples=8, min_cluster_size=40)
    one, other = group_field(field, config), group_field(field, config.changed({"method": theirs}))
    assert adjusted_rand_score(one.labels, other.labels) > 0.999
    assert adjusted_rand_score(truth, one.labels) == 1


@pytest.mark.parametrize("method", ["dbscan", "hdbscan"])
def test_beyond_the_allowance_a_sample_is_clustered_and_said(method, caplog):
    field, truth = clustered_field(np.random.default_rng(2))
    config = GroupingConfig(method=method, max_work=300_000, min_samples=6)
    even = plain_field(
        field.positions,
        field.size,
        np.random.default_rng(0).uniform(size=(len(field), 10)),
    )
    starved = config.changed({"max_work": 2000, "eps": 0.4})
    with caplog.at_level(logging.WARNING):
        groups = group_field(even, starved)
    assert "63 of 1600 candidates were clustered" in groups.notes[0]
    assert groups.notes[0] in caplog.text
    np.testing.assert_array_equal(groups.labels, group_field(even, starved).labels)
    with pytest.raises(WorkExceeded, match="max_work"):
        group_field(even, starved.changed({"over_work": "error"}))
    enough = group_field(field, config)
    assert enough.notes == ()
    assert adjusted_rand_score(truth, enough.labels) == 1


def test_the_margin_decoder_needs_no_more_than_the_margins():
    rng = np.random.default_rng(0)
    places = np.array([[0, 0, 0], [3, 0, 0], [1.5, 2.6, 0], [-1.5, 2.6, 0]])
    sizes = [3000, 15, 400, 60]  # small ones, too
    truth = np.repeat(np.arange(4), sizes)
    out = rng.normal(size=(len(truth), 3))
    out *= 0.5 * rng.uniform(size=(len(out), 1)) / np.linalg.norm(out, axis=1, keepdims=True)
    points = (places[truth] + out).astype(np.float32)
    labels = margin_clusters(points, 0.5, 1.5, 10)
    assert adjusted_rand_score(truth, labels) == 1
    far = np.concatenate([points, np.full((5, 3), 9.0, np.float32)])
    assert (margin_clusters(far, 0.5, 1.5, 10)[-5:] == -1).all()


def test_the_margins_are_those_of_the_loss_unless_named():
    tree = {"loss": {"delta_v": 0.2, "delta_d": 0.9}}
    assert (Config.model_validate(tree).decoding.bandwidth, Config.model_validate(tree).decoding.margin) == (0.2, 0.9)
    named = Config.model_validate({**tree, "grouping": {"margin": 0.7}}).decoding
    assert (named.bandwidth, named.margin) == (0.2, 0.7)


def coloured_field(colours, each=300, noise=1.5, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(colours)), each))
    lab = np.asarray(colours, dtype=np.float32)[truth] + rng.normal(scale=noise, size=(len(truth), 3))
    at = np.arange(len(truth))
    positions = np.stack([at % 40, at // 40], axis=1).astype(np.int32)
    ones = np.ones(len(at), np.float32)
    size = (len(at) // 40 + 1, 40)
    return Field(positions, np.zeros((len(at), 0), np.float32), ones, lab.astype(np.float32), size), truth


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_mixtures_count_the_colours(method, count):
    colours = [[30, 60, 40], [60, -50, 40], [40, 20, -60], [80, 5, 70], [55, -20, -30]][:count]
    field, truth = coloured_field(colours)
    groups = group_field(field, GroupingConfig(method=method))
    assert groups.count == count
    assert adjusted_rand_score(truth, groups.labels) == 1


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_mixtures_of_equal_colours_are_one_line(method):
    field, _ = coloured_field([[50, 0, 0], [50, 0, 0]], noise=0.0)
    assert group_field(field, GroupingConfig(method=method)).count == 1


def test_members_and_shared_pixels():
    groups = Groups(np.array([1, 0, 2, 1], np.int32), np.ones(2, np.float32), np.array([[0, 2]], np.int32))
    assert [m.tolist() for m in groups.members] == [[0, 3], [0, 2]]


def test_the_margin_decoder_ends_far_from_zero_and_within_its_allowance():
    rng = np.random.default_rng(0)
    even = rng.normal(size=(50, 8)).astype(np.float32) + np.float32(1e5)
    assert margin_clusters(even, 0.5, 1.5, 10).shape == (50,)
    places = rng.normal(size=(4, 8)) * 4
    truth = np.repeat(np.arange(4), 200)
    tight = places[truth] + rng.normal(size=(800, 8)) * 0.1
    assert adjusted_rand_score(truth, margin_clusters((tight + 1e4).astype(np.float32), 0.5, 1.5, 10)) == 1
    huge = margin_clusters((tight * 1e25).astype(np.float32), 0.5, 1.5, 10)
    assert (huge == -1).all()
    with pytest.raises(WorkExceeded, match="margin"):
        margin_clusters(rng.uniform(0, 60, (20_000, 3)).astype(np.float32), 0.5, 1.5, 1, max_work=100_000)


@pytest.mark.parametrize("method", ["hdbscan", "margin"])
def test_trying_again_keeps_to_the_allowance_as_a_first_time_does(method):
    field, _ = clustered_field(np.random.default_rng(4))
    config = GroupingConfig(method=method)
    grouper = Grouper(config)
    grouper.fit(field)
    changes = {"max_work": 300, "over_work": "error"}
    with pytest.raises(WorkExceeded):
        group_field(field, config.changed(changes))
    with pytest.raises(WorkExceeded):
        grouper.refit(**changes)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_crossings_go_to_the_lines_whose_hulls_they_are_in(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 14, 2))
    ink = rng.random(size) < rng.uniform(0.2, 1)
    crossing = ink & (rng.random(size) < rng.uniform(0, 1))
    ys, xs = np.nonzero(ink)
    labels = np.where(crossing[ys, xs], 0, rng.integers(0, 4, len(ys))).astype(np.int32)
    field = plain_field(np.stack([xs, ys], axis=1).reshape(-1, 2), size)
    lines = number_lines(labels - 1, labels > 0)
    groups, labels = share_crossings(field, lines, crossing[ys, xs]), lines.labels
    picture = field.label_image(labels)
    shared, numbers = groups.shared, range(4)
    found = [set(np.flatnonzero(groups.labels == k)) | set(shared[shared[:, 1] == k, 0]) for k in numbers]
    _, patches = cv2.connectedComponents(crossing.astype(np.uint8), connectivity=8)
    assert np.array_equal(groups.labels[~crossing[ys, xs]], labels[~crossing[ys, xs]])
    for i in np.flatnonzero(crossing[ys, xs]):
        patch = (patches == patches[ys[i], xs[i]]).astype(np.uint8)
        around = np.where(cv2.dilate(patch, np.ones((3, 3), np.uint8)) > patch, picture, 0)
        lines = np.unique(around[around > 0])
        places = {k: np.argwhere(around == k)[:, ::-1].astype(np.int32) for k in lines.tolist()}
        away = {k: ((place - (xs[i], ys[i])) ** 2).sum(axis=1).min() for k, place in places.items()}
        hulls = {k: cv2.convexHull(place) for k, place in places.items()}
        depth = {k: cv2.pointPolygonTest(hull, (float(xs[i]), float(ys[i])), True) for k, hull in hulls.items()}
        mine = {k for k in range(1, 4) if i in found[k]}
        assert {k for k in depth if depth[k] > 0} <= mine <= set(lines.tolist())
        if len(mine) > 1:
            assert all(depth[k] > -0.8 for k in mine)
        if len(lines):
            # Half a pixel outside a hull is in it.
            in_hull = [k for k in depth if depth[k] >= -0.5]
            assert away[groups.labels[i]] == min(away[k] for k in in_hull or away)
        else:
            assert not mine
    assert len(np.unique(groups.shared, axis=0)) == len(groups.shared)


def test_many_crossings_of_many_lines_cost_little():
    """Noise that a model takes for crossings: a second of work, and minutes if each line had pictures of its own."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:400, :400].reshape(2, -1)
    crossing = rng.random(len(xs)) < 0.5
    labels = np.where(crossing, 0, rng.permutation(len(xs)) % 5000 + 1)
    field = plain_field(np.stack([xs, ys], axis=1), (400, 400))
    lines = number_lines(labels - 1, labels > 0)
    assert (share_crossings(field, lines, crossing).labels > 0).all()


def test_crossings_beyond_all_work_go_to_the_nearest_line(monkeypatch):
    monkeypatch.setattr("linegroup.grouping.crossings.MOST_WORK", 1_000)
    ys, xs = np.mgrid[:200, :60].reshape(2, -1)
    ink = (ys % 4 == 1) | (xs % 4 == 1)  # 750 crossings of four neighbours each
    ys, xs = ys[ink], xs[ink]
    crossing = (ys % 4 == 1) & (xs % 4 == 1)
    labels = np.where(crossing, 0, np.where(ys % 4 == 1, ys // 4 + 1, xs // 4 + 51))
    field = plain_field(np.stack([xs, ys], axis=1), (200, 60))
    groups = share_crossings(field, number_lines(labels - 1, labels > 0), crossing)
    assert (groups.labels > 0).all()
    assert len(groups.shared) == 250
    assert (groups.shared[:, 0] < len(xs) / 2).all(), "the first ones are shared"


def test_keys_of_many_lines_are_not_cut_off_without_compiler():
    plain = getattr(crossings._share, "py_func", crossings._share)
    labels = np.zeros((300, 400), np.int32)
    labels[9, 9:12], labels[11, 9:12] = 60_000, 59_999
    first, _, lines = plain(labels, np.array([10]), np.array([10]), np.array([0, 1]), 10**6, 10**6)
    assert first[0] in (60_000, 59_999)
    assert set(lines.tolist()) | set(first.tolist()) <= {60_000, 59_999}


def test_large_patches_are_no_crossings_and_cost_little():
    size = (400, 500)
    ys, xs = np.mgrid[: size[0], : size[1]].reshape(2, -1)
    crossing = (xs > 20) & (xs < 480)
    labels = np.where(crossing, 0, ys // 10 + 1)
    field = plain_field(np.stack([xs, ys], axis=1), size)
    groups = share_crossings(field, Groups(labels.astype(np.int32), np.ones(40, np.float32)), crossing)
    assert len(groups.shared) == 0
    assert (groups.labels == ys // 10 + 1).mean() > 0.9


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_pixels_of_large_patches_go_to_the_nearest_line_that_touches_them(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(3, 20, 2))
    large = np.zeros(size, np.uint8)
    solid = bool(rng.integers(2))
    large[1:-1, 1:-1] = solid | (rng.random((size[0] - 2, size[1] - 2)) < rng.uniform(0.3, 1))
    labels = np.where(large == 0, rng.integers(0, 4, size) * (rng.random(size) < 0.3), 0).astype(np.int32)
    ys, xs = np.nonzero(large)
    found = crossings._nearest(labels, ys, xs)
    patches = cv2.connectedComponents(large, connectivity=8)[1]
    for k in range(1, patches.max() + 1):
        here = (patches[ys, xs] == k).nonzero()[0]
        touching = (cv2.dilate((patches == k).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & (labels > 0)
        if not touching.any():
            assert not found[here].any()
            continue
        places, names = np.argwhere(touching), labels[touching]
        for i in here:
            away = np.hypot(*(places - (ys[i], xs[i])).T)
            # Across paper neighbours tell each other nothing, and else too late, by less than a pixel.
            assert found[i] in names
            assert away[names == found[i]].min() <= (away.min() + 1 if solid else np.inf)
    assert np.array_equal(getattr(crossings._nearest, "py_func", crossings._nearest)(labels, ys, xs), found)


@pytest.mark.parametrize("most", [10**6, 700])
def test_noise_joins_the_nearest_cluster_with_crossings_left_out_and_of_a_sample(most):
    field, _ = clustered_field(np.random.default_rng(4))
    field = replace(field, crossing=(np.arange(len(field)) % 7 == 0).astype(np.float32))
    config = GroupingConfig(method="dbscan", eps=0.25, min_samples=8, max_candidate_points=most, min_pixels=5)
    dropped = group_field(field, config.changed({"noise": "drop"})).labels
    joined = group_field(field, config).labels
    apart = np.flatnonzero(field.crossing == 0)
    lost = apart[dropped[apart] == 0]
    assert 0 < len(lost) < len(apart) / 2
    sure = apart[dropped[apart] > 0]
    away = np.linalg.norm(field.features[lost][:, None] - field.features[sure], axis=2)
    assert np.array_equal(joined[sure], dropped[sure])
    assert np.array_equal(joined[lost], dropped[sure][away.argmin(axis=1)])


def test_what_a_grouper_keeps_is_bounded():
    workspace = workspace_module.Workspace(plain_field([[1, 1]], (3, 3)))
    made = []
    for key in "aabcab":
        assert workspace.keep(key, lambda key=key: made.append(key) or key) == key
    assert made == ["a", "b", "c", "a", "b"]
