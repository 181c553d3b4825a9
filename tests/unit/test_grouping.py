"""Groupers on fields with known lines."""

import cv2
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from linegroup.config import GroupingConfig
from linegroup.errors import UserError
from linegroup.grouping import CANDIDATES, GROUPERS, group_field, group_image, make_field
from linegroup.grouping.dbscan import neighbour_distances
from linegroup.grouping.embedding import auto_eps
from linegroup.grouping.engine.tree import build_tree
from linegroup.grouping.ink import Picture
from linegroup.grouping.inks import separate_inks
from linegroup.grouping.structure import find_structure
from linegroup.grouping.workspace import Workspace
from linegroup.sample import Field, Maps
from linegroup.targets import draw_targets
from linegroup.testing import parallel_lines, random_sample, two_crossing_lines, unpng

CLUSTERING = ["dbscan", "hdbscan", "margin", "sklearn_dbscan", "hdbscan_library"]


def field_of(features, size=(40, 50)) -> Field:
    features = np.asarray(features, dtype=np.float32)
    n = len(features)
    at = np.arange(n)
    positions = np.stack([at % size[1], at // size[1]], axis=1).astype(np.int32)
    return Field(positions, features, np.ones(n, np.float32), np.zeros((n, 3), np.float32), size)


def blobs(centres, each=300, radius=0.1, seed=0):
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(c, radius / 3, (each, len(c))) for c in centres])
    truth = np.repeat(np.arange(1, len(centres) + 1), each)
    order = rng.permutation(len(points))
    return points[order], truth[order]


# What the loss leaves alone: every pixel within delta_v = 0.5 of its mean, means 2·delta_d = 3 apart.
ZERO_LOSS = {
    "three in a row": [[-3, 0], [0, 0], [3, 0]],
    "zero and three": [[0, 0], [3, 0]],
    "a packing of the plane": [[3 * x + 1.5 * (y % 2), 2.6 * y] for x in range(4) for y in range(4)],
}


@pytest.mark.parametrize("method", CLUSTERING)
@pytest.mark.parametrize("name", ZERO_LOSS)
def test_zero_loss_embeddings_decode_to_their_lines(method, name):
    points, truth = blobs(ZERO_LOSS[name], radius=0.5)
    groups = group_field(field_of(points, (100, 100)), GroupingConfig(method=method))
    assert adjusted_rand_score(truth, groups.labels) == 1
    assert groups.count == len(ZERO_LOSS[name])


def test_normalising_what_was_trained_raw_merges_collinear_lines():
    points, _ = blobs([[1, 0], [4, 0]])
    merged = group_field(field_of(points), GroupingConfig(l2_normalize=True))
    assert merged.count == 1
    assert group_field(field_of(points), GroupingConfig()).count == 2


@pytest.mark.parametrize("method", CLUSTERING)
def test_sampling_is_seeded_and_gives_every_pixel_a_line(method):
    points, truth = blobs([[0, 0], [3, 0], [0, 3]], each=1500)
    config = GroupingConfig(method=method, max_candidate_points=600)
    field = field_of(points, (100, 100))
    groups = group_field(field, config)
    assert adjusted_rand_score(truth, groups.labels) == 1
    np.testing.assert_array_equal(groups.labels, group_field(field, config).labels)
    assert len(Workspace(field).points(config)) == 600


def test_noise_is_dropped_or_assigned():
    points, _ = blobs([[0, 0], [3, 0]])
    points = np.concatenate([points, [[1.2, 0]]])
    dropped = group_field(field_of(points), GroupingConfig(noise="drop"))
    assigned = group_field(field_of(points), GroupingConfig(noise="assign"))
    assert dropped.labels[-1] == 0
    assert assigned.labels[-1] == assigned.labels[np.argmin(np.linalg.norm(points[:-1], axis=1))]
    assert assigned.noise_ratio == 0
    assert assigned.scores.min() < 1
    assert dropped.scores.tolist() == [1, 1]


def test_lines_are_numbered_by_their_first_pixel():
    points = np.repeat([[5.0], [0.0], [9.0]], 40, axis=0)
    assert group_field(field_of(points), GroupingConfig()).labels[[0, 40, 80]].tolist() == [1, 2, 3]


def test_small_groups_are_noise():
    points = np.concatenate([np.zeros((100, 2)), np.full((8, 2), 5.0)])
    config = GroupingConfig(min_samples=3, min_pixels=10, noise="drop")
    groups = group_field(field_of(points), config)
    assert groups.count == 1
    assert (groups.labels[-8:] == 0).all()


def test_the_spatial_term_separates_equal_features():
    field = Field(
        np.array([[x, y] for y in (0, 30) for x in range(40)], dtype=np.int32),
        np.zeros((80, 2), np.float32),
        np.ones(80, np.float32),
        np.zeros((80, 3), np.float32),
        (40, 50),
    )
    assert group_field(field, GroupingConfig(min_samples=3)).count == 1
    assert group_field(field, GroupingConfig(min_samples=3, use_spatial=True, spatial_weight=0.1)).count == 2


def test_auto_eps_is_the_quantile_of_the_kth_distance():
    x = np.arange(50, dtype=np.float32)[:, None] * 0.25
    config = GroupingConfig(auto_eps_k=1, auto_eps_q=0.5)
    assert auto_eps(Workspace(field_of(x)).points(config), config) == pytest.approx(0.25)
    points, truth = blobs([[0, 0], [30, 0]], radius=6)
    groups = group_field(field_of(points), GroupingConfig(auto_eps=True, auto_eps_q=0.98))
    assert adjusted_rand_score(truth, groups.labels) == 1


@pytest.mark.parametrize("k", [1, 10, 50])
@pytest.mark.parametrize("kind", ["clusters", "noise", "lattice"])
def test_auto_eps_of_very_many_points_is_that_of_all_to_a_hundredth(k, kind):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100_000, 4))
    if kind == "clusters":
        own = np.arange(100_000) // 12_500
        features = features * rng.uniform(0.05, 0.5, 8)[own, None] + 4 * rng.normal(size=(8, 4))[own]
    if kind == "lattice":
        features = np.rint(features * 8) / 8
    features = features.astype(np.float32)
    config = GroupingConfig(auto_eps_k=k)
    exact = np.quantile(neighbour_distances(build_tree(features), k), config.auto_eps_q)
    found = auto_eps(Workspace(field_of(features, (250, 400))).points(config), config)
    assert found == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("method", CLUSTERING)
@pytest.mark.parametrize("n", [0, 1, 2, 19, 30])
def test_few_or_equal_points(method, n):
    groups = group_field(field_of(np.zeros((n, 3))), GroupingConfig(method=method))
    assert len(groups.labels) == n
    # The margins of the loss say what a line is, however few pixels it has; density needs some.
    assert groups.count == (1 if n >= (10 if method == "margin" else 20) else 0)


@pytest.mark.parametrize("method", CLUSTERING)
def test_clustering_without_a_model_says_so(method):
    with pytest.raises(UserError, match="needs a model"):
        group_field(field_of(np.zeros((5, 0))), GroupingConfig(method=method))


def test_broken_features_are_refused():
    with pytest.raises(UserError, match="NaN"):
        field_of([[np.nan, 0]])


def test_unknown_names():
    field = field_of(np.zeros((5, 1)))
    with pytest.raises(UserError, match=r"Did you mean 'dbscan'"):
        group_field(field, GroupingConfig(method="dbscn"))
    with pytest.raises(UserError, match=r"Known: .*canny"):
        make_field(np.zeros((4, 4, 3), np.uint8), None, GroupingConfig(candidates="cany"))


def test_candidates():
    sample = two_crossing_lines()
    pixels = unpng(sample.image)
    ink = pixels.min(axis=2) < 245
    config = {name: GroupingConfig(candidates=name) for name in CANDIDATES}
    assert CANDIDATES["non_white"](Picture(pixels), None, config["non_white"]).sum() == ink.sum()
    assert CANDIDATES["all_pixels"](Picture(pixels), None, config["all_pixels"]).all()
    canny = CANDIDATES["canny"](Picture(pixels), None, config["canny"])
    assert (canny & draw_targets(sample).foreground).sum() > 0.8 * draw_targets(sample).foreground.sum()
    maps = Maps(np.zeros((2, *sample.size), np.float32), (ink * 0.7).astype(np.float32))
    np.testing.assert_array_equal(CANDIDATES["model"](Picture(pixels), maps, config["model"]), ink)
    with pytest.raises(UserError, match="needs a model"):
        make_field(pixels, None, config["model"])


def test_a_grey_page_is_no_ink():
    sample = random_sample(2, (96, 96), 2)
    pixels = unpng(sample.image)
    white = CANDIDATES["non_background"](Picture(pixels), None, GroupingConfig())
    grey = np.clip(pixels.astype(int) - 40, 0, 255).astype(np.uint8)
    on_grey = CANDIDATES["non_background"](Picture(grey), None, GroupingConfig())
    assert CANDIDATES["non_white"](Picture(grey), None, GroupingConfig()).all()
    assert on_grey.mean() < 0.2
    assert (white & on_grey).sum() / (white | on_grey).sum() > 0.8


def test_field_is_in_raster_order_with_features_and_colours():
    pixels = np.full((6, 8, 3), 255, np.uint8)
    pixels[2, 3], pixels[4, 1] = (255, 0, 0), (0, 0, 0)
    maps = Maps(np.arange(96, dtype=np.float32).reshape(2, 6, 8), np.full((6, 8), 0.25, np.float32))
    field = make_field(pixels, maps, GroupingConfig(candidates="non_white"))
    assert field.positions.tolist() == [[3, 2], [1, 4]]
    assert field.features.tolist() == [[19, 67], [33, 81]]
    assert field.colour[0] == pytest.approx([53.24, 80.09, 67.2], abs=0.5)
    assert field.label_image(np.array([1, 2]))[4, 1] == 2


def test_baselines_do_what_they_can_and_no_more():
    distinct = parallel_lines(3)
    field, groups = group_image(
        unpng(distinct.image), None, GroupingConfig(method="components", candidates="non_white")
    )
    assert groups.count == 3
    crossing = two_crossing_lines()
    _, merged = group_image(unpng(crossing.image), None, GroupingConfig(method="components", candidates="non_white"))
    assert merged.count == 1
    truth = draw_targets(crossing)
    field, groups = group_image(unpng(crossing.image), None, GroupingConfig(method="colour", candidates="non_white"))
    labels = field.label_image(groups.labels)
    strong = truth.valid & (unpng(crossing.image).min(axis=2) < 60)
    assert adjusted_rand_score(truth.labels[strong], labels[strong]) > 0.95


@pytest.mark.parametrize("method", sorted(GROUPERS))
def test_an_empty_field_has_no_lines(method):
    field = Field(
        np.zeros((0, 2), np.int32),
        np.zeros((0, 3), np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, 3), np.float32),
        (5, 5),
    )
    assert group_field(field, GroupingConfig(method=method)).count == 0


def drawn_chart(height=200, width=300) -> np.ndarray:
    """A frame from (40, 20) to (280, 170), a grid line, tick labels and a title."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    cv2.rectangle(pixels, (40, 20), (280, 170), (0, 0, 0), 1)
    cv2.line(pixels, (41, 95), (279, 95), (176, 176, 176), 1)
    cv2.putText(pixels, "A title", (100, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    for k in range(5):
        cv2.putText(pixels, f"{k}", (36 + 60 * k, 186), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
    return pixels


def lines_of(pixels) -> np.ndarray:
    field, groups = group_image(pixels, None, GroupingConfig(method="link", candidates="non_background"))
    return field.label_image(groups.labels)


def wave(rise=0.0, start=45, stop=276) -> np.ndarray:
    x = np.arange(start, stop)
    return np.stack([x, 90 + rise + 35 * np.sin(x / 30)], axis=1).round().astype(np.int32)


def test_the_plot_area_and_what_rules_it():
    pixels = drawn_chart()
    ink = pixels.min(axis=2) < 245
    structure = find_structure(ink, 100 - pixels.astype(np.float32) / 2.55, ink)
    assert np.abs(np.array(structure.box) - (40, 20, 280, 170)).max() <= 2
    assert structure.mask[20:171, [40, 280]].all()
    assert structure.mask[[20, 95, 170], 40:281].all()
    assert not structure.mask[:17].any()  # the title
    assert lines_of(pixels).max() == 0


def test_grey_rules_go_and_lines_stay():
    pixels = drawn_chart()
    cv2.polylines(pixels, [wave()], False, (31, 119, 180), 2, cv2.LINE_AA)
    labels = lines_of(pixels)
    assert labels.max() == 1
    line = np.zeros(labels.shape, np.uint8)
    cv2.polylines(line, [wave()], False, 1, 2)
    assert (labels[line > 0] == 1).mean() > 0.95
    assert not (labels > 0)[cv2.dilate(line, np.ones((7, 7), np.uint8)) == 0].any()


def test_a_mark_through_the_whole_height_is_no_part_of_a_line_of_its_colour():
    pixels = drawn_chart()
    cv2.polylines(pixels, [wave()], False, (214, 39, 40), 2, cv2.LINE_AA)
    cv2.line(pixels, (150, 21), (150, 169), (214, 39, 40), 1)
    labels = lines_of(pixels)
    assert labels.max() == 1
    assert np.count_nonzero(labels[:, 150]) < 15


def test_legend_keys_are_no_part_of_their_lines():
    pixels = drawn_chart()
    for k, colour in enumerate([(31, 119, 180), (214, 39, 40)]):
        cv2.polylines(pixels, [wave(rise=-15 + 30 * k)], False, colour, 2, cv2.LINE_AA)
        cv2.line(pixels, (220, 150 + 10 * k), (245, 150 + 10 * k), colour, 2)
    labels = lines_of(pixels)
    assert labels.max() == 2
    assert not labels[147:165, 218:248].any()


@pytest.mark.parametrize(
    ("colour", "outline"),
    [((200, 30, 30), None), ((31, 119, 180), None), ((200, 30, 30), (150, 90, 200))],
    ids=["another hue", "the line's hue", "outlined"],
)
def test_a_filled_band_is_no_line_and_the_line_in_it_is(colour, outline):
    pixels = drawn_chart()
    # Small enough not to be taken for part of the page.
    top, bottom = wave(rise=-27, start=70, stop=112), wave(rise=27, start=70, stop=112)
    cv2.fillPoly(pixels, [np.concatenate([top, bottom[::-1]])], (160, 200, 235))
    if outline:
        cv2.polylines(pixels, [top], False, outline, 2, cv2.LINE_AA)
        cv2.polylines(pixels, [bottom], False, outline, 2, cv2.LINE_AA)
    cv2.polylines(pixels, [wave()], False, colour, 2, cv2.LINE_AA)
    labels = lines_of(pixels)
    assert labels.max() == 1
    line = np.zeros(labels.shape, np.uint8)
    cv2.polylines(line, [wave()], False, 1, 2)
    assert (labels[line > 0] == 1).mean() > 0.9
    assert not (labels > 0)[cv2.dilate(line, np.ones((9, 9), np.uint8)) == 0].any()


@pytest.mark.parametrize("ink", [(-50, 10, -40), (-80, 0, 0)])
def test_shades_of_one_ink_are_one_and_two_pale_lines_are_two(ink):
    x = np.arange(200)
    dark, pale = np.array(ink, dtype=float), np.array(ink) / 2
    # One line, dark and pale by turns, as antialiasing leaves it.
    alternating = np.where((x // 7 % 2)[:, None] == 0, dark, pale).astype(np.float32)
    assert set(separate_inks(alternating, x, np.full(200, 50), (100, 200))) == {0}
    # Both at once, one above the other.
    both = np.concatenate([np.tile(dark, (200, 1)), np.tile(pale, (200, 1))]).astype(np.float32)
    labels = separate_inks(both, np.tile(x, 2), np.repeat([30, 70], 200), (100, 200))
    assert len(set(labels[:200])) == len(set(labels[200:])) == 1
    assert labels[0] != labels[-1]
