import numpy as np
import pytest

from linegroup.geometry import distance_to_polyline, resample
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
