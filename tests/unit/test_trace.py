import numpy as np
import pytest

from linegroup.geometry import distance_to_polyline, resample
from linegroup.sample import Instance, Sample
from linegroup.targets import line_pixels
from linegroup.testing import chart_sample, dashed_line, random_sample, unpng
from linegroup.vectors.trace import trace


@pytest.mark.parametrize("seed", range(6))
def test_round_trip_within_a_pixel_and_a_half(seed):
    sample = random_sample(seed, (96, 128), 2, thickness=2.5)
    for line, pixels in zip(sample.instances, line_pixels(sample), strict=True):
        found = trace(pixels % 128, pixels // 128).points
        assert distance_to_polyline(found, line.xy).max() < 1.5
        assert distance_to_polyline(resample(line.xy, 1), found).max() < 1.5


def test_a_dashed_line_stays_in_order():
    sample = dashed_line()
    ys, xs = np.nonzero(unpng(sample.image).min(axis=2) < 128)
    found = trace(xs, ys).points
    steps = np.diff(found[:, 0])
    assert (steps > 0).all() or (steps < 0).all()
    assert np.ptp(found[:, 0]) > 80


def test_a_few_pixels():
    assert trace(np.array([3]), np.array([4])).points.tolist() == [[3, 4]]
    assert len(trace(np.array([3, 40]), np.array([4, 4])).points) == 2


def test_order_of_the_pixels_does_not_matter():
    sample = chart_sample(2, (120, 160), 1)
    (pixels,) = line_pixels(sample)
    shuffled = np.random.default_rng(0).permutation(pixels)
    one, other = (trace(p % 160, p // 160).points for p in (pixels, shuffled))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(10))
def test_any_pixels_at_all(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    found = trace(rng.integers(0, 200, n), rng.integers(0, 200, n)).points
    assert np.isfinite(found).all()
    assert len(found) >= 1


def traced(xy, thickness, size=(100, 140)):
    """A polyline drawn by the drawing rule and traced, and the largest distances there and back."""
    sample = Sample(0, size, (Instance(1, np.asarray(xy, np.float64), thickness=thickness),))
    (pixels,) = line_pixels(sample)
    found = trace(pixels % size[1], pixels // size[1])
    there = distance_to_polyline(resample(found.points, 0.5), np.asarray(xy, float)).max()
    back = distance_to_polyline(resample(np.asarray(xy, float), 0.5), found.points).max()
    return found, pixels, there, back


@pytest.mark.parametrize("thickness", [1.5, 2.0, 2.5])
def test_a_narrow_peak_keeps_both_flanks_and_its_tip(thickness):
    _, _, there, back = traced([(10, 80), (60, 78), (64, 20), (69, 80), (130, 82)], thickness)
    assert max(there, back) < 1.5


@pytest.mark.parametrize("width", [3, 4, 5])
def test_a_narrow_step_keeps_both_corners(width):
    top = [(50, 80), (50, 30), (50 + width, 30), (50 + width, 80)]
    _, _, there, back = traced([(10, 80), *top, (130, 80)], 3)
    assert max(there, back) < 1.5


@pytest.mark.parametrize("seed", range(4))
def test_a_noisy_line_reaches_all_its_ink(seed):
    rng = np.random.default_rng(seed)
    x = np.arange(10, 130, 1.5)
    found, pixels, there, _ = traced(np.stack([x, 50 + rng.normal(0, 4, len(x))], axis=1), 2)
    ink = np.stack([pixels % 140, pixels // 140], axis=1).astype(float)
    assert distance_to_polyline(ink, found.points).max() < 2 / 2 + 1.2
    assert there < 1.5


def test_a_line_that_leaves_over_the_top_is_interrupted_there():
    parts = [(10, 80), (40, 10), (50, 10), (80, 80)]
    sample = Sample(0, (100, 140), (Instance(1, np.array(parts, np.float64), parts=(0, 2), thickness=2),))
    (pixels,) = line_pixels(sample)
    assert len(trace(pixels % 140, pixels // 140).parts) == 2


def test_a_mark_on_a_line_is_not_gone_around():
    y, x = np.mgrid[:60, :120]
    mask = (np.abs(y - 30) < 1.1) & (x > 5) & (x < 115) | (np.hypot(x - 60, y - 30) < 8)
    found = trace(*np.nonzero(mask)[::-1]).points
    assert np.abs(found[:, 1] - 30).max() < 4


def test_a_dash_hardly_longer_than_thick_is_not_lost():
    sample = dashed_line()
    ys, xs = np.nonzero(unpng(sample.image).min(axis=2) < 128)
    found = trace(xs, ys).points
    assert distance_to_polyline(np.stack([xs, ys], axis=1).astype(float), found).max() < 3
