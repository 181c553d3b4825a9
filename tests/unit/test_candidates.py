"""Which pixels are grouped, on every kind of page."""

import cv2
import numpy as np
import pytest

from linegroup.config import GroupingConfig
from linegroup.grouping import CANDIDATES, make_field
from linegroup.grouping.ink import Picture, page_colours, page_shade
from linegroup.sample import Maps
from linegroup.targets import draw_targets
from linegroup.testing import chart_sample, parallel_lines, unpng


def chosen(name, pixels, maps=None, **settings) -> np.ndarray:
    return CANDIDATES[name](Picture(pixels), maps, GroupingConfig(candidates=name, **settings))


def test_the_foreground_threshold_is_inclusive():
    maps = Maps(np.zeros((1, 1, 3), np.float32), np.array([[0.25, 0.5, 0.75]], np.float32))
    pixels = np.zeros((1, 3, 3), np.uint8)
    assert chosen("model", pixels, maps).tolist() == [[False, True, True]]
    assert chosen("model", pixels, maps, foreground_threshold=0.75).tolist() == [[False, False, True]]


def test_non_white_looks_at_the_darkest_channel():
    pixels = np.array([[[255, 255, 244], [255, 255, 245], [0, 255, 255]]], np.uint8)
    assert chosen("non_white", pixels).tolist() == [[True, False, True]]
    assert chosen("non_white", pixels, white_threshold=255).tolist() == [[True, True, True]]


def test_canny_settings_reach_opencv():
    pixels = unpng(parallel_lines(3).image)
    thin = chosen("canny", pixels, canny_dilate_iter=0)
    assert (chosen("canny", pixels) >= thin).all()
    assert chosen("canny", pixels, canny_dilate_iter=3).sum() > chosen("canny", pixels).sum() > thin.sum() > 0
    assert chosen("canny", pixels, canny_threshold1=1e5, canny_threshold2=1e5).sum() == 0


@pytest.mark.parametrize("page", [(255, 255, 255), (229, 229, 229), (20, 20, 30), (255, 250, 230)])
@pytest.mark.parametrize("quality", [None, 75])
def test_ink_on_any_page(page, quality):
    pixels = np.full((120, 160, 3), page, np.uint8)
    cv2.line(pixels, (10, 100), (150, 20), (200, 60, 40), 2)
    if quality:
        coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        pixels = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
    line = np.zeros((120, 160), np.uint8)
    cv2.line(line, (10, 100), (150, 20), 1, 2)
    ink = chosen("non_background", pixels)
    assert ink[line > 0].mean() > 0.97
    away = cv2.dilate(line, np.ones((13, 13), np.uint8)) == 0
    assert ink[away].mean() <= (0.005 if quality else 0)  # JPEG spreads colour over blocks of 16 pixels


def test_a_shaded_panel_is_page_too():
    pixels = np.full((120, 160, 3), 255, np.uint8)
    pixels[10:110, 10:150] = (210, 220, 235)
    pixels[60:62, 30:130] = (200, 30, 30)
    colours = page_colours(pixels)
    assert len(colours) == 2
    assert colours[0][0] < 99  # the panel is the larger one
    assert chosen("non_background", pixels).sum() == 200


@pytest.mark.parametrize("turn", range(4))
def test_uneven_light_is_no_ink(turn):
    pixels = np.full((240, 320, 3), (225, 215, 200), np.uint8)
    cv2.line(pixels, (20, 200), (300, 40), (60, 50, 50), 2)
    line = np.zeros((240, 320), np.uint8)
    cv2.line(line, (20, 200), (300, 40), 1, 2)
    y, x = np.mgrid[:240, :320]
    light = 1 - 0.5 * (x / 320) * (0.4 + 0.6 * y / 240) - 0.1 * (y / 240) ** 2
    shaded = np.rot90((pixels * light[..., None]).astype(np.uint8), turn)
    line = np.rot90(line, turn)
    ink = chosen("non_background", np.ascontiguousarray(shaded))
    assert ink[line > 0].mean() > 0.97
    assert ink[cv2.dilate(line, np.ones((5, 5), np.uint8)) == 0].mean() < 0.001
    field = make_field(np.ascontiguousarray(shaded), None, GroupingConfig(candidates="all_pixels"))
    page = field.colour[np.rot90(line == 0, 0).ravel(), 0]
    assert np.ptp(page) < 12, "the colours, too, are those under even light"


def test_even_pages_and_panels_have_no_shade():
    pixels = unpng(chart_sample(4).image)
    assert page_shade(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 0]) is None
    panel = np.full((240, 320), 100, np.float32)
    panel[20:220, 40:300] = 90
    assert page_shade(panel) is None


def test_a_grainy_page_is_no_ink():
    pixels = np.full((200, 300, 3), (205, 205, 225), np.float32)
    cv2.line(pixels, (20, 180), (280, 20), (200, 30, 60), 3)
    noisy = np.clip(pixels + np.random.default_rng(0).normal(scale=6, size=pixels.shape), 0, 255).astype(np.uint8)
    line = (pixels[..., 1] < 100).astype(np.uint8)
    ink = chosen("non_background", noisy)
    assert ink[line > 0].mean() > 0.97
    assert ink[cv2.dilate(line, np.ones((5, 5), np.uint8)) == 0].mean() < 0.01


def test_a_chart_without_flat_areas_has_a_page_all_the_same():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    assert page_colours(pixels).shape == (1, 3)


@pytest.mark.parametrize("name", sorted(CANDIDATES))
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 3)])
def test_any_size_and_the_picture_stays_as_it_is(name, size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = pixels.copy()
    maps = Maps(np.zeros((2, *size), np.float32), np.ones(size, np.float32))
    mask = chosen(name, pixels, maps)
    assert mask.shape == size
    assert mask.dtype == bool
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("name", ["non_background", "non_white"])
def test_nothing_of_a_line_is_missed(name):
    sample = chart_sample(4)
    core = draw_targets(sample).foreground & (unpng(sample.image).min(axis=2) < 150)
    assert chosen(name, unpng(sample.image))[core].mean() > 0.99


def test_a_blank_picture_has_an_empty_field():
    field = make_field(np.full((9, 7, 3), 255, np.uint8), None, GroupingConfig(candidates="non_background"))
    assert len(field) == 0
    assert field.features.shape == (0, 0)
    assert field.size == (9, 7)
    assert field.page[0] == pytest.approx([100, 0, 0], abs=0.1)
