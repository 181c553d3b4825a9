"""Ink as runs: round trips, and places that follow the geometry exactly."""

import json

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from linegroup.errors import UserError
from linegroup.geometry import Affine, apply_dihedral, crop_at, dihedral, scale_to, transform
from linegroup.masks import decode, encode, pixels_of, runs_of_pixels, warp
from linegroup.sample import Instance, Sample
from linegroup.shards import from_table, to_table
from linegroup.sources.coco import read_coco, write_coco
from linegroup.sources.coco_masks import characters, rle, runs_of
from linegroup.targets import draw_targets, line_pixels

sizes = st.tuples(st.integers(1, 17), st.integers(1, 17))
masks = sizes.flatmap(lambda size: arrays(np.bool_, size))


def inked(*inks: np.ndarray) -> Sample:
    lines = [Instance(k + 1, [[0, 0], [1, 1]], z=-k, runs=encode(ink)) for k, ink in enumerate(inks)]
    vector = Instance(99, [[0, 0], [inks[0].shape[1] - 1, inks[0].shape[0] - 1]], thickness=1.5)
    return Sample(1, inks[0].shape, (*lines, vector))


@settings(deadline=None)
@given(masks)
def test_there_and_back(mask):
    runs = encode(mask)
    assert np.array_equal(decode(runs, mask.shape), mask)
    assert np.array_equal(pixels_of(runs), np.flatnonzero(mask))
    assert np.array_equal(runs_of_pixels(np.flatnonzero(mask), mask.shape[1]), runs)
    assert Instance(1, [[0, 0]], runs=runs).runs.dtype == np.int32
    counts = rle(runs, mask.shape)
    assert np.array_equal(runs_of(json.loads(json.dumps(counts)), mask.shape), runs)
    short = {"size": list(mask.shape), "counts": characters(runs, mask.shape)}
    assert np.array_equal(runs_of(short, mask.shape), runs)
    assert counts["counts"][0] == 0 or not mask[0, 0]


@settings(deadline=None)
@given(sizes.flatmap(lambda size: st.tuples(arrays(np.bool_, size), arrays(np.bool_, size))), st.integers(0, 7))
def test_turning_and_drawing_commute(inks, index):
    sample = inked(*inks)
    turned, straight = draw_targets(transform(sample, dihedral(index, sample.size))), draw_targets(sample)
    assert np.array_equal(turned.labels, apply_dihedral(index, straight.labels))
    assert np.array_equal(turned.coverage, apply_dihedral(index, straight.coverage))


@settings(deadline=None)
@given(masks, st.integers(-5, 12), st.integers(-5, 12), sizes)
def test_crops_are_exact(mask, x, y, size):
    large = np.zeros((60, 60), dtype=bool)
    large[20 : 20 + mask.shape[0], 20 : 20 + mask.shape[1]] = mask
    found = warp(encode(mask), mask.shape, crop_at(x, y, size).matrix, size)
    assert np.array_equal(decode(found, size), large[20 + y : 20 + y + size[0], 20 + x : 20 + x + size[1]])


@settings(deadline=None)
@given(sizes.flatmap(lambda size: st.tuples(arrays(np.bool_, size), arrays(np.bool_, size))))
def test_pixels_labels_and_rows(inks):
    sample = inked(*inks)
    listed, drawn = line_pixels(sample), draw_targets(sample)
    for ink, pixels in zip(inks, listed, strict=False):
        assert np.array_equal(pixels, np.flatnonzero(ink))
    coverage = np.zeros(inks[0].size, dtype=int)
    for pixels in listed:
        coverage[pixels] += 1
    assert np.array_equal(drawn.coverage.ravel(), coverage)
    assert (drawn.labels.reshape(-1)[np.flatnonzero(inks[0] & ~inks[1])] != 2).all()
    # z: the vector line (0) lies above the first (0, but earlier), and both above the second (-1).
    assert (drawn.labels.ravel()[listed[2]] == 3).all()
    assert from_table(to_table([sample, sample])) == [sample, sample]


def test_rows_of_schema_1_have_no_runs():
    sample = Sample(1, (8, 9), (Instance(1, [[1, 1], [5, 5]]), Instance(2, [[1, 2], [5, 2]])))
    table = to_table([sample])
    column = table.column("instances").combine_chunks()
    lines = column.flatten()
    names = [field.name for field in lines.type if field.name != "runs"]
    old = pa.StructArray.from_arrays([lines.field(name) for name in names], names)
    place = table.column_names.index("instances")
    table = table.set_column(place, "instances", pa.ListArray.from_arrays(column.offsets, old))
    assert from_table(table) == [sample]


def test_coco_there_and_back(tmp_path):
    rng = np.random.default_rng(0)
    samples = [inked(rng.random((9, 13)) < 0.3, np.zeros((9, 13), bool)) for _ in range(1)]
    write_coco(samples, tmp_path / "a.json")
    found, rejects = read_coco(tmp_path / "a.json", None)
    assert (found, rejects) == (samples, [])


@pytest.mark.parametrize("scale", [0.4, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, 3.0])
def test_thin_lines_stay_whole_when_made_smaller(scale, slope):
    ink = np.zeros((200, 200), dtype=np.uint8)
    cv2.line(ink, (20, 30), (round(20 + 130 / max(1, slope)), round(30 + 130 * min(1, slope))), 1, 1)
    size = (round(200 * scale), round(200 * scale))
    small = decode(warp(encode(ink > 0), (200, 200), scale_to((200, 200), size).matrix, size), size)
    assert cv2.connectedComponents(small.astype(np.uint8), connectivity=8)[0] == 2
    assert small.any()


def test_larger_and_turned_ink_covers_what_it_should():
    ink = np.zeros((40, 60), dtype=bool)
    ink[10:20, 15:45] = True
    large = decode(warp(encode(ink), ink.shape, scale_to(ink.shape, (80, 120)).matrix, (80, 120)), (80, 120))
    assert abs(int(large.sum()) - 4 * int(ink.sum())) < 200
    turn = Affine(np.hstack([cv2.getRotationMatrix2D((29.5, 19.5), 2.0, 1.0)]), (40, 60))
    assert abs(int(decode(warp(encode(ink), ink.shape, turn.matrix, turn.size), turn.size).sum()) - ink.sum()) < 12
    assert len(warp(encode(ink), ink.shape, crop_at(200, 0, (5, 5)).matrix, (5, 5))) == 0


@pytest.mark.parametrize(
    "runs", [[[0, 0]], [[-1, 2]], [[5, 3], [7, 1]], [[5, 1], [2, 1]], [1, 2], [[0.5, 1]], [[2**31 - 2, 5]]]
)
def test_bad_runs_are_refused(runs):
    with pytest.raises(UserError, match="Instance 7"):
        Instance(7, [[0, 0]], runs=np.array(runs))


@pytest.mark.parametrize("runs", [[[18, 4]], [[3, 5]]])
def test_runs_stay_in_their_picture(runs):
    with pytest.raises(UserError, match="Sample 3, instance 7"):
        Sample(3, (4, 5), (Instance(7, [[0, 0]], runs=np.array(runs)),))


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [4, 5], "counts": [3, 2]},
        {"size": [5, 4], "counts": [20]},
        {"size": [4, 5], "counts": [-1, 21]},
        {"size": [4, 5], "counts": [2**70]},
        {"size": [4, 5], "counts": [2**62, 2**62, 20]},
        {"size": [4, 5], "counts": [19.5, 0.5]},
        {"size": [4, 5], "counts": "~~~"},
        {"size": [4, 5], "counts": "oooooooooooooooooooooo"},
        {"size": [4, 5], "counts": None},
        {"counts": [20]},
    ],
)
def test_damaged_masks_are_rejected_one_by_one(mask, tmp_path):
    line = {"id": 1, "image_id": 1, "category_id": 1, "polyline": [0, 0, 3, 3], "segmentation": mask}
    good = {"id": 2, "image_id": 1, "category_id": 1, "polyline": [0, 0, 3, 3]}
    picture = {"id": 1, "file_name": "a.png", "width": 5, "height": 4}
    tree = {"images": [picture], "annotations": [line, good], "categories": [{"id": 1, "name": "line"}]}
    (tmp_path / "a.json").write_text(json.dumps(tree))
    (sample,), (reject,) = read_coco(tmp_path / "a.json", None)
    assert [line.id for line in sample.instances] == [2]
    assert "run-length" in str(reject.to_json())


def test_characters_of_pycocotools():
    # What pycocotools writes for the counts 6, 1, 40, 2, 51 of a picture of 10 × 10.
    expected = np.zeros(100, dtype=bool)
    expected[[6, 47, 48]] = True
    found = runs_of({"size": [10, 10], "counts": "61X11;"}, (10, 10))
    assert np.array_equal(decode(found, (10, 10)), expected.reshape(10, 10, order="F"))
