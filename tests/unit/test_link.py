"""The grouper without a model: colour and shape on whole charts."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linegroup.config import GroupingConfig
from linegroup.errors import UserError
from linegroup.grouping import Grouper, group_field, group_image, link
from linegroup.grouping.linking import link_lines
from linegroup.grouping.skew import find_skew
from linegroup.grouping.strokes import find_strokes
from linegroup.masks import decode
from linegroup.metrics import adjusted_rand_index, contingency, score
from linegroup.predict import Predictor
from linegroup.sample import Field, Maps
from linegroup.sources.coco_masks import runs_of
from linegroup.targets import draw_targets, line_pixels
from linegroup.testing import BLACK, chart_sample, draw_sample, random_sample, unpng
from linegroup.vectors.records import line_records

CHARTS = Path(__file__).parents[2] / "examples" / "real_charts" / "images"
LINK = GroupingConfig(method="link", candidates="non_background", noise="drop")


def found(pixels: np.ndarray) -> np.ndarray:
    field, groups = group_image(pixels, None, LINK)
    return field.label_image(groups.labels)


def scored(sample, pixels=None) -> dict[str, float]:
    return score(draw_targets(sample), line_pixels(sample), found(unpng(sample.image) if pixels is None else pixels))


@pytest.mark.parametrize("seed", range(4))
def test_coloured_lines_in_a_chart_and_nothing_else(seed):
    scores = scored(chart_sample(seed))
    assert scores["ari"] > 0.95
    assert scores["line_f1"] == 1
    assert scores["fg_precision"] > 0.97  # axes, grid and text are left out
    assert scores["count_error"] == 0


@pytest.mark.parametrize("shade", [0.94, 0.8, 0.6])
def test_the_page_may_be_grey(shade):
    sample = chart_sample(2)
    pixels = (unpng(sample.image) * shade).astype(np.uint8)
    assert scored(sample, pixels)["ari"] > 0.85


def test_the_page_may_be_dark():
    sample = random_sample(3, (240, 320), 3)
    assert scored(sample, 255 - unpng(sample.image))["ari"] > 0.9


def test_separate_black_lines_are_separate():
    # Not level ones: a level black line through the whole picture is taken for an axis.
    lines = [np.array([[10.0, y], [290, y + 25]]) for y in (30, 80, 130)]
    assert scored(draw_sample(lines, (200, 300), colours=[BLACK]))["ari"] > 0.99


def test_dashes_of_one_colour_are_one_line():
    x = np.linspace(20, 300, 80)
    lines = [np.stack([x, 60 + 30 * np.sin(x / 30)], axis=1), np.stack([x, 160 + 20 * np.cos(x / 40)], axis=1)]
    sample = draw_sample(lines, (220, 320), gaps=5, colours=[(214, 39, 40), BLACK])
    assert scored(sample)["count_error"] == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5, 5), (40, 30)])
@pytest.mark.parametrize("fill", [0, 255, "noise"])
def test_any_picture_at_all(size, fill):
    pixels = np.full((*size, 3), 0 if fill == "noise" else fill, dtype=np.uint8)
    if fill == "noise":
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    assert found(pixels).shape == size


def inked(*lines, size=(200, 300), thickness=2):
    mask = np.zeros(size, np.uint8)
    for line in lines:
        cv2.polylines(mask, [np.rint(line).astype(np.int32)], False, 1, thickness)
    return mask > 0


def black_field(mask, features, tangent=None):
    ys, xs = np.nonzero(mask)
    count = len(xs)
    return Field(
        np.stack([xs, ys], axis=1).astype(np.int32),
        np.asarray(features, dtype=np.float32)[ys, xs],
        np.ones(count, np.float32),
        np.zeros((count, 3), np.float32),
        mask.shape,
        np.array([[100, 0, 0]], np.float32),
        tangent=np.zeros((count, 2), np.float32) if tangent is None else np.asarray(tangent, np.float32)[ys, xs],
    )


def masks_of(field, groups):
    drawn = []
    for part in groups.members:
        mask = np.zeros(field.size, bool)
        mask[field.positions[part, 1], field.positions[part, 0]] = True
        drawn.append(mask)
    return drawn


def test_through_a_crossing_straight_on_unless_the_embedding_says_otherwise():
    mask = inked([(20, 30), (280, 170)], [(20, 170), (280, 30)])
    y, x = np.mgrid[:200, :300]
    upper = (y < 100)[..., None] * np.full(4, 4.0)
    rising = ((x - 150) * (y - 100) < 0)[..., None] * np.full(4, 4.0)
    for features, straight in ((np.zeros((200, 300, 4)), True), (rising, True), (upper, False)):
        field = black_field(mask, features)
        groups = group_field(field, GroupingConfig(method="link"))
        labels = field.label_image(groups.labels)
        assert groups.count == 2
        left_top, left_bottom = labels[28:40, 22:30].max(), labels[160:172, 22:30].max()
        right_top, right_bottom = labels[28:40, 270:278].max(), labels[160:172, 270:278].max()
        assert left_top == (right_bottom if straight else right_top)
        assert left_bottom == (right_top if straight else right_bottom)


@pytest.mark.parametrize(
    "peaks",
    [
        [(127, 95), (134, 60), (139, 99), (143, 60)],
        [(126, 80), (132, 60), (137, 100), (142, 60), (146, 102), (150, 60)],
        [(124, 87), (128, 60), (133, 99), (137, 60), (142, 87), (148, 60)],
    ],
)
def test_a_line_with_peaks_as_narrow_as_it_is_thick_is_one(peaks):
    """Up and down it runs in itself there."""
    line = np.array([(30, 120), (110, 70), *peaks, (270, 40)])
    mask = inked(line, np.array([[30.0, 160], [270, 150]]), thickness=3)
    lines = link_lines(mask, mask.shape)
    assert [len(line) for line in lines] == [1, 1]
    assert sorted(chain.gaps for chains in lines for chain in chains) == [(), ()]


def test_a_stroke_may_carry_two_lines():
    one = [(20, 60), (110, 98), (190, 98), (280, 60)]
    other = [(20, 140), (110, 100), (190, 100), (280, 140)]
    mask = inked(one, other, thickness=3)
    field = black_field(mask, np.zeros((200, 300, 2)))
    groups = group_field(field, GroupingConfig(method="link"))
    assert groups.count == 2
    first, second = masks_of(field, groups)
    for drawn in (first, second):
        assert drawn[:, 22:40].any()
        assert drawn[:, 260:278].any()
    run = (first & second)[:, 120:180]
    assert run.any(axis=0).mean() > 0.9, "both lines have the run"


def test_what_lies_under_another_line_belongs_to_both():
    page = np.full((120, 200, 3), 255, np.uint8)
    cv2.line(page, (10, 40), (190, 80), (220, 30, 30), 3)
    cv2.line(page, (60, 10), (140, 110), (30, 30, 220), 3)
    field, groups = group_image(page, None, LINK)
    shared = {tuple(field.positions[pixel]) for pixel, _ in groups.shared}
    assert (100, 60) in shared
    assert all(abs(x - 100) <= 8 and abs(y - 60) <= 5 for x, y in shared)


def test_dots_become_lines():
    x = np.arange(20, 280, 9)
    page = np.full((200, 300, 3), 255, np.uint8)
    for middle, colour in ((60, (200, 0, 0)), (140, (0, 0, 200))):
        for px in x.tolist():
            cv2.circle(page, (px, round(middle + 20 * np.sin(px / 40))), 2, colour, -1)
    _, groups = group_image(page, None, LINK)
    assert groups.count == 2


def dotted(gap):
    """A line of dashes of six pixels and such gaps, rising a little: the ink, and what it would be without gaps."""
    x = np.arange(20, 280)
    y = 60 + x // 8
    whole, mask = np.zeros((120, 300), bool), np.zeros((120, 300), bool)
    inked_there = (x - 20) % (6 + gap) < 6
    for dy in (0, 1):
        whole[y + dy, x] = True
        mask[y + dy, x] = inked_there
    return mask, whole


@pytest.mark.parametrize(("gap", "filled"), [(2, True), (3, True), (9, False)])
def test_narrow_gaps_are_of_the_line(gap, filled):
    mask, whole = dotted(gap)
    pixels = np.where(mask[..., None], np.uint8([200, 30, 30]), np.uint8(255))
    field, groups = group_image(pixels, None, LINK)
    assert groups.count == 1
    image = groups.image(field)
    assert (image[mask] == 1).all()
    bridged = (image > 0) & ~field.mask
    assert bridged.sum() == len(groups.beside)
    assert not field.label_image(groups.labels)[bridged].any()
    assert (bridged & whole).sum() > 0.8 * (whole & ~mask).sum() if filled else not bridged.any()
    (line,) = line_records(field, groups, np.zeros((len(field), 3), np.uint8))
    assert line.pixel_count == np.count_nonzero(image)
    assert line.mask is not None
    assert np.array_equal(decode(runs_of(line.mask.model_dump(), field.size), field.size), image > 0)


def test_narrow_gaps_of_a_page_askew_are_filled_where_they_are():
    mask, whole = dotted(3)
    size = (400, 500)
    page = np.full((*size, 3), 255, np.uint8)
    cv2.line(page, (60, 350), (470, 370), (0, 0, 0), 2)
    cv2.line(page, (60, 350), (80, 30), (0, 0, 0), 2)
    page[150:270, 120:420][mask] = (200, 30, 30)
    field, groups = group_image(page, None, LINK)
    assert any(find_skew(field.mask))
    image = groups.image(field)[150:270, 120:420]
    assert (image[mask] > 0).mean() > 0.95
    assert (image[whole & ~mask] > 0).mean() > 0.6
    assert len(groups.beside) == len(np.unique(groups.beside[:, :2], axis=0))


def test_the_grid_beside_steep_lines_is_of_their_masks_and_no_way_of_theirs():
    prediction = Predictor.without_model(LINK).predict_file(CHARTS / "0013.png")
    ways = [np.array(line.polyline)[:, 0] for line in prediction.lines]
    # They went back over 271 of their columns when they followed the grid.
    assert len(ways) == 5
    assert -sum(np.minimum(0, np.diff(way)).sum() for way in ways) < 200
    x, y, _ = prediction.groups.beside.T
    pixels = prediction.pixels[y, x].astype(int)
    assert len(pixels) > 50
    assert (np.ptp(pixels, axis=1) < 40).mean() > 0.8, "they have no hue: they are the grid's"
    assert all(prediction.labels[y, x] == prediction.groups.beside[:, 2])


@pytest.mark.parametrize("degrees", [-2.5, 1.2])
def test_a_page_that_lies_askew(degrees):
    sample = chart_sample(1)
    pixels, labels = unpng(sample.image), draw_targets(sample).labels
    turn = cv2.getRotationMatrix2D((320, 240), degrees, 1)
    turned = cv2.warpAffine(pixels, turn, (640, 480), flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    truth = cv2.warpAffine(labels, turn, (640, 480), flags=cv2.INTER_NEAREST)
    answer = found(turned)
    on = truth > 0
    assert adjusted_rand_index(contingency(truth[on], answer[on])) > 0.9
    assert answer.max() == truth.max(), "no axis is a line"


def test_a_sliver_is_not_straightened_into_a_huge_page(monkeypatch):
    monkeypatch.setattr("linegroup.grouping.skew._lean", lambda _ink: 0.05)
    assert find_skew(np.ones((480, 640), bool)) == (0.05, 0.05)
    assert find_skew(np.ones((100, 4000), bool)) == (0, 0)
    assert find_skew(np.ones((4000, 100), bool)) == (0, 0)


def with_maps(pixels, foreground, candidates="model", **settings):
    """Labels where a model gives this foreground, and embeddings that say nothing."""
    maps = Maps(np.zeros((1, *foreground.shape), np.float32), foreground.astype(np.float32))
    config = GroupingConfig(method="link", candidates=candidates, min_pixels=1, **settings)
    field, groups = group_image(pixels, maps, config)
    return field.label_image(groups.labels)


@pytest.mark.parametrize("candidates", ["non_white", "all_pixels"])
def test_what_no_eye_tells_from_a_grey_page_is_no_ink(candidates):
    pixels = (unpng(chart_sample(2).image) * 0.85).astype(np.uint8)
    model = Predictor.load("pretrained", "cpu")
    ink = replace(model, grouping=model.grouping.changed({"candidates": "non_background"}))(pixels)
    every = replace(model, grouping=model.grouping.changed({"candidates": candidates}))(pixels)
    assert ink.groups.count > 1
    assert len(every.field) == len(ink.field)
    np.testing.assert_array_equal(every.labels, ink.labels)


@pytest.mark.parametrize(("candidates", "pale"), [("non_white", True), ("non_background", False)])
def test_a_pale_line_on_a_white_page_stays_with_non_white(candidates, pale):
    pixels = np.full((120, 300, 3), 255, np.uint8)
    cv2.line(pixels, (20, 100), (280, 20), (200, 30, 30), 2)
    cv2.line(pixels, (20, 20), (280, 90), (232, 232, 232), 3)
    field, _ = group_image(pixels, None, LINK.changed({"candidates": candidates}))
    assert field.mask[15:40, 20:60].any() == pale


def test_all_may_be_page():
    pixels = np.full((40, 50, 3), 200, np.uint8)
    field, groups = group_image(pixels, None, LINK.changed({"candidates": "all_pixels"}))
    assert len(field) == groups.count == 0
    field, _ = group_image(pixels, None, GroupingConfig(method="components", candidates="all_pixels"))
    assert len(field) == 2000


@pytest.mark.parametrize("seed", range(2))
def test_axes_go_where_a_model_says_nothing_of_the_foreground(seed):
    """As without a model: its foreground of ones does not say that all ink is of lines."""
    sample = chart_sample(seed)
    pixels = unpng(sample.image)
    size = pixels.shape[:2]
    silent = Maps(np.zeros((1, *size), np.float32), np.ones(size, np.float32), foreground_known=False)
    field, groups = group_image(pixels, silent, LINK)
    scores = score(draw_targets(sample), line_pixels(sample), field.label_image(groups.labels))
    assert scores["fg_precision"] > 0.97
    assert scores["count_error"] == 0
    with pytest.raises(UserError, match="foreground head"):
        group_image(pixels, silent, LINK.changed({"candidates": "model"}))


@pytest.mark.parametrize("ink", [(200, 30, 30), (0, 0, 0)])
def test_grey_ink_that_goes_on_from_a_coloured_line_is_not_of_it(ink):
    """A model half believes the rest of a grid line; at a black line it may be a pale part of it."""
    pixels = np.full((160, 300, 3), 255, np.uint8)
    x = np.arange(20, 280)
    y = np.rint(80 + 40 * np.sin(x / 30)).astype(int)
    foreground = np.zeros((160, 300), np.float32)
    for k in range(-2, 3):
        pixels[y + k, x], foreground[y + k, x] = ink, 1
    stub = np.zeros((160, 300), bool)
    stub[122, 47:72] = True  # from the lowest point of the line to the right, a pixel high
    stub &= foreground == 0
    pixels[stub], foreground[stub] = 205, 0.1
    labels = with_maps(pixels, foreground, "non_background", foreground_threshold=0.15)
    assert (labels[foreground == 1] == 1).all()
    taken = np.count_nonzero(labels[stub])
    assert taken <= 7 if ink != (0, 0, 0) else taken >= 8


def test_dots_of_a_pixel_are_a_line_where_a_model_says_so():
    pixels = np.full((120, 300, 3), 255, np.uint8)
    there = np.zeros((120, 300), bool)
    there[60, 20:280:4] = True
    there[15, 150] = True  # one alone is none
    pixels[there] = 0
    labels = with_maps(pixels, there)
    assert (labels[60, 20:280:4] == labels[60, 20]).all()
    assert labels[60, 20] > 0
    assert labels[15, 150] == 0


def test_a_model_is_believed_about_pale_lines():
    pixels = np.full((120, 300, 3), 255, np.uint8)
    there = np.zeros((120, 300), bool)
    there[59:61, 20:280] = True
    pixels[there] = 240
    labels = with_maps(pixels, there)
    assert (labels[there] == 1).all()


def test_what_is_black_follows_the_foreground_and_what_has_a_hue_its_vote():
    pixels = np.full((200, 400, 3), 255, np.uint8)
    foreground = np.zeros((200, 400), np.float32)
    x = np.arange(30, 370)
    for middle, colour, share in ((60, (0, 0, 0), 0.7), (130, (200, 30, 30), 0.7)):
        y = (middle + 15 * np.sin(x / 40)).astype(int)
        for dy in (0, 1):
            pixels[y + dy, x] = colour
            foreground[y + dy, x] = np.where(x < 30 + share * 340, 0.9, 0.0)
    labels = with_maps(pixels, foreground, "non_background", foreground_threshold=0.5)
    right = np.s_[:, 330:370]
    assert (labels[100:][foreground[100:] > 0] > 0).all()
    assert (labels[100:160][(pixels[100:160, :, 1] < 100)] > 0).all()  # the whole red line
    assert not labels[:100][right].any()  # of the black one what is likely


@pytest.mark.parametrize(("belief", "found"), [(0.9, True), (0.6, False)])
def test_dashes_too_far_apart_for_their_looks_stay_if_the_model_is_sure(belief, found):
    pixels = np.full((200, 500, 3), 255, np.uint8)
    there = inked(*(np.array([[x, 60.0 + x / 10], [x + 50, 65 + x / 10]]) for x in range(30, 450, 80)), size=(200, 500))
    pixels[there] = 0
    pixels[180:182, 100:130] = 0  # something that is none of a line's
    assert (with_maps(pixels, belief * there, "non_background", foreground_threshold=0.15)[there] > 0).all() == found


def test_a_row_of_marks_like_letters_stays_if_the_model_is_sure():
    pixels = np.full((200, 400, 3), 255, np.uint8)
    there = np.zeros((200, 400), bool)
    for x in range(30, 370, 16):
        there[100:110, x] = there[100:110, x + 6] = there[[100, 105, 109], x : x + 7] = True  # an 8
    pixels[there] = 0
    pixels[180:182, 100:130] = 0
    settings = {"candidates": "non_background", "foreground_threshold": 0.15}
    assert (with_maps(pixels, 0.9 * there, **settings)[there] > 0).mean() > 0.9
    assert not with_maps(pixels, 0.6 * there, **settings).any()


def test_a_thin_line_on_subpixels_is_one():
    """Its edges have all hues, none of them often enough to be an ink."""
    height, width = 120, 300
    x = np.arange(3 * width)
    y = 60 + 15 * np.sin(x / 140) + np.random.default_rng(0).normal(0, 1, len(x))
    ink = np.clip(1 - np.abs(np.arange(height)[:, None] - y), 0, 1)
    ink = (ink + np.roll(ink, 1, axis=1) + np.roll(ink, -1, axis=1)) / 3
    pixels = np.rint(255 * (1 - ink)).astype(np.uint8).reshape(height, width, 3)
    strong = pixels.min(axis=2) < 200
    labels = with_maps(pixels, pixels.min(axis=2) < 240, "non_background", foreground_threshold=0.15)
    assert labels.max() == 1
    assert labels[strong].mean() > 0.9


def test_where_most_ink_is_none_of_lines_the_model_says_what_is():
    """Paper as dark as ink over a third of the page: looks would make lines of it."""
    rng = np.random.default_rng(5)
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[rng.random((200, 300)) < 0.12] = 0
    line = inked(np.array([[20.0, 60], [280, 150]]))
    pixels[line] = 0
    labels = with_maps(pixels, 0.9 * line, candidates="non_background", foreground_threshold=0.15)
    assert np.array_equal(labels == 1, line)
    assert np.array_equal(labels > 0, line)
    assert not with_maps(pixels, 0.1 * line, candidates="non_background", foreground_threshold=0.15).any()


def test_a_grid_that_a_model_half_believes_is_no_line():
    """Most ink is grid, so that looks say little."""
    pixels = np.full((300, 400, 3), 255, np.uint8)
    grid = np.zeros((300, 400), bool)
    grid[20:290:24, 15:390] = grid[20:285, 15:390:24] = True
    line = inked(np.array([[20.0, 60], [150, 120], [250, 140], [380, 250]]), size=(300, 400))
    pixels[grid | line] = 0
    belief = np.where(np.indices((300, 400)).sum(axis=0) // 36 % 3, 0.1, 0.7) * grid
    belief[line] = 0.95
    assert (belief > 0).mean() > link.CROWDED
    labels = with_maps(pixels, belief, candidates="non_background", foreground_threshold=0.15)
    assert labels.max() == 1
    assert (labels[line] == 1).mean() > 0.97
    assert (labels[grid & ~line] > 0).mean() < 0.1


def test_a_crowded_picture_is_grouped_by_looks_where_most_of_it_is_lines():
    """So a line with a hue is whole where the model is sure of most of it."""
    pixels = np.full((100, 200, 3), 255, np.uint8)
    belief = np.zeros((100, 200), np.float32)
    for k, colour in enumerate([(220, 30, 30), (30, 30, 220)] * 2):
        line = inked(np.array([[12.0, 14 + 20 * k], [195, 20 + 20 * k]]), size=(100, 200), thickness=3)
        pixels[line], belief[line] = colour, 0.9
    there = belief > 0
    belief[:, 150:] *= 0.1
    assert there.mean() > link.CROWDED
    labels = with_maps(pixels, belief, candidates="non_background", foreground_threshold=0.15)
    assert labels.max() == 4
    assert (labels[there] > 0).all()


def test_trying_other_costs_finds_the_strokes_once(monkeypatch):
    mask = inked([[20, 20], [280, 180]], [[20, 180], [280, 20]])
    field = black_field(mask, np.zeros((*mask.shape, 2)))
    asked = []
    monkeypatch.setattr(link, "find_strokes", lambda ink: asked.append(ink) or find_strokes(ink))
    grouper = Grouper(LINK)
    grouper.fit(field)
    once = len(asked)
    again = grouper.refit(embedding_cost=2.0, min_pixels=30)
    assert len(asked) == once >= 1
    anew = group_field(field, LINK.changed({"embedding_cost": 2.0, "min_pixels": 30}))
    np.testing.assert_array_equal(again.labels, anew.labels)
    np.testing.assert_array_equal(again.shared, anew.shared)
