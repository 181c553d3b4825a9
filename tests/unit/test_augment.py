"""Vectors and pixels move together."""

import numpy as np
import pytest

from linegroup.augment import augment
from linegroup.config import AugmentConfig
from linegroup.geometry import length
from linegroup.sample import Sample
from linegroup.targets import draw_targets
from linegroup.testing import BLACK, chart_sample, draw_sample, random_sample, unpng

PLAIN = {"flip": 0, "rotate90": 0, "scale": (1, 1), "colour": 0, "grey": 0, "blur": 0, "noise": 0, "jpeg": 0}


def config(**changes) -> AugmentConfig:
    return AugmentConfig(**{**PLAIN, "crop": None, **changes})


def agreement(sample, pixels) -> float:
    ink = pixels.min(axis=2) < 150
    truth = draw_targets(sample).foreground
    return float((ink & truth).sum() / max(1, (ink | truth).sum()))


def thick(seed: int = 4):
    return random_sample(seed, (90, 120), 3, thickness=5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "changes",
    [
        {"flip": 1},
        {"rotate90": 1},
        {"flip": 1, "rotate90": 1},
        {"scale": (0.6, 0.7)},
        {"scale": (1.7, 1.9)},
        {"crop": (50, 70)},
        {"crop": (50, 70), "scale": (0.7, 1.5), "flip": 0.5, "rotate90": 0.5},
        {"blur": 1},
        {"jpeg": 1},
    ],
    ids=str,
)
def test_truth_moves_with_the_ink(seed, changes):
    sample = thick()
    moved, pixels = augment(sample, unpng(sample.image), config(**changes), np.random.default_rng(seed))
    assert pixels.shape == (*moved.size, 3)
    assert agreement(moved, pixels) > 0.75


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("zoom", [0.55, 0.8, 1.3, 1.9])
def test_ink_and_vectors_agree_to_a_fraction_of_a_pixel(zoom, seed):
    """A zoom about pixel centres instead of picture edges would be off by up to (zoom - 1) / 2."""
    sample = draw_sample([np.array([[40.3, 30.6], [52.1, 38.2]])], (70, 90), colours=[BLACK], thickness=6)
    changes = {"scale": (zoom, zoom), "flip": 0.5, "rotate90": 0.5}
    moved, pixels = augment(sample, unpng(sample.image), config(**changes), np.random.default_rng(seed))
    ink = 255.0 - pixels[..., 0]
    y, x = np.indices(ink.shape)
    centre = np.array([(ink * x).sum(), (ink * y).sum()]) / ink.sum()
    np.testing.assert_allclose(centre, moved.instances[0].xy.mean(axis=0), atol=0.06)
    area = length(moved.instances[0].xy) * moved.instances[0].thickness + np.pi / 4 * moved.instances[0].thickness ** 2
    assert ink.sum() / 255 == pytest.approx(area, rel=0.03)


def test_crops_look_all_along_a_straight_line():
    sample = draw_sample([np.array([[5.0, 100], [995, 100]])], (200, 1000))
    rng, pixels = np.random.default_rng(0), unpng(sample.image)
    starts = [5 - augment(sample, pixels, config(crop=(64, 64)), rng)[0].instances[0].xy[0, 0] for _ in range(500)]
    shares = np.histogram(starts, bins=4, range=(0, 936))[0] / len(starts)
    assert shares.min() > 0.15


def test_the_picture_that_came_in_stays_as_it_was():
    sample = thick()
    pixels = unpng(sample.image)
    pixels.setflags(write=False)
    every = AugmentConfig(crop=(50, 60), flip=1, rotate90=1, colour=1, grey=1, blur=1, noise=1, jpeg=1)
    for settings in (every, config(), config(colour=1), config(crop=(50, 60), noise=1)):
        moved, changed = augment(sample, pixels, settings, np.random.default_rng(1))
        assert changed.flags.c_contiguous
        assert changed.shape == (*moved.size, 3)


def test_colours_change_and_the_white_page_stays_grey():
    page = np.full((4, 4, 3), 255, dtype=np.uint8)
    red = np.zeros((4, 4, 3), dtype=np.uint8) + np.array([200, 40, 40], dtype=np.uint8)
    hues = set()
    for seed in range(12):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        white, other = (
            augment(Sample(1, (4, 4)), p, config(colour=1), r)[1] for p, r in zip((page, red), rngs, strict=True)
        )
        assert np.ptp(white[0, 0].astype(int)) <= 1
        hues.add(int(np.argmax(other[0, 0])))
    assert hues == {0, 1, 2}


def test_a_picture_moved_by_two_pixels_would_be_noticed():
    sample = thick()
    moved, pixels = augment(sample, unpng(sample.image), config(flip=1), np.random.default_rng(0))
    assert agreement(moved, np.roll(pixels, 2, axis=0)) < 0.6


def test_same_seed_same_result_and_other_seed_another():
    sample = chart_sample(1, (120, 160), 3)
    pixels = unpng(sample.image)
    results = [augment(sample, pixels, AugmentConfig(crop=(64, 80)), np.random.default_rng(s)) for s in (5, 5, 6)]
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][0] != results[2][0] or not np.array_equal(results[0][1], results[2][1])


@pytest.mark.parametrize("seed", range(20))
def test_crops_have_the_wanted_size_and_small_pictures_stay_small(seed):
    rng = np.random.default_rng(seed)
    large = thick()
    _, pixels = augment(large, unpng(large.image), config(crop=(40, 60), scale=(0.8, 1.3), rotate90=0.5), rng)
    assert pixels.shape == (40, 60, 3)
    small = random_sample(1, (20, 30), 1)
    _, pixels = augment(small, unpng(small.image), config(crop=(40, 60)), rng)
    assert pixels.shape == (20, 30, 3)


def test_most_crops_show_a_line():
    line = np.array([[180.0, 10], [190, 100]])
    sample = draw_sample([line], (200, 300))
    pixels = unpng(sample.image)
    rng = np.random.default_rng(0)
    shown = [draw_targets(augment(sample, pixels, config(crop=(32, 32)), rng)[0]).foreground.any() for _ in range(60)]
    assert np.mean(shown) > 0.6


def test_off_changes_nothing():
    sample = thick()
    pixels = unpng(sample.image)
    same, untouched = augment(sample, pixels, AugmentConfig(enabled=False), np.random.default_rng(0))
    assert same is sample
    assert untouched is pixels


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5)])
def test_tiny_pictures(size):
    sample = draw_sample([np.array([[0.0, 0], [size[1] - 1, size[0] - 1]])], size)
    for seed in range(10):
        moved, pixels = augment(sample, unpng(sample.image), AugmentConfig(), np.random.default_rng(seed))
        assert pixels.shape == (*moved.size, 3)
        assert pixels.dtype == np.uint8


@pytest.mark.parametrize("seed", range(8))
def test_small_pictures_are_set_on_a_page_that_holds_their_truth(seed):
    sample = thick(seed)
    pixels = unpng(sample.image)
    options = {"crop": (128, 160), "fill": True, "scale": (0.6, 1.2), "flip": 0.5, "rotate90": 0.5}
    changed, filled = augment(sample, pixels, config(**options), np.random.default_rng(seed))
    assert filled.shape == (128, 160, 3)
    assert changed.size == (128, 160)
    assert agreement(changed, filled) > 0.8


def test_the_page_has_the_colour_of_the_border():
    sample = thick()
    pixels = unpng(sample.image)
    pixels = np.where(pixels.min(axis=2, keepdims=True) > 250, np.uint8([30, 40, 60]), pixels)
    _, filled = augment(sample, pixels, config(crop=(128, 160), fill=True), np.random.default_rng(0))
    outside = (filled == (30, 40, 60)).all(axis=2).mean()
    assert outside > 0.6
