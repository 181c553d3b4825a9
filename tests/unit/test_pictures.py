import numpy as np

from linegroup.pictures import contact_sheet, overlay, palette
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
