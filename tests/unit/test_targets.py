"""The drawing rule, pixel by pixel, and what is derived from it."""

from dataclasses import replace

import numpy as np
import pytest

from linegroup import compiling
from linegroup.config import DataConfig
from linegroup.errors import UserError
from linegroup.geometry import apply_dihedral, coord_grid, dihedral, distance_to_polyline, transform
from linegroup.sample import Instance, Sample
from linegroup.targets import TARGETS, Targets, draw_targets, line_pixels, select_category, with_thickness
from linegroup.testing import (
    BLACK,
    dashed_line,
    draw_sample,
    parallel_lines,
    random_sample,
    two_crossing_lines,
    unpng,
)


def by_the_rule(line: Instance, size: tuple[int, int], thickness: float) -> np.ndarray:
    grid = coord_grid(*size).reshape(-1, 2)
    parts = [np.concatenate([p, p[:1]]) if line.closed and len(p) > 2 else p for p in line.part_arrays()]
    near = np.min([distance_to_polyline(grid, part) for part in parts], axis=0)
    return np.flatnonzero(near <= thickness / 2 + 1e-9)


@pytest.mark.parametrize(
    "sample",
    [
        two_crossing_lines(),
        parallel_lines(3, thickness=3),
        dashed_line(),
        random_sample(3),
        random_sample(7, (33, 47), 5, thickness=3.3),
        random_sample(8, (40, 40), 2, thickness=0.4),
    ],
)
def test_exactly_the_pixels_of_the_rule(sample):
    config = DataConfig(min_thickness=0)
    for line, pixels in zip(sample.instances, line_pixels(sample, config), strict=True):
        np.testing.assert_array_equal(pixels, by_the_rule(line, sample.size, line.thickness))


@pytest.mark.parametrize(
    "line",
    [
        Instance(1, [[5, 5], [20, 5], [20, 20]], closed=True, thickness=2),
        Instance(1, [[5, 5], [20, 5], [8, 20], [30, 22]], parts=(0, 2), thickness=3),
        Instance(1, [[12.3, 7.6]], thickness=7),
        Instance(1, [[10, 10], [10, 10], [10, 10]], thickness=4),
        Instance(1, [[-50, -50], [90, 80]], thickness=2),
        Instance(1, [[-9e5, 12], [9e5, 13]], thickness=2),
    ],
    ids=["closed", "parts", "point", "zero length", "beyond", "far beyond"],
)
def test_odd_lines(line):
    sample = Sample(1, (32, 40), (line,))
    (pixels,) = line_pixels(sample)
    np.testing.assert_array_equal(pixels, by_the_rule(line, sample.size, line.thickness))


def test_a_line_outside_has_no_pixels_and_keeps_its_number():
    outside = Instance(1, [[-30, -30], [-20, -10]])
    inside = Instance(2, [[2, 2], [20, 2]])
    targets = draw_targets(Sample(1, (10, 30), (outside, inside)))
    assert targets.count == 2
    assert set(np.unique(targets.labels)) == {0, 2}


def test_a_million_points_and_a_million_pixels_away_are_quick_enough():
    x = np.linspace(-1e6, 1e6, 1_000_000)
    line = Instance(1, np.stack([x, 20 + 5 * np.sin(x)], axis=1))
    assert len(line_pixels(Sample(1, (40, 64), (line,)))[0]) > 64


def test_crossings_are_truth():
    sample = two_crossing_lines()
    targets = draw_targets(sample)
    first, second = line_pixels(sample)
    both = np.intersect1d(first, second)
    assert len(both) > 2
    np.testing.assert_array_equal(np.flatnonzero(targets.crossing), both)
    assert targets.coverage.max() == 2
    assert not targets.valid[targets.crossing].any()
    np.testing.assert_array_equal(targets.foreground, targets.coverage > 0)


def test_the_topmost_line_has_the_label():
    below, above = two_crossing_lines().instances
    sample = Sample(1, (48, 64), (replace(below, z=5), replace(above, z=1)))
    targets = draw_targets(sample)
    assert set(targets.labels[targets.crossing]) == {1}


def test_thickness_of_the_line_then_of_the_config_then_the_least():
    line = Instance(1, [[5, 10], [25, 10]])
    height = {}
    for name, sample, config in [
        ("own", Sample(1, (20, 30), (replace(line, thickness=5.0),)), DataConfig(thickness=3)),
        ("default", Sample(1, (20, 30), (line,)), DataConfig(thickness=3)),
        ("least", Sample(1, (20, 30), (replace(line, thickness=0.1),)), DataConfig(min_thickness=1)),
    ]:
        height[name] = int((draw_targets(sample, config).labels[:, 15] > 0).sum())
    assert height == {"own": 5, "default": 3, "least": 1}
    between = Instance(1, [[5, 10.4], [25, 10.4]], thickness=0.1)  # no pixel centre is as near as that
    assert not draw_targets(Sample(1, (20, 30), (between,)), DataConfig(min_thickness=0)).foreground.any()
    assert draw_targets(Sample(1, (20, 30), (between,)), DataConfig(min_thickness=1)).foreground[10, 6:25].all()


def test_ignored_regions_are_neither_valid_nor_certain():
    line = Instance(1, [[2, 10], [27, 10]])
    square = np.array([[10, 5], [20, 5], [20, 15], [10, 15]], dtype=np.float32)
    targets = draw_targets(Sample(1, (20, 30), (line,), ignore=(square,)))
    assert targets.ignore[10, 15]
    assert not targets.valid[10, 15]
    assert targets.valid[10, 5]
    assert not TARGETS["certain"](targets)[10, 15]
    assert TARGETS["labels"](targets)[10, 15] == 0


def test_only_what_is_asked_for_is_computed():
    calls = []

    class Counted(Targets):
        @property
        def crossing(self):
            calls.append("crossing")
            return self.coverage > 1

    plain = draw_targets(two_crossing_lines())
    counted = Counted(plain.labels, plain.coverage, plain.ignore, plain.count)
    TARGETS["foreground"](counted)
    assert calls == []
    TARGETS["crossing"](counted)
    assert calls == ["crossing"]
    assert "valid" not in vars(plain)


def test_regions_without_points_and_far_beyond_the_picture():
    nothing, all_of_it = np.zeros((0, 2)), np.array([[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6]])
    assert not draw_targets(Sample(1, (8, 9), ignore=(nothing,))).ignore.any()
    assert draw_targets(Sample(1, (8, 9), ignore=(nothing, all_of_it))).ignore.all()


def test_compiles_where_nothing_can_be_written(monkeypatch):
    def no_folder(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiling, "njit", no_folder)
    assert compiling.compiled(len) is len


def test_default_thickness_becomes_the_lines_own():
    bare, wide = Instance(1, [[2, 5], [20, 5]]), Instance(2, [[2, 9], [20, 9]], thickness=4)
    sample = with_thickness(Sample(1, (20, 30), (bare, wide)), DataConfig(thickness=3))
    assert [line.thickness for line in sample.instances] == [3, 4]
    assert with_thickness(sample, DataConfig(thickness=7)) is sample


def test_categories():
    sample = Sample(1, (20, 30), (Instance(1, [[2, 5], [20, 5]], category="axis"), Instance(2, [[2, 9], [20, 9]])))
    assert [line.id for line in select_category(sample, "line").instances] == [2]
    assert draw_targets(sample, DataConfig(category="axis")).count == 1
    assert draw_targets(sample).count == 2


def test_coverage_saturates_and_too_many_lines_are_refused():
    line = Instance(1, [[2, 2], [6, 2]])
    assert draw_targets(Sample(1, (5, 9), (line,) * 300)).coverage.max() == 255
    with pytest.raises(UserError, match="65535"):
        draw_targets(Sample(1, (5, 9), (line,) * 65_536))


def test_no_lines():
    targets = draw_targets(Sample(1, (4, 6)))
    assert targets.count == 0
    assert not targets.foreground.any()
    assert line_pixels(Sample(1, (4, 6))) == []


@pytest.mark.parametrize("thickness", [1, 2, 3.5])
@pytest.mark.parametrize("y", [20.0, 20.25, 20.5, 20.8])
def test_ink_is_where_and_as_wide_as_its_vectors_say(y, thickness):
    sample = draw_sample([np.array([[5, y], [55, y]])], (40, 60), colours=[BLACK], thickness=thickness)
    ink = 1 - unpng(sample.image)[:, 30, 0] / 255
    assert ink.sum() == pytest.approx(thickness, abs=0.02)
    assert (ink * np.arange(40)).sum() / ink.sum() == pytest.approx(y, abs=0.05)  # a fractional width has no even edges


def test_drawn_ink_and_drawn_truth_agree():
    """The pictures of linegroup.testing lie where their vectors say."""
    for sample in (
        two_crossing_lines(same_colour=True),
        random_sample(3, same_colour=True),
        random_sample(5, (60, 90), 4, same_colour=True, thickness=3),
    ):
        ink = unpng(sample.image)[..., 0] < 128  # more than half of the pixel
        truth = draw_targets(sample).foreground
        assert (ink & truth).sum() / (ink | truth).sum() > 0.97


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 135, 170])
def test_angles_are_those_of_the_line_whichever_way_it_was_drawn(degrees):
    step = 20 * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    for ends in ([30 - step, 30 + step], [30 + step, 30 - step]):
        truth = draw_targets(Sample(1, (60, 60), (Instance(1, ends, thickness=5),)))
        found = truth.angle[truth.valid]
        assert np.abs(np.sin(found - np.deg2rad(degrees))).max() < 1e-3
        assert found.min() >= 0
        assert found.max() < np.pi
        assert (truth.angle[~truth.valid] == -1).all()


def test_angles_turn_with_the_picture_and_are_unknown_at_crossings():
    sample = random_sample(5, (48, 64), 4, thickness=3)
    turned = transform(sample, dihedral(1, sample.size))
    truth, other = draw_targets(sample), draw_targets(turned)
    known = truth.angle >= 0
    assert not known[truth.crossing].any()
    back = apply_dihedral(1, truth.angle)
    change = np.abs(np.sin(back - other.angle - np.pi / 2))[apply_dihedral(1, known)]
    # Where two points of a line are equally near, either may be taken.
    assert np.quantile(change, 0.97) < 0.05
