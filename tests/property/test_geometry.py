import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.geometry import (
    apply_dihedral,
    bounding_box,
    crop_at,
    dihedral,
    distance_to_polyline,
    identity,
    length,
    resample,
    scale_to,
)

# Eighths of a pixel: sums and differences are exact in float32.
coordinates = st.integers(-400, 400).map(lambda n: n / 8)
points = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=8).map(
    lambda xy: np.array(xy, dtype=np.float32)
)
sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))
indices = st.integers(0, 7)


@settings(deadline=None)
@given(sizes, indices, indices)
def test_flips_and_turns_are_a_group(size, first, second):
    """Two of the eight, one after the other, are one of the eight, for pixels and for points."""
    once = dihedral(first, size)
    both = once.then(dihedral(second, once.size))
    same = [i for i in range(8) if np.array_equal(dihedral(i, size).matrix[:, :2], both.matrix[:, :2])]
    assert len(same) == 1
    np.testing.assert_array_equal(dihedral(same[0], size).matrix, both.matrix)
    image = np.arange(size[0] * size[1]).reshape(size)
    turned = apply_dihedral(second, apply_dihedral(first, image))
    np.testing.assert_array_equal(turned, apply_dihedral(same[0], image))
    assert turned.flags.c_contiguous
    assert turned.shape == both.size


@settings(deadline=None)
@given(sizes, indices, points)
def test_flips_and_turns_keep_distances_and_are_exact(size, index, xy):
    affine = dihedral(index, size)
    assert length(affine(xy)) == pytest.approx(length(xy), rel=1e-6)
    assert affine.scale == pytest.approx(1)
    inverse = next(
        back for i in range(8) if np.array_equal((back := affine.then(dihedral(i, affine.size))).matrix, np.eye(2, 3))
    )
    np.testing.assert_array_equal(inverse(xy), xy)
    np.testing.assert_array_equal(identity(size)(xy), xy)


@settings(deadline=None)
@given(sizes, sizes, points)
def test_scaling_there_and_back(size, new, xy):
    there = scale_to(size, new)
    np.testing.assert_allclose(there.then(scale_to(new, size))(xy), xy, atol=1e-3)
    assert there.scale**2 == pytest.approx(new[0] * new[1] / (size[0] * size[1]))
    edges = np.array([[-0.5, -0.5], [size[1] - 0.5, size[0] - 0.5]])
    np.testing.assert_allclose(there(edges), [[-0.5, -0.5], [new[1] - 0.5, new[0] - 0.5]], atol=1e-4)


@settings(deadline=None)
@given(sizes, st.integers(1, 4), points)
def test_crops_add_up_and_scaling_scales_lengths(size, factor, xy):
    whole = crop_at(1, 2, (20, 20)).then(crop_at(3, 4, (5, 5)))
    np.testing.assert_array_equal(whole(xy), crop_at(4, 6, (5, 5))(xy))
    zoomed = scale_to(size, (size[0] * factor, size[1] * factor))
    assert length(zoomed(xy)) == pytest.approx(factor * length(xy), rel=1e-5, abs=1e-4)


@settings(deadline=None)
@given(points, st.floats(0.3, 20))
def test_resampling_stays_on_the_line_at_even_steps(xy, step):
    dense = resample(xy, step)
    np.testing.assert_array_equal(dense[[0, -1]], [xy[0], xy[-1] if length(xy) else xy[0]])
    assert distance_to_polyline(dense, xy).max() < 1e-4
    assert np.hypot(*np.diff(dense, axis=0).T).max(initial=0) <= step * 1.0001
    assert length(dense) <= length(xy) * (1 + 1e-5)


@settings(deadline=None)
@given(points, points, indices)
def test_distance_is_the_least_over_a_fine_subdivision(at, xy, index):
    found = distance_to_polyline(at, xy)
    fine = resample(xy, 0.25)
    nearest = np.sqrt(((at[:, None].astype(float) - fine[None]) ** 2).sum(-1)).min(axis=1)
    assert (found <= nearest + 1e-4).all()
    assert (found >= nearest - 0.13).all()  # half a step of the subdivision
    turned = dihedral(index, (10, 20))
    np.testing.assert_allclose(distance_to_polyline(turned(at), turned(xy)), found, atol=1e-9)
    np.testing.assert_allclose(distance_to_polyline(at, xy[::-1]), found, atol=1e-9)


@settings(deadline=None)
@given(st.lists(points, min_size=1, max_size=4))
def test_box_holds_all_and_no_more(parts):
    x0, y0, x1, y1 = bounding_box(parts)
    xy = np.concatenate(parts)
    assert (xy >= (x0, y0)).all()
    assert (xy <= (x1, y1)).all()
    assert {x0, x1} <= set(xy[:, 0].tolist())
    assert {y0, y1} <= set(xy[:, 1].tolist())
