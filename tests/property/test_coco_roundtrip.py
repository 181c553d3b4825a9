"""Samples written as COCO and read back are the same samples."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from linegroup.sample import COORDINATE_LIMIT, KINDS, Instance, Sample
from linegroup.sources.coco import CocoOptions, partition_coco, read_coco, read_part, write_coco

COORDINATES = st.floats(-COORDINATE_LIMIT, COORDINATE_LIMIT, width=32)
IDS = st.integers(0, 2**62)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CLASHING = st.sampled_from(["id", "bbox", "style", "linegroup", "meta", "polyline", "segmentation", "width", "tags"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
STYLES = st.fixed_dictionaries({"style": st.fixed_dictionaries({"width": st.floats(0.5, 9)})})
META = st.dictionaries(TEXT | CLASHING, VALUES, max_size=4) | STYLES


def points(least):
    return st.integers(least, 6).flatmap(lambda n: arrays(np.float32, (n, 2), elements=COORDINATES))


@st.composite
def instances(draw):
    parts = draw(st.lists(points(1), min_size=1, max_size=3))
    xy = np.concatenate(parts)
    if (xy == xy[0]).all():
        # A line without length is refused by design.
        parts = [np.array([xy[0], (xy[0] <= 0) - np.float32(0.5)], np.float32)]
        xy = parts[0]
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    return Instance(
        id=draw(IDS | st.integers(0, 3)),
        xy=xy,
        category=draw(st.sampled_from(["line", "axis", "é 線"])),
        kind=draw(st.sampled_from(KINDS)),
        parts=tuple(starts.tolist()),
        closed=draw(st.booleans()),
        thickness=draw(st.none() | st.floats(1e-3, 1e3)),
        z=draw(st.integers(-(2**62), 2**62)),
        meta=draw(META),
    )


@st.composite
def sample_sets(draw):
    ids = draw(st.lists(IDS | st.integers(0, 20), unique=True, max_size=5))
    return [
        Sample(
            id=number,
            size=(draw(st.integers(1, 60_000)), draw(st.integers(1, 60_000))),
            instances=tuple(draw(st.lists(instances(), max_size=3))),
            group=draw(TEXT),
            name=draw(TEXT),
            tags=tuple(draw(st.lists(TEXT, max_size=3))),
            ignore=tuple(draw(st.lists(points(1), max_size=2))),
            meta=draw(META),
        )
        for number in ids
    ]


@settings(max_examples=150, deadline=None)
@given(sample_sets())
def test_round_trip(samples):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        write_coco(iter(samples), path)
        expected = sorted(samples, key=lambda sample: sample.id)
        found, rejects = read_coco(path, None)
        assert rejects == []
        assert found == expected
        write_coco(found, Path(folder) / "b.json")
        assert read_coco(Path(folder) / "b.json", None) == (expected, [])


@settings(max_examples=40, deadline=None)
@given(sample_sets(), st.integers(1, 4))
def test_parts_together_are_the_whole(samples, each):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        write_coco(samples, path)
        cut = partition_coco(path, Path(folder) / "parts", each)
        assert len(cut.parts) == len(cut.ranges) == -(-len(samples) // each)
        found = []
        for part, (first, last) in zip(cut.parts, cut.ranges, strict=True):
            some, rejects = read_part(part, cut.categories, None, CocoOptions())
            assert rejects == []
            assert (some[0].id, some[-1].id) == (first, last)
            found += some
        assert found == read_coco(path, None)[0]
