import numpy as np
import pytest

from linegroup.pictures import contact_sheet, numbered_overlay, overlay, palette
from linegroup.targets import draw_targets
from linegroup.testing import two_crossing_lines, unpng


def test_palette_colours_differ():
    colours = palette(12).astype(int)
    apart = np.abs(colours[:, None] - colours).sum(axis=2) + 999 * np.eye(12, dtype=int)
    assert apart.min() > 40
    assert palette(0).shape == (0, 3)


def test_overlay_shows_each_line_in_its_colour_and_the_rest_pale():
    sample = two_crossing_lines()
    labels = draw_targets(sample).labels
    shown = overlay(unpng(sample.image), labels)
    assert shown.shape == (*sample.size, 3)
    for k, colour in enumerate(palette(2), start=1):
        assert (shown[labels == k] == colour).all()
    assert shown[0, 0].tolist() == [255, 255, 255]


def test_overlay_without_lines():
    assert overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint16)).shape == (4, 5, 3)


def test_contact_sheet_holds_every_cell():
    red, blue = np.full((30, 40, 3), (255, 0, 0), np.uint8), np.full((90, 20, 3), (0, 0, 255), np.uint8)
    sheet = contact_sheet([[("red " * 50, red), ("blue", blue)], [("again", red)]], cell=(60, 80))
    assert (sheet == (255, 0, 0)).all(axis=2).sum() >= 2 * 60 * 78
    assert (sheet == (0, 0, 255)).all(axis=2).sum() >= 60 * 12
    assert contact_sheet([]).shape[2] == 3


@pytest.mark.parametrize("count", [1, 3, 40])
def test_every_line_has_its_number_beside_it(count):
    labels = np.zeros((40 * count + 40, 400), np.uint16)
    for k in range(1, count + 1):
        labels[40 * k - 1 : 40 * k + 1, 20:380] = k
    page = np.full((*labels.shape, 3), 255, np.uint8)
    plain, numbered = overlay(page, labels), numbered_overlay(page, labels)
    assert numbered.shape == plain.shape
    changed = (numbered != plain).any(axis=2)
    for k, colour in enumerate(palette(count), start=1):
        near = slice(40 * k - 38, 40 * k - 2)  # numbers stand above their lines where there is room
        off = np.abs(numbered[near][changed[near]].astype(int) - colour).max(axis=1)
        assert off.min() < 40  # edges of digits are mixed with the page
    rows = changed.any(axis=1)
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) == count
    assert not changed[:, :100].any()


@pytest.mark.parametrize(("shape", "columns"), [((4, 5), 2), ((1, 1), 1), ((30, 40), 40), ((6, 400), 400)])
def test_numbers_in_small_and_crowded_pictures(shape, columns):
    labels = np.zeros(shape, np.uint16)
    labels[:, :columns] = np.arange(1, columns + 1)
    shown = numbered_overlay(np.zeros((*shape, 3), np.uint8), labels)
    assert shown.shape == (*shape, 3)


def test_without_lines_there_are_no_numbers():
    page, labels = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint16)
    assert (numbered_overlay(page, labels) == overlay(page, labels)).all()
