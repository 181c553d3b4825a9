"""Damage to drawn charts: real files come out, and the truth moves along."""

import json

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from linegroup.config import Section
from linegroup.geometry import distance_to_polyline, resample
from linegroup.images import decode
from linegroup.sources.synth.damage import PROFILES, DamageConfig, Damaged, Drawing, damage
from linegroup.testing import BLACK, draw_polyline

THICKNESS = 5.0
COVERED = 255 // 3

SHARES = tuple(name for name, field in DamageConfig.model_fields.items() if isinstance(field.default, float))
"""Settings that are probabilities."""

FORCED = {
    "nothing": {"profile": {"none": 1}},
    "web": {"profile": {"web": 1}},
    "smaller": {"profile": {"web": 1}, "rescale": 1, "rescale_range": (0.5, 0.6), "jpeg": 0},
    "larger": {"profile": {"web": 1}, "rescale": 1, "rescale_range": (1.4, 1.5), "jpeg": 0},
    "resampled": {"profile": {"web": 1}, "rescale": 0, "resample": 1, "jpeg": 0},
    "jpeg": {"profile": {"web": 1}, "rescale": 0, "resample": 0, "jpeg": 1, "jpeg_twice": 1},
    "palette": {"profile": {"web": 1}, "jpeg": 0, "palette": 1},
    "transparency": {"profile": {"web": 1}, "jpeg": 0, "palette": 0, "transparency": 1},
    "screenshot": {"profile": {"screenshot": 1}},
    "whole screenshot": {"profile": {"screenshot": 1}, "subpixels": 1, "window": 1, "jpeg": 1},
    "scan": {"profile": {"scan": 1}},
    "plain scan": {"profile": {"scan": 1}, "scan_binary": 0, "scan_speckle": 0, "scan_ghost": 0, "scan_bleed": 0},
    "askew": {"profile": {"scan": 1}, "skew": (3, 3), "scan_binary": 0, "scan_ghost": 1, "scan_bleed": 1},
    "binary": {"profile": {"scan": 1}, "scan_binary": 1},
    "copier": {"profile": {"scan": 1}, "scan_binary": 1, "scan_copier": 1},
    "copy": {"profile": {"copy": 1}},
    "bad copy": {"profile": {"copy": 1}, "rescale": 1, "resample": 1, "blur": 1, "noise": 1, "jpeg": 1},
}

SPECKLED = ("binary", "copier")
"""Those that add specks of the paper or of the machine."""


def wave(size: tuple[int, int], shift: float = 0.0) -> np.ndarray:
    x = np.linspace(0.12 * size[1], 0.85 * size[1], 80)
    return np.stack([x, (0.4 + shift) * size[0] + 0.15 * size[0] * np.sin(x / size[1] * 7)], axis=1)


def drawing(size: tuple[int, int] = (150, 200), shifts: tuple[float, ...] = (0.0,)) -> Drawing:
    pixels = np.full((*size, 3), 255, dtype=np.uint8)
    lines = tuple(wave(size, shift) for shift in shifts)
    coverage = []
    for xy in lines:
        draw_polyline(pixels, xy, BLACK, THICKNESS)
        alone = np.full((*size, 3), 255, dtype=np.uint8)
        draw_polyline(alone, xy, BLACK, THICKNESS)
        coverage.append(255 - alone[..., 0])
    return Drawing(pixels, lines, tuple(coverage))


def run(case: str, seed: int, what: Drawing | None = None) -> Damaged:
    return damage(what or drawing(), DamageConfig(**FORCED[case]), np.random.default_rng(seed))


def ink(done: Damaged, near: np.ndarray) -> np.ndarray:
    """Pixels nearer to the line's colour than to the page's, among those `near`."""
    grey = cv2.medianBlur(cv2.cvtColor(done.drawing.pixels, cv2.COLOR_RGB2GRAY), 3).astype(float)
    core, page = done.drawing.coverage[0] > 250, near & (done.drawing.coverage[0] == 0)
    return near & (grey < (np.median(grey[core]) + np.median(grey[page])) / 2)


def beside(xy: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean `(x, y)` by which the pixels of `mask` lie beside the line: a shift that no blur or bleeding makes."""
    points, pixels = resample(xy, 0.5).astype(float), np.argwhere(mask)[:, ::-1]
    apart = pixels[:, None, :] - points[None]
    nearest = np.hypot(apart[..., 0], apart[..., 1]).argmin(axis=1)
    return apart[np.arange(len(pixels)), nearest].mean(axis=0)


def grown(mask: np.ndarray, reach: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1,) * 2, dtype=np.uint8)) > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", FORCED)
def test_picture_and_coverage_stay_together(case, seed):
    done = run(case, seed)
    mask = done.drawing.coverage[0] >= COVERED
    dark = ink(done, near=grown(mask, 8))
    # A threshold makes specks of the paper too.
    assert (dark & grown(mask, 1)).sum() >= (0.9 if case in SPECKLED else 0.97) * dark.sum()
    assert (mask & grown(dark, 1)).sum() >= 0.97 * mask.sum()
    assert np.abs(beside(done.drawing.lines[0], dark)).max() < (0.75 if case in SPECKLED else 0.4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", FORCED)
def test_line_runs_in_the_middle_of_its_coverage(case, seed):
    done = run(case, seed)
    (xy,), (coverage,) = done.drawing.lines, done.drawing.coverage
    mask = coverage >= COVERED
    pixels = np.argwhere(mask)[:, ::-1].astype(float)
    assert distance_to_polyline(pixels, xy).max() <= done.scale * THICKNESS / 2 + 0.75
    reach = done.scale * THICKNESS
    for point in resample(xy, 5)[2:-2]:
        close = pixels[np.hypot(*(pixels - point).T) < reach]
        assert len(close)
        assert np.hypot(*(close.mean(axis=0) - point)) < 0.75


@pytest.mark.parametrize("case", FORCED)
def test_thickness_goes_with_the_scale(case):
    done, before = run(case, 1), drawing()
    area = done.drawing.coverage[0].sum() / before.coverage[0].sum()
    assert area == pytest.approx(done.scale**2, rel=0.04)


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (200, 5), (48, 64)])
@pytest.mark.parametrize("case", FORCED)
def test_stored_file_is_the_picture(case, size):
    for seed in range(3):
        done = run(case, seed, drawing(size, shifts=(0.0, 0.2)))
        decoded = decode(done.content)
        np.testing.assert_array_equal(decoded.pixels, done.drawing.pixels)
        assert decoded.format == {".png": "PNG", ".jpg": "JPEG"}[done.suffix]
        for plane in done.drawing.coverage:
            assert plane.shape == done.drawing.pixels.shape[:2]
            assert plane.dtype == np.uint8
        assert len(done.drawing.lines) == len(done.drawing.coverage) == 2
        json.dumps(done.parameters)


@pytest.mark.parametrize("case", FORCED)
def test_same_state_gives_same_bytes(case):
    first, again, other = run(case, 3), run(case, 3), run(case, 4)
    assert first.content == again.content
    assert first.parameters == again.parameters
    for a, b in zip(first.drawing.coverage, again.drawing.coverage, strict=True):
        np.testing.assert_array_equal(a, b)
    assert case in ("nothing", "transparency") or other.content != first.content


@pytest.mark.parametrize("case", FORCED)
def test_what_came_in_is_left_alone(case):
    what = drawing()
    pixels, xy, plane = what.pixels.copy(), what.lines[0].copy(), what.coverage[0].copy()
    run(case, 0, what)
    np.testing.assert_array_equal(what.pixels, pixels)
    np.testing.assert_array_equal(what.lines[0], xy)
    np.testing.assert_array_equal(what.coverage[0], plane)


@pytest.mark.parametrize("case", FORCED)
def test_no_lines(case):
    done = run(case, 2, Drawing(np.full((40, 60, 3), 240, dtype=np.uint8), (), ()))
    assert done.drawing.lines == done.drawing.coverage == ()
    np.testing.assert_array_equal(decode(done.content).pixels, done.drawing.pixels)


def test_profile_none_changes_nothing():
    done, before = run("nothing", 0), drawing()
    np.testing.assert_array_equal(done.drawing.pixels, before.pixels)
    np.testing.assert_array_equal(done.drawing.lines[0], before.lines[0])
    np.testing.assert_array_equal(done.drawing.coverage[0], before.coverage[0])
    assert (done.steps, done.scale, done.suffix) == ((), 1.0, ".png")


@pytest.mark.parametrize(
    ("case", "step"),
    [
        ("smaller", "rescale"),
        ("resampled", "resample"),
        ("jpeg", "jpeg"),
        ("palette", "palette"),
        ("transparency", "transparency"),
        ("whole screenshot", "subpixels"),
        ("whole screenshot", "window"),
        ("askew", "skew"),
        ("binary", "binary"),
        ("copier", "copier"),
        ("bad copy", "blur"),
        ("bad copy", "noise"),
    ],
)
def test_steps_are_named(case, step):
    done = run(case, 0)
    assert step in done.steps
    assert step in done.parameters
    assert len(set(done.steps)) == len(done.steps)


def test_every_profile_comes_up():
    config, rng, small = DamageConfig(), np.random.default_rng(0), drawing((24, 32))
    met = {damage(small, config, rng).parameters["profile"] for _ in range(150)}
    assert met == set(PROFILES)


def test_thin_line_keeps_its_coverage_when_halved():
    size = (80, 100)
    pixels, plane = np.full((*size, 3), 255, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    pixels[40, 10:90], plane[40, 10:90] = 0, 255
    what = Drawing(pixels, (np.array([[10.0, 40], [89, 40]]),), (plane,))
    config = DamageConfig(profile={"web": 1}, rescale=1, rescale_range=(0.5, 0.5), jpeg=0, palette=0, transparency=0)
    done = damage(what, config, np.random.default_rng(0))
    assert done.drawing.coverage[0].max(axis=0)[7:43].min() >= 120  # half of a pixel


def test_transparent_page_is_shown_white():
    what = drawing()
    what.pixels[...] = np.minimum(what.pixels, 250)
    done = run("transparency", 0, what)
    assert "transparency" in done.steps
    np.testing.assert_array_equal(done.drawing.pixels[0, 0], 255)


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_are_shares(name, value):
    with pytest.raises(ValidationError):
        DamageConfig(**{name: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": {"fax": 1}},
        {"profile": {"scan": -1}},
        {"profile": {"scan": 0}},
        {"profile": {}},
        {"jpeg_quality": (0, 50)},
        {"jpeg_quality": (30, 101)},
        {"jpeg_quality": (80, 50)},
        {"rescale_range": (0, 1)},
        {"rescale_range": (0.5, 9)},
        {"blur_sigma": (-1, 1)},
        {"noise_sigma": (9, 2)},
        {"skew": (-90, 3)},
        {"scann": 0.5},
    ],
)
def test_config_refuses(wrong):
    with pytest.raises(ValidationError):
        DamageConfig(**wrong)


def test_config_is_a_described_section():
    assert issubclass(DamageConfig, Section)
    assert all(field.description for field in DamageConfig.model_fields.values())
