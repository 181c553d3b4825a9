"""The grouper without a model: colour and shape on whole charts."""

import numpy as np
import pytest

from linegroup.config import GroupingConfig
from linegroup.grouping import group_image
from linegroup.metrics import score
from linegroup.targets import draw_targets, line_pixels
from linegroup.testing import BLACK, chart_sample, draw_sample, random_sample, unpng

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
