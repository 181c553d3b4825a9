"""Reading COCO: every bad record is named, every good one kept, nothing outside the folder touched."""

import copy
import json
import os
import sys
import tracemalloc

import numpy as np
import pytest

from linegroup.errors import UserError
from linegroup.files import sha256_of
from linegroup.images import encode_png
from linegroup.sample import Instance, Sample
from linegroup.sources import coco, json_stream
from linegroup.sources.coco import CocoOptions, partition_coco, read_coco, read_part, write_coco
from linegroup.testing import random_sample

GOOD = {
    "images": [
        {"id": 5, "file_name": "a.png", "width": 40, "height": 30, "group": "doc", "tags": ["x"], "license": 3},
        {"id": 2, "file_name": "sub/b.png", "width": 20, "height": 10},
    ],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 2, "polyline": [1, 2, 30, 20.5], "source": {"by": "hand"}},
        {"id": 2, "image_id": 2, "category_id": 2, "segmentation": [[1, 1, 5, 5], [7, 7, 9, 9, 9, 3]]},
        {"id": 3, "image_id": 5, "category_id": 7, "keypoints": [1, 1, 2, 3, 3, 0, 5, 6, 1]},
    ],
    "categories": [{"id": 2, "name": "line"}, {"id": 7, "name": "axis"}],
}


@pytest.fixture
def tree():
    return copy.deepcopy(GOOD)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(encode_png(np.zeros((30, 40), np.uint8)))
    (folder / "sub/b.png").write_bytes(encode_png(np.zeros((10, 20, 3), np.uint8)))
    return folder


@pytest.fixture
def read(tmp_path, root):
    """Read a tree in both ways, which must agree."""

    def call(tree, images=root, **options):
        path = tmp_path / "a.json"
        path.write_text(tree if isinstance(tree, str) else json.dumps(tree))
        chosen = CocoOptions(**options)
        samples, rejects = read_coco(path, images, chosen)
        cut = partition_coco(path, tmp_path / "parts", 1)
        found, refused = [], list(cut.rejects)
        for part in cut.parts:
            more, less = read_part(part, cut.categories, images, chosen)
            found += more
            refused += less
        assert (found, refused) == (samples, rejects)
        return samples, rejects

    return call


def parts(line):
    return [part.tolist() for part in line.part_arrays()]


def test_good_file(read, root):
    (second, first), rejects = read(GOOD)
    assert rejects == []
    assert (first.id, first.size, first.group, first.name, first.tags) == (5, (30, 40), "doc", "a.png", ("x",))
    assert first.image == (root / "a.png").read_bytes()
    assert first.meta == {"license": 3}
    assert [line.category for line in first.instances] == ["line", "axis"]
    assert first.instances[0].meta == {"source": {"by": "hand"}}
    assert parts(first.instances[0]) == [[[1, 2], [30, 20.5]]]
    assert parts(first.instances[1]) == [[[1, 1], [5, 6]]]
    assert second.group == "image:2"
    assert parts(second.instances[0]) == [[[1, 1], [5, 5]], [[7, 7], [9, 9], [9, 3]]]


def test_vectors_only(read, tree):
    tree["images"][0]["file_name"] = "../nowhere.png"
    del tree["images"][1]["file_name"]
    samples, rejects = read(tree, images=None)
    assert rejects == []
    assert [(sample.image, sample.size) for sample in samples] == [(None, (10, 20)), (None, (30, 40))]


@pytest.mark.parametrize("category", ["axis", "7"])
def test_category(read, category):
    samples, rejects = read(GOOD, category=category)
    assert rejects == []
    assert [[line.id for line in sample.instances] for sample in samples] == [[], [3]]


def test_unknown_category_lists_those_there_are(read):
    with pytest.raises(UserError, match=r"Unknown category 'lime'\. Did you mean 'line'\? Known: 2, 7, axis, line"):
        read(GOOD, category="lime")


def test_other_categories_are_not_judged(read, tree):
    tree["annotations"][2]["keypoints"] = "broken"
    assert read(tree, category="line")[1] == []
    assert len(read(tree)[1]) == 1


GEOMETRY = [
    ({"polyline": [1, 1, 2, 2]}, [[[1, 1], [2, 2]]]),
    ({"polyline": [[1, 1], [2, 2], [3, 1]]}, [[[1, 1], [2, 2], [3, 1]]]),
    ({"polyline": [[1, 1, 2, 2]]}, [[[1, 1], [2, 2]]]),
    ({"polyline": [[1, 1, 2, 2], [3, 3, 4, 4]]}, [[[1, 1], [2, 2]], [[3, 3], [4, 4]]]),
    ({"polyline": [[[1, 1], [2, 2]], [[3, 3], [4, 4]]]}, [[[1, 1], [2, 2]], [[3, 3], [4, 4]]]),
    ({"pieces": [[1, 1, 2, 2], [9, 9]], "polyline": [5, 5, 6, 6]}, [[[1, 1], [2, 2]], [[9, 9]]]),
    ({"pieces": [[1, 1], [9, 9]]}, [[[1, 1]], [[9, 9]]]),
    ({"pieces": [[1, 1, 1, 1], [3, 3, 4, 4]]}, [[[1, 1], [1, 1]], [[3, 3], [4, 4]]]),
    ({"pieces": [], "polyline": None, "segmentation": [[1, 1, 2, 2]], "keypoints": [7]}, [[[1, 1], [2, 2]]]),
    ({"segmentation": [[1, 1, 2, 2]], "polyline": [3, 3, 4, 4]}, [[[3, 3], [4, 4]]]),
    ({"keypoints": [1, 1, 1, 8, 8, 0, 2, 2, 2], "bbox": [0, 0, 9, 9]}, [[[1, 1], [2, 2]]]),
    ({"polyline": [0, 0] * 500_000 + [1, 1]}, None),
    ({"polyline": [-5, -5, 1e6, 3]}, [[[-5, -5], [1e6, 3]]]),
]


@pytest.mark.parametrize(("keys", "expected"), GEOMETRY)
def test_geometry(read, tree, keys, expected):
    tree["annotations"] = [{"id": 1, "image_id": 5, "category_id": 2, **keys}]
    (_, sample), rejects = read(tree)
    assert rejects == []
    if expected is None:
        assert sample.instances[0].xy.shape == (500_001, 2)
    else:
        assert parts(sample.instances[0]) == expected


NAN, INF = float("nan"), float("inf")
BAD_LINES = [
    ({"polyline": [1, 2, 3]}, "odd number of coordinates"),
    ({"polyline": [1, 1, 1, 1]}, "no length"),
    ({"polyline": [4, 4]}, "no length"),
    ({"pieces": [[4, 4], [4, 4, 4, 4]]}, "no length"),
    ({"polyline": [1, NAN, 2, 2]}, "NaN or infinity"),
    ({"polyline": [1, 1, -INF, 2]}, "NaN or infinity"),
    ({"polyline": [1, 1, 1e12, 2]}, "beyond ±1000000"),
    ({"polyline": [1, 1, 10**400, 2]}, "too large"),
    ({"polyline": ["1", "1", "2", "2"]}, "numbers only"),
    ({"polyline": [True, False, 2, 2]}, "numbers only"),
    ({"polyline": [1, None, 2, 2]}, "numbers only"),
    ({"polyline": {"x": [1]}}, "run-length mask"),
    ({"polyline": "1 2 3 4"}, "list of coordinates; got text"),
    ({"polyline": [[1, 1, 2, 2], 3, 4]}, "numbers only"),
    ({"polyline": [[1, 1, 2, 2], []]}, "list of coordinates"),
    ({"segmentation": {"counts": "abc", "size": [3, 3]}}, "segmentation is a run-length mask"),
    ({"segmentation": [[1, 2, 3, 4, 5]]}, "odd number"),
    ({"keypoints": [1, 1, 2, 3]}, "x, y, visibility"),
    ({"keypoints": [1, 1, 7, 2, 2, 2]}, "visibility of 0, 1 or 2"),
    ({"keypoints": [1, 1, 0, 2, 2, 0]}, "no visible point"),
    ({"bbox": [1, 1, 5, 5]}, r"no points: .*bbox alone is a box"),
    ({"bbox": [1, 1, 5, 5, 8, 8]}, "no points"),
    ({}, "no points"),
    ({"polyline": [1, 1, 2, 2], "category_id": 3}, "category_id 3 is not among the categories"),
    ({"polyline": [1, 1, 2, 2], "category_id": None}, "category_id nothing is not"),
    ({"polyline": [1, 1, 2, 2], "category_id": [2]}, r"category_id \[2\] is not"),
    ({"polyline": [1, 1, 2, 2], "thickness": 0}, "thickness must be"),
    ({"polyline": [1, 1, 2, 2], "thickness": NAN}, "thickness must be"),
    ({"polyline": [1, 1, 2, 2], "thickness": "2"}, "thickness must be"),
    ({"polyline": [1, 1, 2, 2], "iscrowd": "no"}, "iscrowd must be 0 or 1"),
    ({"segmentation": [[1, 1, 2, 2]], "iscrowd": 1}, "at least 3 points"),
    ({"segmentation": {"counts": [1], "size": [3, 3]}, "iscrowd": 1}, "run-length mask"),
    ({"polyline": [1, 1, 2, 2], "linegroup": 3}, "linegroup must be an object"),
    ({"polyline": [1, 1, 2, 2], "linegroup": {"kind": "blob"}}, "kind must be one of"),
    ({"polyline": [1, 1, 2, 2], "linegroup": {"kind": ["mask"]}}, "kind must be one of"),
    ({"polyline": [1, 1, 2, 2], "linegroup": {"closed": 1}}, "closed must be"),
    ({"polyline": [1, 1, 2, 2], "linegroup": {"z": 0.5}}, "z must be"),
    ({"polyline": [1, 1, 2, 2], "linegroup": {"meta": []}}, "meta must be"),
    ({"polyline": [1, 1, 2, 2], "more": json.loads("[" * 200 + "]" * 200)}, "nested too deeply"),
]


@pytest.mark.parametrize(("keys", "reason"), BAD_LINES)
def test_bad_annotation_costs_only_itself(read, tree, keys, reason):
    tree["annotations"].insert(1, {"id": 77, "image_id": 5, "category_id": 2, **keys})
    samples, rejects = read(tree)
    assert samples == read(GOOD)[0]
    (reject,) = rejects
    assert (reject.image_id, reject.annotation_id, reject.where) == (5, 77, "annotations[1]")
    with pytest.raises(UserError, match=reason):
        raise UserError(reject.reason)


MISPLACED = [
    ({"id": 77, "image_id": 99, "polyline": [1, 1, 2, 2]}, (99, 77), "there is no image 99"),
    ({"id": 77, "image_id": -1}, (-1, 77), "image_id must be"),
    ({"id": 77, "image_id": "5"}, (None, 77), "image_id must be"),
    ({"id": 77, "image_id": 5.0}, (None, 77), "image_id must be"),
    ({"id": True, "image_id": 5}, (5, None), "id must be"),
    ({"id": 2**70, "image_id": 5}, (5, 2**70), "id must be"),
    ({"image_id": 5}, (5, None), "id must be a whole number ≥ 0; got nothing"),
    (None, (None, None), "must be an object"),
    ([1, 2], (None, None), "must be an object"),
    ({"id": 1, "image_id": 2, "polyline": [1, 1, 2, 2]}, (2, 1), "used before"),
]


@pytest.mark.parametrize(("record", "numbers", "reason"), MISPLACED)
def test_annotation_without_a_place(read, tree, record, numbers, reason):
    tree["annotations"].append(record)
    samples, rejects = read(tree)
    assert samples == read(GOOD)[0]
    (reject,) = rejects
    assert (reject.image_id, reject.annotation_id) == numbers
    assert reason in reject.reason
    assert reject.where == "annotations[3]"
    assert json.loads(json.dumps(reject.to_json()))["reason"] == reject.reason


def test_annotation_beyond_the_stack(read, tree):
    deep = '{"id": 77, "image_id": 5, "x": ' + "[" * 50_000 + "]" * 50_000 + "}"
    text = json.dumps(tree).replace('"annotations": [', f'"annotations": [{deep}, ')
    samples, (reject,) = read(text)
    assert samples == read(GOOD)[0]
    assert (reject.image_id, reject.where) == (5, "annotations[0]")
    assert "nested too deeply" in reject.reason


BAD_IMAGES = [
    ({"width": 41}, "'a.png' is 40 × 30 pixels, its record says 41 × 30"),
    ({"width": None, "height": 31}, "'a.png' is 40 × 30 pixels, its record says ? × 31"),
    ({"height": "30"}, "height must be a whole number of pixels, at least 1; got '30'"),
    ({"height": True}, "height must be"),
    ({"height": float("nan")}, "height must be"),
    ({"height": 10**30}, "height must be"),
    ({"height": 0}, "height must be"),
    ({"width": 40.0}, "width must be"),
    ({"file_name": "c.png"}, "cannot read 'c.png': No such file"),
    ({"file_name": "sub"}, "'sub' is no regular file"),
    ({"file_name": "pipe"}, "'pipe' is no regular file"),
    ({"file_name": "broken.png"}, "'broken.png': The picture is damaged"),
    ({"file_name": "text.png"}, "'text.png': This is no picture"),
    ({"file_name": "empty.png"}, "'empty.png': The picture is empty"),
    ({"file_name": ""}, "not a relative path"),
    ({"file_name": None}, "file_name must be text"),
    ({"file_name": ["a.png"]}, "file_name must be text"),
    ({"file_name": "../secret.png"}, "leads out of the image folder"),
    ({"file_name": "sub/../../secret.png"}, "leads out"),
    ({"file_name": "/etc/passwd"}, "leads out"),
    ({"file_name": "link.png"}, "leads out"),
    ({"file_name": "linked/secret.png"}, "leads out"),
    ({"file_name": "loop"}, "cannot"),
    ({"file_name": "a.png\0.jpg"}, "not a relative path"),
    ({"file_name": "..\\secret.png"}, "not a relative path"),
    ({"file_name": "\\\\host\\share\\a.png"}, "not a relative path"),
    ({"file_name": "C:/a.png"}, "not a relative path"),
    ({"file_name": "file:///etc/passwd"}, "not a relative path"),
    ({"file_name": "https://example.org/a.png"}, "not a relative path"),
    ({"file_name": "n" * 5000}, "cannot"),
    ({"file_name": "\ud800.png"}, "cannot"),
    ({"group": ["doc"]}, "group must be text"),
    ({"tags": "x"}, "tags must be"),
    ({"tags": [1]}, "tags must be"),
    ({"linegroup": {"ignore": [[1, 2, 3]]}}, "odd number"),
    ({"linegroup": {"ignore": 5}}, "array of polygons"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_IMAGES)
def test_bad_image_costs_itself_and_says_how_many_annotations(read, tree, root, change, reason):
    (root.parent / "secret.png").write_bytes((root / "a.png").read_bytes())
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "linked").symlink_to(root.parent)
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    noise = encode_png(np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8))
    (root / "broken.png").write_bytes(noise[:600])
    (root / "text.png").write_bytes(b"<svg/>")
    (root / "empty.png").write_bytes(b"")
    tree["images"][0].update(change)
    samples, (reject,) = read(tree)
    assert samples == read(GOOD)[0][:1]
    assert (reject.image_id, reject.annotation_id, reject.where) == (5, None, "images[0]")
    assert reason in reject.reason
    assert reject.reason.endswith("(its 2 annotations are left out too)")


def test_nothing_outside_the_folder_is_opened(read, tree):
    opened = []
    watching = [True]
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching[0] and event == "open" else None)
    names = ["../secret.png", "/etc/passwd", "sub/../../../etc/passwd", "..\\x", "file:///etc/passwd"]
    tree["images"] = [{**tree["images"][0], "id": k, "file_name": name} for k, name in enumerate(names)]
    samples, rejects = read(tree)
    watching[0] = False
    assert (samples, len([r for r in rejects if r.annotation_id is None])) == ([], len(names))
    assert opened
    assert not [path for path in opened if "secret" in path or "passwd" in path]


@pytest.mark.parametrize("record", [None, 5, {}, {"id": "5"}, {"id": -1}, {"id": 2**63}])
def test_image_without_a_number(read, tree, record):
    tree["images"].append(record)
    samples, (reject,) = read(tree)
    assert samples == read(GOOD)[0]
    assert reject.where == "images[2]"


def test_two_pictures_with_one_id(read, tree):
    tree["images"].append({**tree["images"][1], "id": 5})
    samples, (reject,) = read(tree)
    assert [sample.id for sample in samples] == [2]
    assert "its id stands there 2 times with different contents (its 2 annotations" in reject.reason
    tree["images"][2] = tree["images"][0]
    samples, (reject,) = read(tree)
    assert samples == read(GOOD)[0]
    assert (reject.where, reject.reason) == ("images[2]", "image: repeats images[0] word by word")


@pytest.mark.parametrize("missing", [["width"], ["height"], ["width", "height"]])
@pytest.mark.parametrize("how", ["left out", "null"])
def test_missing_size_is_that_of_the_picture(read, tree, missing, how):
    for key in missing:
        tree["images"][0][key] = None
        if how == "left out":
            del tree["images"][0][key]
    assert read(tree) == read(GOOD)
    samples, (reject,) = read(tree, images=None)
    assert [sample.id for sample in samples] == [2]
    assert (reject.image_id, reject.where) == (5, "images[0]")
    assert f"{' and '.join(missing)} missing" in reject.reason


def test_turned_picture(read, tree, root):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(root / "a.png", exif=exif)
    samples, rejects = read(tree)
    assert rejects == []
    assert samples[1].size == (30, 40)
    tree["images"][0].update(width=30, height=40)
    assert "after its EXIF orientation 6 was undone" in read(tree)[1][0].reason


def test_crowd_becomes_ignore(read, tree):
    crowd = {"id": 9, "image_id": 5, "category_id": 2, "iscrowd": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    tree["annotations"].append(crowd)
    samples, rejects = read(tree)
    assert rejects == []
    assert [len(sample.instances) for sample in samples] == [1, 2]
    assert [polygon.tolist() for polygon in samples[1].ignore] == [[[1, 1], [9, 1], [9, 9]]]


def test_thickness(read, tree):
    given = [{"thickness": 3}, {"style": {"width": 1.5}}, {"style": {"width": "2px"}}, {"style": "bold"}, {}]
    given += [{"thickness": None, "style": {"width": 4}}, {"thickness": 2.5, "style": {"width": 4}}]
    tree["annotations"] = [
        {"id": k, "image_id": 5, "category_id": 2, "polyline": [1, 1, 9, 9], **more} for k, more in enumerate(given)
    ]
    (_, sample), rejects = read(tree)
    assert rejects == []
    assert [line.thickness for line in sample.instances] == [3, 1.5, None, None, None, None, 2.5]


def test_bbox_polyline(read, tree):
    def line(number, **keys):
        return {"id": number, "image_id": 5, "category_id": 2, **keys}

    tree["annotations"] = [
        line(1, bbox=[1, 1, 5, 5, 9, 2], segmentation=[[0, 0, 1, 1, 2, 2]]),
        line(2, bbox=[1, 1, 5, 5]),
        line(3, bbox=[1, 1, 5, 5], polyline=[2, 2, 3, 3]),
        line(4, bbox=[], segmentation=[[4, 4, 6, 6]]),
        line(5, bbox=[1, 1, 5, 5, 9]),
        line(6, bbox={"x": 1}),
    ]
    (_, sample), rejects = read(tree, dialect="bbox_polyline")
    assert [parts(found) for found in sample.instances] == [
        [[[1, 1], [5, 5], [9, 2]]],
        [[[2, 2], [3, 3]]],
        [[[4, 4], [6, 6]]],
    ]
    assert [(reject.annotation_id, reject.reason.split(": ")[1][:21]) for reject in rejects] == [
        (2, "bbox has 4 numbers"[:21]),
        (5, "bbox has an odd numbe"),
        (6, "bbox must be a list o"),
    ]


def test_categories(read, tree):
    tree["categories"] += [{"id": 2, "name": "other"}, {"id": "x", "name": "y"}, {"id": 8}, 3]
    samples, rejects = read(tree)
    assert samples == read(GOOD)[0]
    assert [reject.where for reject in rejects] == [f"categories[{k}]" for k in (2, 3, 4, 5)]
    assert "declared twice; it stays 'line'" in rejects[0].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "one JSON object"),
        ("{}", "no 'images' and no 'annotations' and no 'categories'"),
        ('{"images": [], "annotations": []}', "it has no 'categories'"),
        ('{"images": {}, "annotations": [], "categories": []}', "'images' must be an array"),
        ('{"images": [{"id": 1', "no valid JSON at character 21"),
        ('{"images": [], "annotations": [', "but the file ends here"),
    ],
)
def test_unusable_file(read, text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(text)
    with pytest.raises(UserError, match=message):
        partition_coco(tmp_path / "a.json", tmp_path / "parts", 1)
    assert not (tmp_path / "parts").exists() or not list((tmp_path / "parts").iterdir())


def test_byte_order_mark_and_empty_arrays(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"images": [], "annotations": [], "categories": []}')
    assert read_coco(path, None) == ([], [])
    assert partition_coco(path, tmp_path / "parts", 3).parts == ()


def test_missing_image_folder(read, tmp_path):
    with pytest.raises(UserError, match="There is no image folder"):
        read(GOOD, images=tmp_path / "none")


def write_many(path, count, lines=4, points=50):
    """Images in falling order after their annotations: the hardest order for a reader in one pass."""
    polyline = json.dumps([round(0.37 * k % 60, 2) for k in range(2 * points)])
    with path.open("w") as stream:
        stream.write('{"annotations": [')
        for k in range(count * lines):
            line = f'{{"id": {k}, "image_id": {k * 7 % count}, "category_id": 1, "polyline": {polyline}}}'
            stream.write(("," if k else "") + line)
        stream.write('], "categories": [{"id": 1, "name": "line"}], "images": [')
        for k in reversed(range(count)):
            stream.write(f'{{"id": {k}, "file_name": "{k}.png", "width": 64, "height": 64}}' + ("," if k else ""))
        stream.write("]}")


def test_partition(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_many(path, 100)
    cut = partition_coco(path, tmp_path / "one", 16)
    assert cut.ranges == tuple((first, min(first + 15, 99)) for first in range(0, 100, 16))
    assert (cut.images, cut.categories, cut.digest) == (100, {1: "line"}, sha256_of(path))
    assert [part.name for part in cut.parts] == sorted(entry.name for entry in (tmp_path / "one").iterdir())
    monkeypatch.setattr(coco, "SPILL_CHARACTERS", 1000)
    again = partition_coco(path, tmp_path / "two", 16)
    for a, b in zip(cut.parts, again.parts, strict=True):
        assert a.read_bytes() == b.read_bytes()
        for line in a.read_text().splitlines():
            assert json.loads(line)["value"]
    samples = [s for part in cut.parts for s in read_part(part, cut.categories, None, CocoOptions())[0]]
    assert samples == read_coco(path, None)[0]
    assert [sample.id for sample in samples] == list(range(100))
    assert {len(sample.instances) for sample in samples} == {4}


def test_memory_of_cutting_does_not_grow_with_the_charts(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "SPILL_CHARACTERS", 1 << 16)
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 16)

    def peak(count):
        path = tmp_path / f"{count}.json"
        write_many(path, count, points=20)
        tracemalloc.start()
        partition_coco(path, tmp_path / str(count), 64)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(1000), peak(4000)
    # The ids of 15,000 more records, and a little for each of the 47 more parts.
    assert many - few < 15_000 * 8 + 47 * 4096


def test_failed_cut_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_many(path, 20)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        partition_coco(path, tmp_path / "parts", 4)
    assert list((tmp_path / "parts").iterdir()) == []


def test_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD))
    original = coco.make_index

    def meddle(path):
        index = original(path)
        path.write_text(json.dumps({**GOOD, "info": {}}))
        return index

    monkeypatch.setattr(coco, "make_index", meddle)
    with pytest.raises(UserError, match="changed while it was read"):
        partition_coco(path, tmp_path / "parts", 4)


def test_written_pictures_come_back(tmp_path):
    samples = [random_sample(seed) for seed in range(3)]
    write_coco(iter(samples), tmp_path / "out/a.json", tmp_path / "out/images")
    assert read_coco(tmp_path / "out/a.json", tmp_path / "out/images") == (samples, [])


def test_written_file_for_other_readers(tmp_path, read, root):
    samples, _ = read(GOOD)
    write_coco(samples, tmp_path / "b.json", categories={2: "line", 7: "axis"})
    tree = json.loads((tmp_path / "b.json").read_text())
    assert tree["categories"] == GOOD["categories"]
    assert tree["images"][1]["license"] == 3
    lines = {line["id"]: line for line in tree["annotations"]}
    assert lines[1]["source"] == {"by": "hand"}
    assert (lines[1]["bbox"], lines[1]["area"]) == ([1, 2, 29, 18.5], 34.4)
    assert lines[2]["pieces"] == GOOD["annotations"][1]["segmentation"]
    assert "linegroup" not in lines[1]


LINE = Instance(4, np.array([[1, 1], [5, 5]]))
UNWRITABLE = [
    ([Sample(1, (9, 9)), Sample(1, (9, 9))], "id was written before"),
    ([Sample(-1, (9, 9))], "at least 0"),
    ([Sample(1, (9, 9), (Instance(1, np.ones((2, 2))),))], "has no length"),
    ([Sample(1, (9, 9), (Instance(-1, LINE.xy),))], "at least 0"),
    ([Sample(1, (9, 9), meta={"x": NAN})], "what JSON cannot"),
    ([Sample(1, (9, 9), meta={"x": {1, 2}})], "what JSON cannot"),
]


@pytest.mark.parametrize(("samples", "message"), UNWRITABLE)
def test_unwritable(tmp_path, samples, message):
    (tmp_path / "a.json").write_text("before")
    with pytest.raises(UserError, match=message):
        write_coco(samples, tmp_path / "a.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "before"


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([Sample(1, (9, 9), name="../out.png", image=b"x")], "leads out"),
        ([Sample(1, (9, 9), name="", image=b"x")], "not a relative path"),
        ([Sample(1, (9, 9), name="a.png")], "no picture to write"),
        ([Sample(k, (9, 9), name="a.png", image=b"x") for k in (1, 2)], "named 'a.png' was written before"),
    ],
)
def test_unwritable_pictures(tmp_path, samples, message):
    with pytest.raises(UserError, match=message):
        write_coco(samples, tmp_path / "set/a.json", tmp_path / "set/images")
    assert not (tmp_path / "set/a.json").exists()
    assert not (tmp_path / "set/out.png").exists()
