import itertools

import cv2
import numpy as np
import pytest

from linegroup.geometry import distance_to_polyline, resample
from linegroup.sample import Instance, Sample
from linegroup.targets import line_pixels
from linegroup.testing import chart_sample, dashed_line, random_sample, unpng
from linegroup.vectors.shortening import shortened
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


def traced_ink(*shapes, size=(200, 300)):
    """Ink of polylines two pixels thick, traced."""
    image = np.zeros(size, np.uint8)
    for points in shapes:
        cv2.polylines(image, [np.array(points, np.int32)], False, 255, 2)
    return trace(*np.nonzero(image)[::-1])


def parts_of(found):
    return np.split(found.points, list(found.parts[1:]))


@pytest.mark.parametrize("seed", range(8))
def test_parts_stand_in_their_order_along_the_line(seed):
    """Pieces of all lengths, gaps of all widths: some are interruptions, some not."""
    rng = np.random.default_rng(seed)
    lengths, gaps = rng.integers(3, 60, 12), rng.integers(6, 45, 12)
    starts = 10 + np.cumsum(lengths + gaps) - lengths
    pieces = [np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    found = traced_ink(*(np.stack([x, 100 + 50 * np.sin(x / 60)], axis=1) for x in pieces), size=(200, 1400))
    assert (np.diff(found.points[:, 0]) > -1).all()
    assert np.ptp(found.points[:, 0]) > starts[-1] - starts[0]


def test_parts_of_a_line_that_turns_back():
    """By x alone the two branches would be mixed."""
    upper = [[(20, 30), (150, 30)], [(190, 30), (260, 50)]]
    lower = [[(264, 90), (200, 120)], [(150, 120), (20, 120)]]
    found = traced_ink(*upper, *lower)
    middles = [np.ptp(part, axis=0) / 2 + part.min(axis=0) for part in parts_of(found)]
    wanted = [np.mean(part, axis=0) for part in upper + lower]
    assert np.abs(np.array(middles) - wanted).max() < 4


def test_what_lies_beside_a_line_comes_last():
    """Leftovers of what it crosses would tear it apart, or be jumped to and back from."""
    bits = [[(60, 70), (60, 76)], [(140, 128), (146, 128)], [(200, 60), (204, 64)]]
    found = traced_ink([(10, 100), (290, 104)], *bits)
    first, *others = parts_of(found)
    assert (first[0, 0], first[-1, 0]) == (pytest.approx(10, abs=1.5), pytest.approx(290, abs=1.5))
    assert np.abs(first[:, 1] - 102).max() < 4
    assert [round(part[:, 0].mean(), -1) for part in others] == [60, 140, 200]


@pytest.mark.parametrize(
    ("points", "first"),
    [
        ([(20, 150), (150, 20), (280, 100)], (20, 150)),
        ([(280, 100), (150, 20), (20, 150)], (20, 150)),
        ([(150, 20), (40, 60), (200, 180)], (150, 20)),
        ([(100, 180), (104, 20)], (104, 20)),
        ([(104, 180), (100, 20)], (100, 20)),
        ([(100, 150), (200, 100), (100, 50)], (100, 50)),
    ],
)
def test_where_an_open_line_begins(points, first):
    """At its left end; where the ends lie above each other, at the upper one."""
    found = traced_ink(points)
    assert np.abs(found.points[0] - first).max() < 2


def test_where_a_ring_begins():
    angle = np.linspace(0, 2 * np.pi, 90)
    found = traced_ink(np.stack([150 + 90 * np.cos(angle), 100 + 60 * np.sin(angle)], axis=1))
    assert found.closed
    assert found.points[0, 0] == found.points[:, 0].min()
    quarter = found.points[len(found.points) // 4]
    assert quarter[1] < 60, "clockwise: over the top"


def test_shortened_ways():
    """The same ways, never longer than they were; of few, mostly as short as the best of all orders."""
    rng = np.random.default_rng(0)
    every = list(itertools.product(itertools.permutations(range(4)), itertools.product((False, True), repeat=4)))
    ratios = []
    for _ in range(60):
        ends = rng.uniform(0, 100, (4, 2, 2))
        order, turned = shortened(ends, np.arange(4), np.zeros(4, dtype=bool))
        assert sorted(order) == list(range(4))
        found = between(ends, order, turned)
        assert found <= between(ends, range(4), [False] * 4) + 1e-9
        ratios.append(found / min(between(ends, *choice) for choice in every))
    assert np.median(ratios) == pytest.approx(1)
    assert np.mean(ratios) < 1.1


def between(ends, order, turned):
    """How far it is from each way to the next, in sum."""
    way = [ends[k][::-1] if back else ends[k] for k, back in zip(order, turned, strict=True)]
    return sum(np.hypot(*(b[0] - a[1])) for a, b in itertools.pairwise(way))
