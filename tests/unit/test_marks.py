"""Marks tell lines of one ink apart, and what only looks like marks does not."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linegroup.config import GroupingConfig
from linegroup.grouping import make_field
from linegroup.grouping.chains import Looks
from linegroup.grouping.ink import Picture
from linegroup.grouping.linking import link_lines, share_out
from linegroup.grouping.marks import Marks, find_marks
from linegroup.grouping.strokes import find_strokes

SHAPES = ("square", "disc", "open disc", "triangle", "diamond")
FINE = 8


def marked(place, shape, size):
    """What `cv2` draws of a mark: its outline or its area, on a picture `FINE` times as large."""
    x, y = place
    s = size * FINE / 2
    corners = {
        "square": [(-s, -s), (s, -s), (s, s), (-s, s)],
        "triangle": [(-1.2 * s, s), (1.2 * s, s), (0, -1.2 * s)],
        "diamond": [(-1.25 * s, 0), (0, -1.25 * s), (1.25 * s, 0), (0, 1.25 * s)],
    }
    return np.array([(x + dx, y + dy) for dx, dy in corners[shape]], dtype=np.int32) if shape in corners else None


def chart(lines, shapes, size=11, gap=0.0, width=520, height=240):
    """Black lines on white `(h, w, 3)`, each the values of y at some x, and which line each pixel was drawn for."""
    page = np.full((height * FINE, width * FINE), 255, dtype=np.uint8)
    truth = np.zeros((height, width), dtype=np.int64)
    for k, ((xs, ys), shape) in enumerate(zip(lines, shapes, strict=True), start=1):
        own = np.full_like(page, 255)
        points = np.stack([xs, ys], axis=1) * FINE
        for a, b in pairwise(points):
            way = (b - a) / np.hypot(*(b - a)) * gap * FINE
            cv2.line(own, (a + way).astype(int).tolist(), (b - way).astype(int).tolist(), 0, int(1.6 * FINE))
        for place in points if shape else []:
            corners = marked(place, shape, size)
            if corners is not None:
                cv2.fillPoly(own, [corners], 0)
            else:
                at, radius = place.astype(int).tolist(), int(size * FINE / 2)
                cv2.circle(own, at, radius, 255 if shape == "open disc" else 0, -1)
                cv2.circle(own, at, radius, 0, int(1.2 * FINE))
        page = np.minimum(page, own)
        truth[cv2.resize(own, (width, height), interpolation=cv2.INTER_AREA) < 128] = k
    pixels = cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA)
    return np.repeat(pixels[..., None], 3, axis=2), truth


def zigzags(seed=0, n=17):
    """Two lines that cross a few times and turn at every mark: how they go on says little."""
    rng = np.random.default_rng(seed)
    xs = np.linspace(20, 500, n)
    first = np.linspace(50, 190, n) + rng.uniform(-25, 25, n)
    second = np.linspace(190, 50, n) + rng.uniform(-25, 25, n)
    return [(xs, first), (xs + 11, second)]


def found(pixels):
    field = make_field(Picture(pixels), None, GroupingConfig(candidates="non_background"))
    ink = field.mask
    contrast = 255 - pixels[..., 0].astype(np.float32)
    return ink, find_marks(ink, contrast, find_strokes(ink))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("other", SHAPES)
def test_kinds_of_marks_are_told_apart(shape, other):
    pixels, _ = chart([(np.linspace(20, 500, 17), y + 8 * np.cos(np.arange(17))) for y in (60, 180)], (shape, other))
    _, (_, marks) = found(pixels)
    if shape == other:
        assert marks is None
        return
    assert marks is not None
    assert marks.count >= 2  # some may stand apart
    y = marks.places[:, 1]
    upper = [np.mean(y[marks.kinds == kind] < 120) for kind in range(marks.count)]
    assert min(upper) <= 0.1
    assert max(upper) >= 0.9
    assert all(share <= 0.1 or share >= 0.9 for share in upper)
    assert np.count_nonzero(marks.kinds >= 0) >= 0.8 * 2 * 17


def test_what_only_looks_like_marks_is_none():
    """Peaks of thick lines, letters, crossings, nothing."""
    rng = np.random.default_rng(1)
    xs = np.linspace(20, 500, 60)
    peaks = [(xs, 120 + 60 * (-1.0) ** np.arange(60) + rng.uniform(-20, 20, 60)), (xs, 120 + rng.uniform(-90, 90, 60))]
    assert found(chart(peaks, (None, None))[0])[1][1] is None
    page = np.full((200, 500, 3), 255, dtype=np.uint8)
    assert found(page)[1][1] is None
    for row in range(30, 200, 30):
        cv2.putText(page, "Marks and letters 0080 oo", (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2)
    assert found(page)[1][1] is None
    noise = np.repeat(rng.integers(0, 2, (200, 300, 1), dtype=np.uint8) * 255, 3, axis=2)
    assert found(noise)[1][1] is None


@pytest.mark.parametrize("gap", [0.0, 8.0])
@pytest.mark.parametrize("seed", range(3))
def test_lines_of_one_ink_keep_to_their_marks(seed, gap):
    """Also with the gaps that some programs leave around marks."""
    pixels, truth = chart(zigzags(seed), ("square", "open disc"), gap=gap)
    ink, (strokes, marks) = found(pixels)
    looks = Looks(
        np.full(ink.shape, -1, np.int32), np.zeros((0, 0), np.float32), np.zeros((0, 2), np.float32), 1, 0, marks
    )
    lines = link_lines(ink, ink.shape, looks, strokes=strokes)
    labels = share_out(ink, lines)
    assert len(lines) == 2
    right = [max(np.mean(labels[truth == k] == name) for name in (1, 2)) for k in (1, 2)]
    assert min(right) > 0.9


def test_strokes_lead_to_the_middle_of_marks():
    pixels, _ = chart(zigzags(), ("square", "open disc"), gap=8.0)
    ink, (strokes, marks) = found(pixels)
    before = find_strokes(ink)
    assert strokes.marks == len(marks.kinds)
    assert strokes.junctions == before.junctions + strokes.marks
    assert strokes.cuts[-1] == len(strokes.points)
    first = strokes.junctions - strokes.marks
    for points, ends in zip(strokes.each, strokes.nodes, strict=True):
        assert np.abs(np.diff(points, axis=0)).max(initial=0) <= 12  # no farther than such a gap
        for place, node in zip(points[[0, -1]], ends, strict=True):
            if node >= first:
                assert np.abs(place - marks.places[node - first]).max() <= 1
    reached = set(strokes.nodes.ravel().tolist())
    alone = {tuple(p[0]) for p in strokes.each if len(p) == 1}
    for mark in np.flatnonzero(marks.kinds >= 0):
        assert first + mark in reached or tuple(np.rint(marks.places[mark])) in alone


counts = st.lists(st.lists(st.integers(0, 30), min_size=4, max_size=4), min_size=1, max_size=5)


@given(counts, st.data())
def test_nats_apart(some, data):
    marks = Marks(np.zeros((1, 1), np.int32), np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64), 3)
    one = np.array(some, dtype=np.float64)
    other = np.array(
        data.draw(
            st.lists(st.lists(st.integers(0, 30), min_size=4, max_size=4), min_size=len(some), max_size=len(some))
        )
    )
    apart = marks.apart(one, other.astype(np.float64))
    assert np.isfinite(apart).all()
    assert marks.apart(other.astype(np.float64), one) == pytest.approx(apart)
    assert marks.apart(one, 0 * one) == pytest.approx(0, abs=1e-9)
    order = data.draw(st.permutations(range(4)))
    assert marks.apart(one[:, order], other[:, order].astype(np.float64)) == pytest.approx(apart)
    alone = np.eye(4)
    assert (marks.apart(alone, alone) < 0).all()
    assert (marks.apart(alone, alone[::-1]) > 0).all()


def test_ink_of_the_colour_of_the_page_has_no_marks():
    """With all pixels as candidates there is such ink."""
    ink, _ = found(chart(zigzags(), ("square", "open disc"))[0])
    assert find_marks(ink, np.zeros(ink.shape, np.float32), find_strokes(ink))[1] is None
