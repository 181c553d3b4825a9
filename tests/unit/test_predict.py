"""Predictor, its files, and where it comes from."""

import errno
import io
import json
import os

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import linegroup.predict
from linegroup import __version__
from linegroup.config import Config, DataConfig, GroupingConfig, ModelConfig
from linegroup.errors import UserError
from linegroup.images import ImageError
from linegroup.model import LineModel
from linegroup.pictures import overlay
from linegroup.predict import Predictor, change_grouping, is_done, write_prediction
from linegroup.testing import draw_sample, parallel_lines, unpng
from linegroup.training import registry
from linegroup.training.artifact import save_artifact
from linegroup.wire import from_json

COLOUR = GroupingConfig(method="colour", candidates="non_white", white_threshold=80)
"""Dark cores only: to colour clustering the pale rims of antialiased lines are lines of their own."""

TINY = Config(model=ModelConfig(width=4, depth=1, emb_dim=3), data=DataConfig(category="line", thickness=3))


def three_lines():
    return unpng(parallel_lines(3).image)


@pytest.fixture
def predictor():
    return Predictor.without_model(COLOUR)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    torch.manual_seed(0)
    grouping = GroupingConfig(candidates="non_white", eps=0.25)
    folder = tmp_path_factory.mktemp("models") / "artifact"
    save_artifact(folder, LineModel(TINY.model), TINY, grouping, {"val_ari": 0.5}, "v7")
    return folder


def test_three_lines_are_three(predictor):
    prediction = predictor(three_lines())
    assert prediction.labels.dtype == np.uint16
    assert prediction.labels.shape == (48, 64)
    assert [line.id for line in prediction.lines] == [1, 2, 3]
    for line, y in zip(prediction.lines, (12, 24, 36), strict=True):
        assert np.abs(np.array(line.polyline)[:, 1] - y).max() < 1
        assert np.ptp([x for x, _ in line.polyline]) > 50


def test_lines_say_what_the_label_image_shows(predictor):
    pixels = three_lines()
    prediction = predictor(pixels)
    for line in prediction.lines:
        ys, xs = np.nonzero(prediction.labels == line.id)
        x, y, width, height = line.bbox
        assert line.pixel_count == len(xs)
        assert (x, y, x + width - 1, y + height - 1) == (xs.min(), ys.min(), xs.max(), ys.max())
        assert line.colour.rgb == tuple(int(v) for v in np.rint(pixels[ys, xs].mean(axis=0)))
        assert line.colour.hex == "#" + bytes(line.colour.rgb).hex()


def test_files(predictor, tmp_path):
    path = tmp_path / "chart.png"
    path.write_bytes(parallel_lines(3).image)
    prediction = predictor.predict_file(path)
    files = write_prediction(prediction, tmp_path / "out", "chart")
    assert {kind: file.name for kind, file in files.items()} == {
        "labels": "chart.labels.png",
        "overlay": "chart.overlay.png",
        "json": "chart.json",
    }
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == sorted(f.name for f in files.values())
    labels = cv2.imread(str(files["labels"]), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, prediction.labels)
    assert cv2.imread(str(files["overlay"])).shape == (48, 64, 3)
    document = from_json(files["json"].read_bytes())
    assert document == prediction.document
    assert document.image.name == "chart.png"
    assert document.parameters == COLOUR.model_dump(mode="json")
    assert (document.model.name, document.model.version) == ("colour", __version__)
    assert set(document.timings_ms) == {"decode", "embed", "group", "trace"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_results_are_upright_whatever_the_file_says(predictor, tmp_path, orientation):
    """A tall picture with one red line at its left edge, stored turned and flipped in all eight ways."""
    upright = np.full((60, 40, 3), 255, np.uint8)
    upright[5:55, 4:7] = (200, 0, 0)
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    stored.save(stream, "PNG", exif=exif)
    (tmp_path / "photo.png").write_bytes(stream.getvalue())
    prediction = predictor.predict_file(tmp_path / "photo.png")
    image = prediction.document.image
    assert (image.width, image.height, image.orientation_applied) == (40, 60, orientation)
    assert np.array_equal(prediction.labels == 1, (upright != 255).any(axis=2))
    assert prediction.lines[0].bbox == (4, 5, 3, 50)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (5, 3)])
def test_empty_pictures_have_no_lines(predictor, tmp_path, size):
    prediction = predictor(np.full((*size, 3), 255, np.uint8))
    assert prediction.lines == ()
    assert prediction.labels.shape == size
    files = write_prediction(prediction, tmp_path, "empty")
    assert from_json(files["json"].read_bytes()).lines == ()


def test_one_pixel_is_a_line_of_one_point():
    pixels = np.full((9, 9, 3), 255, np.uint8)
    pixels[4, 6] = 0
    predictor = Predictor.without_model(COLOUR.model_copy(update={"min_pixels": 1}))
    (line,) = predictor(pixels).lines
    assert (line.bbox, line.pixel_count, line.polyline) == ((6, 4, 1, 1), 1, ((6.0, 4.0),))


def test_more_lines_than_numbers_are_refused():
    pixels = np.full((520, 520, 3), 255, np.uint8)
    pixels[::2, ::2] = 0
    config = GroupingConfig(method="components", candidates="non_white", min_pixels=1)
    with pytest.raises(UserError, match="min_pixels"):
        Predictor.without_model(config)(pixels)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")],
)
def test_other_arrays_are_refused(predictor, pixels):
    with pytest.raises(UserError, match="uint8"):
        predictor(pixels)


def test_bytes_and_file_agree(predictor, tmp_path):
    content = parallel_lines(2).image
    (tmp_path / "a.png").write_bytes(content)
    assert predictor.predict_bytes(content, "a.png").lines == predictor.predict_file(tmp_path / "a.png").lines
    with pytest.raises(ImageError):
        predictor.predict_bytes(b"no picture")


def test_file_names_that_are_no_text(predictor, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff<img>.png")
    path.write_bytes(parallel_lines(1).image)
    prediction = predictor.predict_file(path)
    files = write_prediction(prediction, tmp_path, path.stem)
    assert json.loads(files["json"].read_text(encoding="utf-8"))["image"]["name"] == "\ufffd<img>.png"


def test_names_too_long_are_the_callers_mistake(predictor, tmp_path):
    with pytest.raises(UserError, match="too long"):
        write_prediction(predictor(three_lines()), tmp_path, "x" * 250)


def test_the_document_comes_last(predictor, tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    path = tmp_path / "a.png"
    path.write_bytes(parallel_lines(1).image)
    prediction = predictor.predict_file(path)
    monkeypatch.setattr(linegroup.predict, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_prediction(prediction, tmp_path, "a")
    assert (tmp_path / "a.labels.png").exists()
    assert not is_done(predictor, path, tmp_path, "a")


def test_what_is_done(predictor, tmp_path):
    path, document = tmp_path / "a.png", tmp_path / "a.json"
    path.write_bytes(parallel_lines(1).image)
    assert not is_done(predictor, path, tmp_path, "a")
    write_prediction(predictor.predict_file(path), tmp_path, "a")
    assert is_done(predictor, path, tmp_path, "a")
    other = Predictor.without_model(COLOUR.model_copy(update={"min_pixels": 11}))
    assert not is_done(other, path, tmp_path, "a")
    assert not is_done(Predictor(None, COLOUR, "other", "colour"), path, tmp_path, "a")
    later = document.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(later, later))
    assert not is_done(predictor, path, tmp_path, "a")
    os.utime(path, ns=(0, 0))
    document.write_text(document.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    assert not is_done(predictor, path, tmp_path, "a")


def test_without_a_model_the_grouper_link():
    predictor = Predictor.load("none", overrides=["grouping.min_pixels=3"])
    assert predictor.model is None
    assert predictor.name == predictor.grouping.method == linegroup.predict.WITHOUT_MODEL.method
    assert predictor.grouping.min_pixels == 3
    x = np.linspace(20, 380, 200)
    waves = [np.stack([x, middle + 25 * np.sin(x / 30)], axis=1) for middle in (60, 150, 240)]
    labels = predictor(unpng(draw_sample(waves, (300, 400)).image)).labels
    on_lines = [round(middle + 25 * np.sin(200 / 30)) for middle in (60, 150, 240)]
    assert len({0, *labels[on_lines, 200].tolist()}) == 4


def test_the_packaged_model_is_the_default(monkeypatch, artifact):
    monkeypatch.setattr(registry, "PRETRAINED_FOLDER", artifact)
    monkeypatch.setattr(linegroup.predict, "PRETRAINED_FOLDER", artifact)
    assert Predictor.load(device="cpu").version == Predictor.load("pretrained", "cpu").version == "v7"


def test_a_model_and_its_own_settings(artifact):
    predictor = Predictor.load(str(artifact), "cpu", ["grouping.min_samples=5"])
    assert isinstance(predictor.model, LineModel)
    assert predictor.record.model_dump() == {"name": "linegroup", "version": "v7"}
    assert predictor.grouping == GroupingConfig(candidates="non_white", eps=0.25, min_samples=5)
    assert predictor.data == TINY.data
    pixels = three_lines()
    first, second = predictor(pixels), predictor(pixels)
    assert np.array_equal(first.labels, second.labels)
    xs, ys = first.field.positions.T
    maps = predictor.model.maps(pixels, where=first.field.mask)
    assert np.array_equal(first.field.features, maps.embedding[:, ys, xs].T)


def test_no_such_model(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        Predictor.load(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("grouping.epps=1", "grouping.eps"),
        ("grouping.eps=-1", "eps"),
        ("training.lr=1", "training"),
        ("eps", "dotted.key=value"),
    ],
)
def test_settings_that_cannot_be(override, word):
    with pytest.raises(UserError, match=word):
        change_grouping(COLOUR, [override])


def test_settings_that_are_not_named_stay():
    changed = change_grouping(COLOUR, ["grouping.noise=drop", "grouping.eps=0.4"])
    assert changed == COLOUR.model_copy(update={"noise": "drop", "eps": 0.4})
    assert change_grouping(COLOUR, []) == COLOUR


def test_no_such_device(artifact):
    with pytest.raises(UserError, match="'gpu'"):
        Predictor.load(str(artifact), "gpu")


def test_unknown_method_names_the_nearest():
    predictor = Predictor.without_model(COLOUR.model_copy(update={"method": "color"}))
    with pytest.raises(UserError, match="'colour'"):
        predictor(three_lines())


def test_a_long_line_keeps_its_order(predictor):
    x = np.linspace(10, 590, 300)
    sample = draw_sample([np.stack([x, 100 + 60 * np.sin(x / 40)], axis=1)], (200, 600))
    (line,) = predictor(unpng(sample.image)).lines
    xs = np.array(line.polyline)[:, 0]
    assert np.abs(np.diff(xs)).sum() < 1.1 * np.ptp(xs)
    assert xs.min() < 15
    assert xs.max() > 585


def test_paths_may_be_text(predictor, tmp_path):
    path = tmp_path / "chart.png"
    path.write_bytes(parallel_lines(3).image)
    prediction = predictor.predict_file(str(path))
    assert (prediction.groups.count, prediction.image.name) == (3, "chart.png")


def test_the_overlay_file_has_numbers(predictor, tmp_path):
    prediction = predictor(three_lines())
    shown = unpng(write_prediction(prediction, tmp_path, "chart")["overlay"].read_bytes())
    plain = overlay(prediction.pixels, prediction.labels)
    assert shown.shape == plain.shape
    assert (shown != plain).any()


@pytest.mark.parametrize("override", ["grouping.method=dbscann", "grouping.candidates=non_whit"])
def test_wrong_names_are_told_before_a_model_is_read(override, monkeypatch):
    monkeypatch.setattr(linegroup.predict, "load_artifact", lambda _: pytest.fail("a model was read"))
    for model in ("none", None):
        with pytest.raises(UserError, match="Did you mean"):
            Predictor.load(model, overrides=[override])
