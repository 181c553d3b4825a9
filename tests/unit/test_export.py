"""Every format: what is written is read back, or is what its readers expect."""

import base64
import csv
import io
import json
import struct
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from linegroup.errors import UserError
from linegroup.images import decode, encode_png
from linegroup.masks import encode
from linegroup.sources.coco import read_coco
from linegroup.sources.coco_masks import characters
from linegroup.sources.wpd import read_wpd
from linegroup.vectors.calibration import calibrate
from linegroup.vectors.export import EXPORTERS, ExportOptions, Picture, choose_exporters
from linegroup.vectors.records import document_of
from linegroup.vectors.sampling import parse_sampling, with_series
from linegroup.wire import (
    AxisPoint,
    AxisRecord,
    CalibrationRecord,
    Colour,
    ImageRecord,
    LineRecord,
    LinesDocument,
    MaskRecord,
    ModelRecord,
    from_json,
)

SIZE = (60, 90)
IMAGE = encode_png(np.full((*SIZE, 3), 255, np.uint8))


def drawn(points, size=SIZE):
    mask = np.zeros(size, np.uint8)
    cv2.polylines(mask, [np.rint(np.repeat(points, 2, axis=0)).astype(np.int32)], False, 1, 2)
    return mask > 0


def line(number, *parts, closed=False, mask=True, **changes):
    points = [point for part in parts for point in part]
    ink = drawn(np.array(points))
    values = {
        "id": number,
        "score": 0.5,
        "pixel_count": int(ink.sum()),
        "bbox": (1, 2, 3, 4),
        "colour": Colour.of(200, 10 * number, 0),
        "polyline": tuple(points),
        "parts": tuple(np.cumsum([0, *map(len, parts)])[:-1].tolist()),
        "closed": closed,
        "thickness": 2.5,
        "mask": MaskRecord(size=SIZE, counts=characters(encode(ink), SIZE)) if mask else None,
    }
    return LineRecord(**{**values, **changes})


LINES = (
    line(1, [(5.25, 50.0), (30.5, 10.75), (80.0, 20.0)]),
    line(2, [(5.0, 5.0), (20.0, 8.0)], [(40.0, 30.0), (70.0, 40.0)]),
    line(3, [(50.0, 30.0), (60.0, 30.0), (55.0, 45.0)], closed=True),
    line(4, [(85.0, 55.0)], thickness=None),
)


def document(lines=LINES, name="Ä & <chart>.png", **changes):
    values = {
        "image": ImageRecord(name=name, width=SIZE[1], height=SIZE[0]),
        "lines": lines,
        "parameters": {},
        "model": ModelRecord(name="m", version="1"),
        "timings_ms": {},
    }
    return LinesDocument(**{**values, **changes})


def axes(x="linear", y="linear"):
    values = {"linear": (0, 10), "log10": (1, 100), "ln": (1, 100), "date": ("2024-01-01", "2024-01-11")}

    def axis(scale, first, last):
        low, high = values[scale]
        return AxisRecord(scale=scale, points=(AxisPoint(pixel=first, value=low), AxisPoint(pixel=last, value=high)))

    return CalibrationRecord(x=axis(x, (5, 50), (85, 50)), y=axis(y, (5, 50), (5, 10)))


def written(name, doc=None, image=IMAGE, **options):
    return EXPORTERS[name].write([Picture(doc or document(), image)], ExportOptions(**options))


@pytest.mark.parametrize("name", EXPORTERS)
def test_no_lines(name):
    assert written(name, document(()))


def test_json_is_the_document():
    assert from_json(written("json")) == document()


def test_coco_is_read_back(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(IMAGE)
    made = document(name="a.png")
    (tmp_path / "a.json").write_bytes(EXPORTERS["coco"].write([Picture(made)], ExportOptions()))
    (found,), rejects = read_coco(tmp_path / "a.json", tmp_path / "images")
    assert not rejects
    assert [len(one.xy) for one in found.instances] == [3, 4, 3, 2]
    for one, record in zip(found.instances[:3], LINES, strict=False):
        np.testing.assert_allclose(one.xy, record.polyline, atol=1e-4)
        assert (one.parts, one.closed) == (record.parts, record.closed)
        assert characters(one.runs, SIZE) == record.mask.counts
        assert one.thickness == record.thickness


def test_coco_of_several_pictures_is_one_file(tmp_path):
    content = EXPORTERS["coco"].write(
        [Picture(document(name="a.png")), Picture(document(name="b.png"))], ExportOptions()
    )
    tree = json.loads(content)
    assert [image["file_name"] for image in tree["images"]] == ["a.png", "b.png"]
    ids = [annotation["id"] for annotation in tree["annotations"]]
    assert len(ids) == len(set(ids)) == 8


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_csv_in_pixels():
    found = rows(written("csv"))
    assert len(found) == 3 + 4 + 3 + 1
    assert (float(found[0]["x"]), float(found[0]["y"]), found[0]["extrapolated"]) == (5.25, 50, "")
    assert [row["part"] for row in found if row["line"] == "2"] == ["0", "0", "1", "1"]


def test_csv_in_values_marks_what_lies_beyond():
    doc = with_series(document(), calibrate(axes("date", "log10")))
    found = rows(written("csv", doc))
    assert found[-1]["x"] == "2024-01-11T00:00:00Z"
    assert found[-1]["extrapolated"] == "true"  # below the calibrated range of y
    assert found[1]["extrapolated"] == "false"
    assert 1 < float(found[1]["y"]) < 100


@pytest.mark.parametrize("name", ["csv", "csv_wide", "parquet"])
def test_a_line_that_was_not_read_has_no_rows(name):
    """The step hits none of the points of the second; its pixels are no values."""
    lines = (line(1, [(5.25, 50.0), (80.0, 20.0)]), line(2, [(22.0, 40.0), (27.0, 38.0)]))
    doc = with_series(document(lines), calibrate(axes()), parse_sampling("step=1"))
    assert [one.series is None for one in doc.lines] == [False, True]
    if name == "parquet":
        assert set(pq.read_table(io.BytesIO(written(name, doc))).column("line").to_pylist()) == {1}
        return
    found = rows(written(name, doc))
    assert max(float(row["x"]) for row in found) < 10
    assert {row["line_2"] if name == "csv_wide" else row["line"] for row in found} == {
        "" if name == "csv_wide" else "1"
    }


def test_wide_csv_has_no_values_between_parts_nor_beyond_ends():
    lines = (LINES[0], line(2, [(5.0, 15.0), (20.0, 18.0)], [(40.0, 30.0), (70.0, 40.0)]))
    doc = with_series(document(lines), calibrate(axes()), parse_sampling("step=0.5"))
    found = rows(written("csv_wide", doc))
    at = {float(row["x"]): row for row in found}
    assert at[1.0]["line_2"] != ""
    assert at[3.0]["line_2"] == ""
    assert at[5.0]["line_2"] != ""
    assert at[9.0]["line_1"] != ""
    assert at[9.0]["line_2"] == ""
    np.testing.assert_allclose(float(at[1.0]["line_1"]), (50 - (50 - (13 - 5.25) / 25.25 * 39.25)) / 4, atol=1e-9)


def test_wide_csv_has_one_row_for_each_x():
    """Lines read at the same steps meet in the same rows, whatever the rounding."""
    lines = (line(1, [(5.25, 50.0), (80.0, 20.0)]), line(2, [(7.5, 15.0), (77.7, 18.0)]))
    doc = with_series(document(lines), calibrate(axes()), parse_sampling("step=0.1"))
    found = rows(written("csv_wide", doc))
    assert len({row["x"] for row in found}) == len(found)
    both = [row for row in found if row["line_1"] and row["line_2"]]
    assert len(both) == 87


def test_wide_csv_where_a_line_turns_back():
    """The longest run in x stands, of equal ones the first; `csv` has both."""
    lines = (
        line(1, [(10.0, 30.0), (70.0, 30.0), (30.0, 50.0)]),
        line(2, [(20.0, 40.0), (40.0, 20.0), (60.0, 40.0), (40.0, 55.0)], closed=True),
    )
    found = rows(written("csv_wide", document(lines)))
    assert {row["line_1"] for row in found if row["line_1"]} == {"30"}
    assert [(row["x"], row["line_2"]) for row in found if row["line_2"]][1::2] == [("30", "30"), ("60", "40")]


def test_wide_csv_is_straight_on_logarithmic_axes():
    lines = (line(1, [(5.0, 50.0), (85.0, 10.0)]), line(2, [(45.0, 50.0)]))
    found = rows(written("csv_wide", with_series(document(lines), calibrate(axes("log10", "log10")))))
    assert [(float(row["x"]), float(row["line_1"])) for row in found] == [(1, 1), (10, 10), (100, 100)]


def test_wide_csv_is_empty_beyond_the_calibrated_points():
    """x is calibrated from pixel 5 to 85 for 0 to 10, y from 50 to 10 for 0 to 10; a line from outside to outside."""
    lines = (line(1, [(1.0, 30.0), (89.0, 30.0)]), line(2, [(5.0, 50.0), (85.0, 0.0)]))
    doc = with_series(document(lines), calibrate(axes()), parse_sampling("step=0.25"))
    found = rows(written("csv_wide", doc))
    assert [float(row["x"]) for row in found if not row["line_1"]] == [-0.5, -0.25, 10.25, 10.5]
    beyond = {
        float(row["x"]) for row in rows(written("csv", doc)) if (row["line"], row["extrapolated"]) == ("2", "true")
    }
    assert beyond == {float(row["x"]) for row in found if not row["line_2"] and 0 <= float(row["x"]) <= 10}
    assert beyond == {8.25 + k / 4 for k in range(8)}


def test_wide_csv_between_points_that_lie_beyond():
    """Both ends of the first are extrapolated, and what lies between them at the points of the second is not."""
    lines = (line(1, [(1.0, 30.0), (89.0, 30.0)]), line(2, [(45.0, 50.0), (55.0, 40.0)]))
    found = rows(written("csv_wide", with_series(document(lines), calibrate(axes()))))
    assert [row["line_1"] for row in found] == ["", "5", "5", ""]


def test_parquet_has_the_rows_of_the_csv():
    doc = with_series(document(), calibrate(axes("date")))
    table = pq.read_table(io.BytesIO(written("parquet", doc)))
    assert str(table.schema.field("x").type) == "timestamp[ms, tz=UTC]"
    assert table.num_rows == len(rows(written("csv", doc)))
    assert table.column("extrapolated").to_pylist()[-1] is True
    plain = pq.read_table(io.BytesIO(written("parquet")))
    assert plain.column("x").to_pylist()[:2] == [5.25, 30.5]
    assert plain.column("extrapolated").null_count == plain.num_rows


def parquet_of(*documents):
    return EXPORTERS["parquet"].write([Picture(one) for one in documents], ExportOptions())


def test_parquet_of_documents_that_do_not_agree():
    plain, numbers, dates = (document(name=f"{name}.png") for name in ("plain", "numbers", "dates"))
    numbers = with_series(numbers, calibrate(axes("log10")))
    dates = with_series(dates, calibrate(axes("date")))
    with pytest.raises(UserError, match=r"^numbers.png has values and plain.png pixels"):
        parquet_of(plain, numbers)
    with pytest.raises(UserError, match=r"^x is a date in dates.png and a number in numbers.png"):
        parquet_of(numbers, dates)
    other = with_series(document(name="other.png"), calibrate(axes("linear")))
    assert pq.read_table(io.BytesIO(parquet_of(numbers, other))).num_rows == 2 * len(rows(written("csv", other)))


@pytest.mark.parametrize("name", ["csv", "csv_wide", "parquet"])
@pytest.mark.parametrize("x", [1e12, 1e200])
def test_dates_beyond_all_calendars(name, x):
    doc = with_series(document(LINES[:1]), calibrate(axes("date")))
    series = doc.lines[0].series.model_copy(update={"x": (0.0, 1.0, x)})
    doc = doc.model_copy(update={"lines": (doc.lines[0].model_copy(update={"series": series}),)})
    with pytest.raises(UserError, match="years 1 to 9999"):
        written(name, doc)


def test_svg_has_a_path_for_each_line():
    root = ET.fromstring(written("svg", embed=True))
    space = "{http://www.w3.org/2000/svg}"
    paths = root.findall(f".//{space}path")
    assert [path.get("stroke") for path in paths] == [one.colour.hex for one in LINES]
    for path, record in zip(paths, LINES, strict=True):
        found = [
            [[float(v) for v in point.split()] for point in part.rstrip(" Z").split(" L")]
            for part in path.get("d").lstrip("M").split(" M")
        ]
        assert path.get("d").endswith("Z") == record.closed
        for part, curve in zip(found, record.curves, strict=True):
            np.testing.assert_allclose(np.array(part)[: len(curve)] - 0.5, curve, atol=0.01)
    assert root.find(f"{space}title").text == "Ä & <chart>.png"
    data = root.find(f"{space}image").get("href")
    assert base64.b64decode(data.split(",")[1]) == IMAGE


def test_svg_needs_the_picture_only_to_embed_it():
    assert b"<image" not in written("svg", image=None)
    with pytest.raises(UserError, match="--images"):
        written("svg", image=None, embed=True)


def big_endian_tiff(pixels):
    """One strip of RGB; OpenCV and Pillow write the other kind."""
    height, width, _ = pixels.shape
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 8), (277, 3), (278, height)]
    tags = [*tags, (279, pixels.size), (284, 1)]
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack(">2sHI", b"MM", 42, 8 + pixels.size)
    return head + pixels.tobytes() + struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0)


KINDS = {
    b"MM\0*": big_endian_tiff,
    b"II*\0": lambda pixels: cv2.imencode(".tiff", pixels[..., ::-1])[1].tobytes(),
    b"BM": lambda pixels: cv2.imencode(".bmp", pixels[..., ::-1])[1].tobytes(),
}


@pytest.mark.parametrize("start", KINDS)
def test_pictures_that_few_show_are_put_in_as_png(start):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    image = KINDS[start](pixels)
    assert image.startswith(start)
    href = ET.fromstring(written("svg", image=image, embed=True))[1].get("href")
    assert href.startswith("data:image/png;base64,")
    files = files_of(written("wpd", image=image))
    for found in (base64.b64decode(href.split(",")[1]), files["image.png"]):
        assert found.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode(found).pixels, pixels)


def files_of(project):
    """Those of a tar archive, without their folders."""
    with tarfile.open(fileobj=io.BytesIO(project)) as archive:
        return {Path(name).name: archive.extractfile(name).read() for name in archive.getnames()}


def test_geojson_through_a_world_file_and_back():
    world = (0.5, 0.1, 0.05, -0.4, 1000.0, 2000.0)
    a, d, b, e, c, f = world
    back = np.linalg.inv(np.array([[a, b], [d, e]]))
    features = json.loads(written("geojson", world=world))["features"]
    assert [feature["geometry"]["type"] for feature in features] == [
        "LineString",
        "MultiLineString",
        "Polygon",
        "Point",
    ]
    placed = np.array(features[0]["geometry"]["coordinates"])
    np.testing.assert_allclose((placed - (c, f)) @ back.T, LINES[0].polyline, atol=1e-9)
    ring = np.array(features[2]["geometry"]["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    assert np.sum(ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]) > 0
    upright = json.loads(written("geojson"))["features"][3]["geometry"]["coordinates"]
    assert upright == [85.5, SIZE[0] - 55.5]


def test_labelme():
    tree = json.loads(written("labelme", embed=True))
    assert {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"} <= set(tree)
    assert [shape["shape_type"] for shape in tree["shapes"]] == [
        "linestrip",
        "linestrip",
        "linestrip",
        "polygon",
        "point",
    ]
    assert [shape["group_id"] for shape in tree["shapes"]] == [1, 2, 2, 3, 4]
    assert base64.b64decode(tree["imageData"]) == IMAGE
    plain = json.loads(written("labelme"))
    assert (plain["imageData"], plain["imagePath"]) == (None, "Ä & <chart>.png")
    elsewhere = EXPORTERS["labelme"].write([Picture(document(), IMAGE, "../a.png")], ExportOptions())
    assert json.loads(elsewhere)["imagePath"] == "../a.png"
    with pytest.raises(UserError, match="--images"):
        written("labelme", image=None, embed=True)


def test_label_png_is_the_masks():
    labels = cv2.imdecode(np.frombuffer(written("label_png"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}


def test_label_png_draws_what_has_no_mask():
    """By the drawing rule, in the line's thickness or the usual one; masks stay as they are."""
    lines = (
        line(1, [(5.0, 30.0), (80.0, 30.0)], mask=False, thickness=3.0),
        line(2, [(40.0, 10.0), (40.0, 25.0)], mask=False, thickness=None),
        LINES[3].model_copy(update={"id": 3}),
    )
    labels = cv2.imdecode(np.frombuffer(written("label_png", document(lines)), np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels[:, 30].nonzero()[0].tolist() == [29, 30, 31]
    assert set(labels[12:24, 40]) == {2}
    np.testing.assert_array_equal(labels == 3, drawn(np.array([(85.0, 55.0)])))


@pytest.mark.parametrize(("name", "mask"), [("label_png", None), ("label_png", "01"), ("coco", "01")])
def test_pictures_too_large_to_be_drawn(name, mask):
    image = ImageRecord(name="a.png", width=10**7, height=10**7)
    one = line(1, [(1.0, 1.0), (9.0, 9.0)], mask=False)
    if mask:
        one = one.model_copy(update={"mask": MaskRecord(size=(10**7, 10**7), counts=mask)})
    with pytest.raises(UserError, match="10000000 × 10000000 pixels"):
        written(name, document((one,), image=image))


def test_ids_beyond_16_bits():
    with pytest.raises(UserError, match="Line 70000 has no label"):
        written("label_png", document((LINES[0].model_copy(update={"id": 70_000}),)))


@pytest.mark.parametrize("scales", [("linear", "linear"), ("log10", "linear"), ("date", "log10"), ("linear", "ln")])
def test_wpd_there_and_back(tmp_path, scales):
    record = axes(*scales)
    path = tmp_path / "chart.tar"
    path.write_bytes(written("wpd", with_series(document(), calibrate(record))))
    with tarfile.open(path) as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert names == {"info.json", "wpd.json", "image.png"}
    project = read_wpd(path)
    for one, record_of_line in zip(project.sample.instances, LINES, strict=False):
        np.testing.assert_allclose(one.xy, record_of_line.polyline, atol=1e-4)
        assert (one.parts, one.closed) == (record_of_line.parts, record_of_line.closed)
    assert [one.meta["name"] for one in project.sample.instances] == ["line 1", "line 2", "line 3"]
    places = np.array([[20.0, 30.0], [60.0, 12.0]])
    np.testing.assert_allclose(calibrate(project.calibration).values(places), calibrate(record).values(places))
    again = document_of(project.sample, project.calibration)
    assert again.lines[0].name == "line 1"
    assert again.image.name == "chart.png"


def axis_of(*points, scale="linear"):
    return AxisRecord(scale=scale, points=tuple(AxisPoint(pixel=pixel, value=value) for pixel, value in points))


def calibrated_again(tmp_path, x, y=None, **changes):
    """Calibration points of a project, which calibrate it as they should."""
    record = CalibrationRecord(x=x, y=y or axes().y, **changes)
    path = tmp_path / "a.tar"
    path.write_bytes(written("wpd", document(calibration=record)))
    places = np.array([[20.0, 30.0], [60.0, 12.0], [300.0, -40.0]])
    found = calibrate(read_wpd(path).calibration).values(places)
    np.testing.assert_allclose(found, calibrate(record).values(places), rtol=1e-12, atol=1e-6)
    return json.loads(files_of(path.read_bytes())["wpd.json"])["axesColl"][0]["calibrationPoints"]


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2024-01-01T06:30:00", "2024-01-01T18:00:00", ["2024/01/01 06:30:00", "2024/01/01 18:00:00"]),
        ("2024-01-01T06:30:00+02:00", "2024-01-02", ["2024/01/01 04:30:00", "2024/01/02 00:00:00"]),
        ("20240101", "20240111", ["2024/01/01 00:00:00", "2024/01/11 00:00:00"]),
        ("2024-01-01T00:00:00.25", "2024-01-01T00:00:00.75", ["2024/01/01 00:00:00", "2024/01/01 00:00:01"]),
    ],
)
def test_wpd_dates_with_time_and_zone(tmp_path, first, last, said):
    points = calibrated_again(tmp_path, axis_of(((5, 50), first), ((85, 50), last), scale="date"))
    assert [point["dx"] for point in points[:2]] == said


@pytest.mark.parametrize(
    "points",
    [
        [((5, 50), 0), ((85, 50), 10), ((5, 50), 0)],
        [((5, 50), 0), ((45, 51), 6), ((85, 50), 10), ((65, 49), 7)],
        [((85, 50), 10), ((5, 50), 0)],
    ],
    ids=["coincide", "fitted", "reversed"],
)
def test_wpd_axes_as_they_were_fitted(tmp_path, points):
    found = calibrated_again(tmp_path, axis_of(*points))
    assert abs(found[0]["px"] - found[1]["px"]) > 40
    assert [point["dx"] for point in found] == ["0", "10", "0", "0"]


def test_wpd_axes_turned_and_upright(tmp_path):
    turned = axis_of(((5, 50), 0), ((85, 40), 10))
    calibrated_again(tmp_path, turned, axis_of(((5, 50), 1), ((15, 5), 1000), scale="ln"))
    calibrated_again(tmp_path, turned, axis_of(((5, 50), 0), ((80, 5), 3)), upright=True)


def test_datasets_of_other_axes_are_left_out(tmp_path):
    points = [{"px": px, "py": py, "dx": dx, "dy": dy} for px, py, dx, dy in [(5, 50, 0, 0), (85, 50, 9, 0)] * 2]
    points[3] |= {"px": 5, "py": 10, "dy": 4}
    xy = [{"name": name, "type": "XYAxes", "calibrationPoints": points} for name in "XY"]
    data = [{"x": 5, "y": 5}, {"x": 60, "y": 9}]
    datasets = [{"name": f"of {name}", "axesName": name, "data": data} for name in ("Bars", "X", "Y")]
    datasets.append({"name": "of none", "data": data})
    tree = {"axesColl": [{"name": "Bars", "type": "BarAxes"}, *xy], "datasetColl": datasets}
    tar_of(tmp_path / "a.tar", {"a/wpd.json": json.dumps(tree).encode(), "a/image.png": IMAGE})
    project = read_wpd(tmp_path / "a.tar")
    assert [one.meta["name"] for one in project.sample.instances] == ["of X", "of none"]
    assert project.left_out == tuple(
        f"dataset 'of {name}' has the axes {name!r}; only those of 'X', the first XY axes, are read."
        for name in ("Bars", "Y")
    )


def test_datasets_called_as_parts_of_one_line(tmp_path):
    names = ["a (part 1)", "a (part 2)", "a (part 1)", "b (part 2)", "c (part 1)", "c (part 3)"]
    datasets = [{"name": name, "data": [{"x": 5, "y": k}, {"x": 60, "y": k}]} for k, name in enumerate(names)]
    tar_of(tmp_path / "a.tar", {"a/wpd.json": json.dumps({"datasetColl": datasets}).encode(), "a/image.png": IMAGE})
    found = read_wpd(tmp_path / "a.tar").sample.instances
    assert [one.meta["name"] for one in found] == ["a", *names[2:]]
    assert [one.parts for one in found] == [(0, 2), *[(0,)] * 4]


def test_names_and_colours_of_a_project_are_kept(tmp_path):
    data = [[{"x": 5, "y": 5 + y}, {"x": 60, "y": 9 + y}] for y in (0, 10, 20)]
    datasets = [
        {"name": "A & B", "colorRGB": [200, 0, 16, 255], "data": data[0]},
        {"name": "same", "colorRGB": None, "data": data[1]},
        {"name": "same", "colorRGB": [0, 300, 0], "data": data[2]},
    ]
    tar_of(tmp_path / "a.tar", {"a/wpd.json": json.dumps({"datasetColl": datasets}).encode(), "a/image.png": IMAGE})
    made = document_of(read_wpd(tmp_path / "a.tar").sample)
    assert [line.colour.hex for line in made.lines] == ["#c80010", "#000000", "#000000"]
    assert written("csv_wide", made).splitlines()[0] == b"x,A & B,line_2,line_3"
    assert b'stroke="#c80010"' in written("svg", made)
    assert b"<title>A &amp; B</title>" in written("svg", made)
    assert json.loads(written("geojson", made))["features"][0]["properties"]["name"] == "A & B"
    assert [shape["label"] for shape in json.loads(written("labelme", made))["shapes"]] == ["A & B", "same", "same"]
    assert [a["name"] for a in json.loads(written("coco", made))["annotations"]] == ["A & B", "same", "same"]


def test_wpd_has_no_dates_as_numbers():
    """Documents of other programs may have them; calibration files may not."""
    moments = AxisRecord(scale="date", points=tuple(AxisPoint(pixel=(x, 9), value=x) for x in (0, 50)))
    made = document().model_copy(update={"calibration": CalibrationRecord(x=moments, y=axes("linear", "linear").y)})
    with pytest.raises(UserError, match="dates of the x axis must be given as text"):
        written("wpd", made)


def test_wpd_without_axes_and_picture(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(written("wpd"))
    assert read_wpd(path).calibration is None
    with pytest.raises(UserError, match="--images"):
        written("wpd", image=None)


OLD = {
    "wpd": {
        "version": [3, 8],
        "axesType": "XYAxes",
        "axesParameters": {"isLogX": True, "isLogY": False},
        "calibration": [
            {"px": 5.5, "py": 50.5, "dx": "1", "dy": "0"},
            {"px": 85.5, "py": 50.5, "dx": "100", "dy": "0"},
            {"px": 5.5, "py": 50.5, "dx": "0", "dy": "0"},
            {"px": 5.5, "py": 10.5, "dx": "0", "dy": "10"},
        ],
        "dataSeries": [{"name": "a", "data": [{"x": 5.5, "y": 50.5, "value": [1, 0]}, {"x": 85.5, "y": 10.5}]}],
    }
}


def test_projects_of_version_3_in_a_zip_and_bare(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("wpd.json", json.dumps(OLD))
        archive.writestr("image.png", IMAGE)
    (tmp_path / "b.json").write_text(json.dumps(OLD))
    (tmp_path / "b.png").write_bytes(IMAGE)
    for name in ("a.zip", "b.json"):
        project = read_wpd(tmp_path / name)
        assert project.sample.instances[0].xy.tolist() == [[5, 50], [85, 10]]
        np.testing.assert_allclose(calibrate(project.calibration).values(np.array([[45.0, 30]])), [[10, 5]])


def tar_of(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({}, "no WebPlotDigitizer project"),
        ({"x/wpd.json": b"{}"}, "no WebPlotDigitizer project"),
        ({"x/wpd.json": b"[" * 100_000}, "no WebPlotDigitizer project"),
        ({"x/wpd.json": b'{"datasetColl": []}'}, "no picture"),
        ({"x/wpd.json": b'{"datasetColl": []}', "x/a.png": b"no"}, "picture"),
        ({"x/wpd.json": b'{"datasetColl": 3}', "x/a.png": IMAGE}, "understood"),
        ({"x/wpd.json": b'{"datasetColl": [{"data": [{"x": 1e300, "y": 1}]}]}', "x/a.png": IMAGE}, "no picture has"),
        ({"x/wpd.json": b'{"datasetColl": [{"data": [{"x": "a"}]}]}', "x/a.png": IMAGE}, "understood"),
        ({"x/wpd.json": b'{"datasetColl": []}', "x/a.png": IMAGE, "x/b.png": IMAGE}, "2 pictures"),
    ],
)
def test_damaged_projects(tmp_path, files, word):
    tar_of(tmp_path / "a.tar", files)
    with pytest.raises(UserError, match=word):
        read_wpd(tmp_path / "a.tar")


def test_no_project_at_all(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"\0" * 100)
    for name in ("a.tar", "none.tar"):
        with pytest.raises(UserError, match="project"):
            read_wpd(tmp_path / name)


def test_nothing_is_unpacked(tmp_path):
    project = json.dumps({"datasetColl": []}).encode()
    tar_of(tmp_path / "a.tar", {"../../evil.png": IMAGE, "/abs/wpd.json": project})
    assert read_wpd(tmp_path / "a.tar").sample.name == "a.png"
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_names_of_formats():
    assert [exporter.name for exporter in choose_exporters("svg, csv,svg")] == ["svg", "csv"]
    with pytest.raises(UserError, match="geojson"):
        choose_exporters("geojsn")
    with pytest.raises(UserError, match="at least one"):
        choose_exporters(",")
    assert len({exporter.suffix for exporter in EXPORTERS.values()}) == len(EXPORTERS)
