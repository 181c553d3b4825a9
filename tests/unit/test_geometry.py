import numpy as np
import pytest

from linegroup.geometry import (
    apply_dihedral,
    bounding_box,
    coord_grid,
    crop_at,
    dihedral,
    distance_to_polyline,
    identity,
    length,
    resample,
    scale_to,
    transform,
)
from linegroup.sample import COORDINATE_LIMIT, Instance, Sample
from linegroup.testing import two_crossing_lines


def test_grid_is_x_first():
    grid = coord_grid(3, 5)
    assert grid.shape == (3, 5, 2)
    assert grid[2, 4].tolist() == [4, 2]
    assert np.ptp(grid[..., 1]) == 2


@pytest.mark.parametrize("index", range(8))
def test_dihedral_moves_pixels_as_points(index):
    image = np.arange(12).reshape(3, 4)
    turned, affine = apply_dihedral(index, image), dihedral(index, (3, 4))
    assert turned.shape == affine.size
    for y in range(3):
        for x in range(4):
            u, v = affine(np.array([[x, y]], dtype=float))[0]
            assert turned[int(v), int(u)] == image[y, x]


def test_the_eight_are_different():
    image = np.arange(9).reshape(3, 3)
    assert len({apply_dihedral(i, image).tobytes() for i in range(8)}) == 8


def test_scaling_keeps_the_edges():
    affine = scale_to((10, 20), (5, 40))
    corners = affine(np.array([[-0.5, -0.5], [19.5, 9.5]]))
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [39.5, 4.5]], atol=1e-6)


def test_then_is_one_after_the_other():
    first, second = crop_at(3, 4, (10, 12)), scale_to((10, 12), (25, 30))
    points = np.random.default_rng(0).uniform(0, 20, (50, 2))
    np.testing.assert_allclose(first.then(second)(points), second(first(points)), atol=1e-5)
    assert first.then(second).size == (25, 30)
    np.testing.assert_array_equal(identity((2, 2))(points.astype(np.float32)), points.astype(np.float32))


def test_transform_scales_thickness_and_drops_pixels():
    sample = two_crossing_lines()
    bigger = transform(sample, scale_to(sample.size, (96, 128)))
    assert bigger.image is None
    assert bigger.size == (96, 128)
    assert bigger.instances[0].thickness == pytest.approx(4)


def test_lengths_and_resampling():
    bent = np.array([[0, 0], [3, 4], [3, 14]], dtype=float)
    assert length(bent) == 15
    assert length(bent[:1]) == 0
    dense = resample(bent, 1.0)
    assert dense[0].tolist() == [0, 0]
    assert dense[-1].tolist() == [3, 14]
    assert np.linalg.norm(np.diff(dense, axis=0), axis=1).max() <= 1 + 1e-6
    assert distance_to_polyline(dense, bent).max() < 1e-5
    assert resample(np.zeros((3, 2)), 1.0).shape == (1, 2)


def test_distance():
    line = np.array([[0, 0], [10, 0]])
    found = distance_to_polyline(np.array([[5, 3], [-3, 4], [14, 0]]), line)
    np.testing.assert_allclose(found, [3, 5, 4])
    np.testing.assert_allclose(distance_to_polyline(np.array([[3, 4]]), np.zeros((1, 2))), [5])


def test_box():
    assert bounding_box([np.array([[1, 5]]), np.array([[-2, 7], [0, 0]])]) == (-2, 0, 1, 7)


def test_lines_at_the_limit_can_be_zoomed():
    limit = COORDINATE_LIMIT
    far = np.array([[-limit, 5], [10, 5], [limit, limit]], dtype=np.float32)
    sample = Sample(1, (10, 20), (Instance(1, far, thickness=limit),), ignore=(far,))
    zoomed = transform(sample, scale_to((10, 20), (14, 28)))
    line = zoomed.instances[0]
    assert (line.xy[0, 0], line.xy[2].tolist(), line.thickness) == (-limit, [limit, limit], limit)
    np.testing.assert_allclose(line.xy[1], [14.2, 7.2], atol=1e-5)
    np.testing.assert_array_equal(zoomed.ignore[0], line.xy)
