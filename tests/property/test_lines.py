"""Any field at all becomes lines, and any group of pixels polylines: `LINEGROUP_CASES` says how many of them."""

import os

import numpy as np
import pytest

from linegroup.config import GroupingConfig
from linegroup.geometry import distance_to_polyline, resample
from linegroup.grouping import group_field
from linegroup.sample import Field
from linegroup.targets import line_pixels
from linegroup.testing import random_sample
from linegroup.vectors.trace import trace

CASES = int(os.environ.get("LINEGROUP_CASES", "200"))
KINDS = ("empty", "one", "all", "checkerboard", "noise", "dots", "bars", "ring", "lines", "row", "column")


def drawn(kind: str, rng: np.random.Generator) -> np.ndarray:
    height, width = (int(n) for n in rng.integers(1, 70, 2))
    mask = np.zeros((height, width), dtype=bool)
    y, x = np.mgrid[:height, :width]
    match kind:
        case "one":
            mask[rng.integers(height), rng.integers(width)] = True
        case "all":
            mask[:] = True
        case "checkerboard":
            mask = (x + y) % 2 == 0
        case "noise":
            mask = rng.random(mask.shape) < rng.random()
        case "dots":
            mask = (x % rng.integers(2, 9) == 0) & (y % rng.integers(2, 9) == 0)
        case "bars":
            mask = x % rng.integers(2, 9) < rng.integers(1, 5)
        case "ring":
            away = np.hypot(x - width / 2, y - height / 2)
            mask = np.abs(away - min(height, width) / 3) < rng.integers(1, 4)
        case "lines":
            for _ in range(rng.integers(1, 5)):
                slope, at = rng.normal(), rng.uniform(0, height)
                mask |= np.abs(y - at - slope * (x - width / 2)) < rng.uniform(0.6, 3) * np.hypot(1, slope)
        case "row":
            mask[rng.integers(height)] = True
        case "column":
            mask[:, rng.integers(width)] = True
    return mask


def field_of(mask: np.ndarray, rng: np.random.Generator) -> Field:
    ys, xs = np.nonzero(mask)
    count = len(xs)
    dimensions = int(rng.choice([0, 0, 1, 8]))
    features = rng.normal(size=(count, dimensions)) * rng.choice([0, 1e-3, 1, 1e3])
    palette = rng.uniform((-10, -60, -60), (110, 60, 60), (int(rng.integers(1, 5)), 3))
    colour = palette[rng.integers(0, len(palette), count)] + rng.normal(size=(count, 3)) * rng.choice([0, 4])
    return Field(
        np.stack([xs, ys], axis=1).astype(np.int32),
        features.astype(np.float32),
        rng.random(count).astype(np.float32) if rng.random() < 0.5 else np.ones(count, np.float32),
        colour.astype(np.float32),
        mask.shape,
        np.array([[100, 0, 0]], np.float32)[: rng.integers(0, 2)],
        (rng.random(count) * (rng.random() < 0.3)).astype(np.float32),
        (rng.normal(size=(count, 2)) * (rng.random() < 0.5)).astype(np.float32),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_any_field_at_all(kind):
    """Every line has pixels, and a shared pixel has other lines than its own."""
    for seed in range(CASES // len(KINDS) + 1):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        field = field_of(drawn(kind, rng), rng)
        config = GroupingConfig(method="link", min_pixels=int(rng.integers(1, 12)))
        groups = group_field(field, config)
        assert len(groups.labels) == len(field)
        again = group_field(field, config)
        np.testing.assert_array_equal(groups.labels, again.labels)
        np.testing.assert_array_equal(groups.shared, again.shared)
        assert (np.bincount(groups.labels, minlength=groups.count + 1)[1:] >= config.min_pixels).all()
        if len(groups.shared):
            pixel, line = groups.shared.T
            assert (groups.labels[pixel] != line).all()
            assert len(np.unique(groups.shared, axis=0)) == len(groups.shared)
        for part in groups.members:
            check_traced(*field.positions[part].T)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_any_label_map_at_all(kind):
    for seed in range(CASES // len(KINDS) + 1):
        rng = np.random.default_rng([seed, KINDS.index(kind), 1])
        labels = drawn(kind, rng) * rng.integers(1, 4, (1, 1))
        if rng.random() < 0.3:
            labels = labels * rng.integers(0, 3, labels.shape)
        for number in np.unique(labels[labels > 0]):
            ys, xs = np.nonzero(labels == number)
            check_traced(xs, ys)


def check_traced(xs: np.ndarray, ys: np.ndarray) -> None:
    traced = trace(xs, ys)
    assert np.isfinite(traced.points).all()
    assert len(traced.points) >= 1
    assert traced.thickness >= 1
    assert traced.parts[0] == 0
    assert (np.diff([*traced.parts, len(traced.points)]) > 0).all()
    assert not (traced.closed and len(traced.parts) > 1)
    # Within the ink's box, but for round ends.
    assert (traced.points.min(axis=0) >= (xs.min() - 3, ys.min() - 3)).all()
    assert (traced.points.max(axis=0) <= (xs.max() + 3, ys.max() + 3)).all()


def test_smooth_lines_come_back_within_a_pixel_and_a_half():
    count, missed = max(40, CASES // 10), 0
    for seed in range(count):
        sample = random_sample(seed, (120, 160), 1, thickness=1.5 + seed % 4)
        (line,), (pixels,) = sample.instances, line_pixels(sample)
        found = trace(pixels % 160, pixels // 160)
        curve = np.concatenate([found.points, found.points[:1]]) if found.closed else found.points
        inside = resample(line.xy, 0.5)
        inside = inside[((inside >= 0) & (inside <= (159, 119))).all(axis=1)]
        there = distance_to_polyline(resample(curve, 0.5), line.xy).max()
        missed += max(there, distance_to_polyline(inside, curve).max()) >= 1.5
    assert missed <= 0.01 * count
