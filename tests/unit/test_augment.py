"""Vectors and pixels move together."""

import numpy as np
import pytest

from linegroup.augment import augment
from linegroup.config import AugmentConfig
from linegroup.targets import draw_targets
from linegroup.testing import chart_sample, draw_sample, random_sample, unpng

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


def test_a_picture_moved_by_one_pixel_would_be_noticed():
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
