import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.geometry import apply_dihedral, crop_at, dihedral, scale_to, transform
from linegroup.sample import Instance, Sample
from linegroup.targets import draw_targets, line_pixels

# Eighths of a pixel: sums and differences are exact in float32, so that a turned picture has no rounding of its own;
# odd ones, so that no pixel centre lies just on the border of a line.
coordinates = st.integers(-30, 200).map(lambda n: (2 * n + 1) / 8)
points = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=6)
lines = st.lists(st.tuples(points, st.sampled_from([1.6, 2.1, 3.3]), st.booleans()), max_size=4)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def build(size, drawn) -> Sample:
    made = (
        Instance(k + 1, np.array(xy, dtype=np.float32), thickness=thickness, closed=closed, z=k)
        for k, (xy, thickness, closed) in enumerate(drawn)
    )
    return Sample(1, size, tuple(made))


@pytest.mark.parametrize("index", range(8))
@settings(deadline=None)
@given(size=sizes, drawn=lines)
def test_drawing_commutes_with_flips_and_turns(index, size, drawn):
    sample = build(size, drawn)
    before, after = draw_targets(sample), draw_targets(transform(sample, dihedral(index, size)))
    for name in ("labels", "coverage", "valid", "crossing"):
        np.testing.assert_array_equal(apply_dihedral(index, getattr(before, name)), getattr(after, name))


@settings(deadline=None)
@given(size=sizes, drawn=lines, x=st.integers(0, 20), y=st.integers(0, 20), data=st.data())
def test_drawing_commutes_with_cropping(size, drawn, x, y, data):
    x, y = min(x, size[1] - 1), min(y, size[0] - 1)
    cut = (data.draw(st.integers(1, size[0] - y)), data.draw(st.integers(1, size[1] - x)))
    sample = build(size, drawn)
    after = draw_targets(transform(sample, crop_at(x, y, cut)))
    before = draw_targets(sample)
    np.testing.assert_array_equal(before.labels[y : y + cut[0], x : x + cut[1]], after.labels)
    np.testing.assert_array_equal(before.coverage[y : y + cut[0], x : x + cut[1]], after.coverage)


@settings(deadline=None)
@given(size=sizes, drawn=lines, factor=st.sampled_from([3, 5]))
def test_odd_zooms_keep_what_lies_at_the_old_centres(size, drawn, factor):
    """Zoomed by an odd whole number, the old pixel centres are centres again, and the lines as much thicker."""
    sample = build(size, drawn)
    zoomed = transform(sample, scale_to(size, (factor * size[0], factor * size[1])))
    before, after = draw_targets(sample), draw_targets(zoomed)
    centres = np.s_[factor // 2 :: factor, factor // 2 :: factor]
    np.testing.assert_array_equal(before.labels, after.labels[centres])
    np.testing.assert_array_equal(before.coverage, after.coverage[centres])


@settings(deadline=None)
@given(size=sizes, drawn=lines)
def test_a_point_along_the_way_changes_nothing(size, drawn):
    sample = build(size, [(xy, thickness, False) for xy, thickness, _ in drawn])
    halved = [
        ([p for a, b in zip(xy, [*xy[1:], xy[-1]], strict=True) for p in (a, np.add(a, b) / 2)], thickness, False)
        for xy, thickness, _ in drawn
    ]
    np.testing.assert_array_equal(draw_targets(sample).coverage, draw_targets(build(size, halved)).coverage)


@settings(deadline=None)
@given(size=sizes, drawn=lines)
def test_coverage_counts_the_lines(size, drawn):
    sample = build(size, drawn)
    counted = np.zeros(size[0] * size[1], dtype=int)
    for pixels in line_pixels(sample):
        assert (np.diff(pixels) > 0).all()
        counted[pixels] += 1
    np.testing.assert_array_equal(draw_targets(sample).coverage.ravel(), counted)
