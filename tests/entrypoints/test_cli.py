"""The command line: what it prints, writes and returns, for good input and bad."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import linegroup.predict
from linegroup import __version__, compiling
from linegroup.cli import app, common
from linegroup.cli.convert import convert
from linegroup.cli.inputs import collect
from linegroup.config import Config, GroupingConfig, ModelConfig
from linegroup.errors import UserError
from linegroup.files import write_bytes
from linegroup.model import LineModel
from linegroup.shards import load_manifest
from linegroup.sources.coco import write_coco
from linegroup.testing import parallel_lines, random_sample
from linegroup.training.artifact import save_artifact
from linegroup.vectors.calibration_file import read_calibration
from linegroup.wire import from_json

PROGRAM = str(Path(sys.executable).with_name("linegroup"))
COLOUR = ("--model", "none", "--set", "grouping.method=colour", "--set", "grouping.candidates=non_white")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every command runs in an empty folder, without the caller's MLflow and Ray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="linegroup")


def ok(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments, code=2):
    """Ends with `code`, one line on standard error and nothing on standard output."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("linegroup: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    samples = [
        replace(random_sample(seed, (64, 96), 2), id=seed, group=f"g{seed}", tags=("even",) * (seed % 2 == 0))
        for seed in range(1, 7)
    ]
    write_coco(samples, folder / "annotations.json", folder / "images")
    return folder


@pytest.fixture(scope="module")
def shards(coco, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "shards"
    images, annotations = coco / "images", coco / "annotations.json"
    ok("shard", "--annotations", annotations, "--images", images, "--out", out, "--serial", "--val-fraction", 0.5)
    return out


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    torch.manual_seed(0)
    config = Config(model=ModelConfig(width=2, depth=1, emb_dim=2))
    folder = tmp_path_factory.mktemp("model") / "artifact"
    save_artifact(folder, LineModel(config.model), config, GroupingConfig(candidates="non_white"), {}, "v1")
    return folder


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "chart.png"
    path.write_bytes(parallel_lines(3).image)
    return path


# Help and start


@pytest.mark.parametrize(
    "command",
    ["", "shard", "train", "evaluate", "predict", "convert", "models"]
    + [
        f"models {name}" for name in ("register", "compare", "promote", "rollback", "history", "list", "show", "import")
    ],
)
def test_help_teaches_by_example(command):
    text = ok(*command.split(), "--help").stdout
    assert f"linegroup {command}".strip() in text.split("Usage:")[1].replace("\n", " ", 1).split("Options")[0]
    assert text.count(f"linegroup {command}".strip()) >= 2, "no example"


def test_help_is_quick_and_imports_nothing_heavy():
    script = (
        "import sys, time\n"
        "from linegroup.cli import app\n"
        "for words in (['--help'], ['train', '--help'], ['models', '--help']):\n"
        "    try: app(words)\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = [m for m in ('torch', 'ray', 'mlflow', 'numba', 'cv2', 'sklearn', 'numpy') if m in sys.modules]\n"
        "print(heavy, time.process_time(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy, _, seconds = done.stderr.rpartition(" ")
    assert heavy == "[]"
    assert float(seconds) < 1


def test_the_real_program():
    done = subprocess.run([PROGRAM, "version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")
    done = subprocess.run([PROGRAM, "predict", "nowhere.png"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "linegroup: Missing option '--out'. See linegroup predict --help.\n"


def test_the_version_and_the_first_command():
    assert ok("--version").stdout == ok("version").stdout == f"{__version__}\n"
    text = ok("--help").stdout
    assert text.index("linegroup predict chart.png --out lines") < text.index("synth preview")
    commands = text.split("Commands")[1]
    assert commands.index("predict ") < commands.index("shard ")


@pytest.mark.parametrize(
    "words", [["predikt"], ["predict", "a.png", "--out", "o", "--set", "grouping.scale=1"], ["predict", "--moedl"]]
)
def test_one_mark_ends_a_sentence(words):
    told = refused(*words)
    assert "?." not in told
    assert ".." not in told


def test_a_calibration_with_a_wrong_key_ends_with_one_mark(picture):
    Path("axes.yaml").write_text("x: {scle: log10, points: []}\ny: {points: []}\n")
    told = refused("predict", picture, "--out", "lines", "--calibration", "axes.yaml", *COLOUR)
    assert told.endswith("did you mean 'scale'?\n")


def test_without_a_command_comes_the_help():
    assert ok().stdout == ok("--help").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["predict", "a.png", "--out", "o", "--nonsense"], "linegroup predict --help"),
        (["models", "nonsense"], "linegroup models --help"),
        (["evaluate", "--data", "s", "--limit", "-1"], "--limit"),
        (["evaluate", "--data", "s", "--limit", "x"], "--limit"),
        (["models", "promote", "linegroup"], "version"),
    ],
)
def test_wrong_words(words, expected):
    assert expected in refused(*words)


# predict


def test_a_wrong_grouper_is_told_once(picture):
    told = refused("predict", picture, "nowhere.png", "--out", "lines", "--set", "grouping.method=dbscann")
    assert "Did you mean 'dbscan'?" in told
    assert not Path("lines").exists()


def test_formats_are_joined_by_commas(picture):
    assert "--format csv,svg" in refused("predict", picture, "--out", "lines", "--format", "csv", "svg", *COLOUR)


def test_documents_are_not_predicted(picture):
    ok("predict", picture, "--out", "lines", *COLOUR)
    assert "linegroup convert" in run("predict", "lines/chart.json", "--out", "again", *COLOUR).stderr


@pytest.mark.parametrize("cold", [True, False])
def test_the_first_run_says_that_it_compiles(picture, monkeypatch, cold):
    monkeypatch.setattr(compiling, "is_cold", lambda: cold)
    told = "First run: compiling, about a minute.\n"
    assert ok("predict", picture, "--out", "lines", *COLOUR).stderr.count(told) == cold
    assert told not in ok("--quiet", "predict", picture, "--out", "lines", *COLOUR).stderr


def test_progress_without_a_terminal(picture, monkeypatch):
    monkeypatch.setattr(common, "LINE_EVERY", 0.0)
    shutil.copy(picture, "other.png")
    words = ("predict", picture, "other.png", "--out", "lines", "--workers", 0, *COLOUR)
    assert "Pictures: 1 of 2\n" in ok(*words).stderr
    assert "Pictures" not in ok("--quiet", *words).stderr


def test_what_is_no_shard_folder_says_how_to_make_one(coco):
    for folder in (coco, coco / "annotations.json", "nowhere"):
        told = refused("evaluate", "--data", folder)
        assert "linegroup shard --annotations" in told
        assert "--split val" in told
    told = refused("evaluate", "--data", coco / "annotations.json")
    assert f"--annotations {coco / 'annotations.json'}" in told


def test_predict_one_picture(picture):
    result = ok("predict", picture, "--out", "lines", *COLOUR)
    assert "link" not in result.stdout
    assert sorted(p.name for p in Path("lines").iterdir()) == [
        "chart.json",
        "chart.labels.png",
        "chart.overlay.png",
    ]
    document = from_json(Path("lines/chart.json").read_bytes())
    labels = cv2.imread("lines/chart.labels.png", cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert [line.id for line in document.lines] == np.unique(labels[labels > 0]).tolist()
    assert document.parameters["method"] == "colour"


AXES = """
x: {points: [{pixel: [20, 200], value: 0}, {pixel: [180, 200], value: 10}]}
y: {scale: log10, points: [{pixel: [20, 200], value: 1}, {pixel: [20, 40], value: 100}]}
"""


def test_predict_into_many_formats_and_convert_them(picture):
    Path("axes.yaml").write_text(AXES)
    formats = "csv,csv_wide,parquet,svg,geojson,coco,labelme,wpd"
    result = ok("predict", picture, "--out", "lines", "--format", formats, "--calibration", "axes.yaml", *COLOUR)
    names = {path.name for path in Path("lines").iterdir()}
    assert {"chart.csv", "chart.wide.csv", "chart.parquet", "chart.svg", "chart.geojson", "chart.coco.json"} < names
    assert {"chart.labelme.json", "chart.tar", "chart.json"} < names
    tree = json.loads(Path("lines/chart.json").read_text())
    assert tree["calibration"]["y"]["scale"] == "log10"
    assert all(line["series"] for line in tree["lines"])
    beyond = sum(sum(line["series"]["extrapolated"]) for line in tree["lines"])
    assert ("extrapolated" in result.stderr) == (beyond > 0)
    ok("convert", "lines/chart.json", "--format", "csv", "--out", "again")
    assert Path("again/chart.csv").read_bytes() == Path("lines/chart.csv").read_bytes()
    again = ["predict", picture, "--out", "lines", "--format", "svg", "--skip-existing", *COLOUR]
    assert "1 done before" in ok(*again, "--calibration", "axes.yaml").stdout
    assert "done before" not in ok(*again).stdout, "the document has values that are not asked for"


def test_digitised_projects_become_training_data(picture):
    """Projects in, COCO and pictures out, shards made of them."""
    ok("predict", picture, "--out", "lines", "--format", "wpd", *COLOUR)
    result = ok("convert", "lines/chart.tar", "--format", "coco", "--together", "--out", "digitised", "--json")
    found = len(json.loads(Path("lines/chart.json").read_text())["lines"])
    assert json.loads(result.stdout)["done"][0]["lines"] == found >= 3
    ok("shard", "--annotations", "digitised/lines.coco.json", "--images", "digitised", "--out", "shards", "--serial")
    tree = json.loads(Path("digitised/lines.coco.json").read_text())
    assert [annotation["category_id"] for annotation in tree["annotations"]] == [1] * found


def test_convert_names_what_it_cannot_read(picture):
    ok("predict", picture, "--out", "lines", *COLOUR)
    Path("lines/broken.json").write_text("{}")
    result = run("convert", "lines", "--format", "csv", "--out", "files")
    assert result.exit_code == 1
    assert "broken.json" in result.stderr
    assert Path("files/chart.csv").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--format", "cvs"], "csv"),
        (["--format", ""], "at least one"),
        (["--format", "csv", "--sample", "often"], "step=0.5"),
        (["--format", "csv", "--calibration", "none.json"], "none.json"),
        (["--format", "geojson", "--world", "chart.png"], "world file"),
        (
            ["--format", "geojson", "--world", "flat.pgw"],
            "flat.pgw is no world file: its numbers 2, 1, 4 and 2 lay all",
        ),
        (["--format", "svg", "--together"], "--together"),
        (["--format", "wpd", "--images", "none"], "There is no image folder none."),
        (["--format", "wpd", "--images", "chart.png"], "chart.png is a file; --images is the folder"),
    ],
)
def test_convert_refuses(picture, words, expected):
    Path("flat.pgw").write_text("2 1 4 2 0 0")
    ok("predict", picture, "--out", "lines", *COLOUR)
    assert expected in refused("convert", "lines", "--out", "files", *words)
    assert not Path("files").exists()


ALL_FORMATS = "json,csv,csv_wide,parquet,svg,geojson,coco,labelme,wpd,label_png"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("other.json", "{}", "names no schema."),
        ("wpd.json", '{"datasetColl": []}', "names no schema. It is the inner file of a WebPlotDigitizer"),
        ("manifest.json", '{"schema": "linegroup.predictions/1"}', "its documents stand in the rows"),
        ("deep.json", "[" * 200_000, "it is nested too deeply."),
        ("no.zip", "no", "Cannot read the project no.zip: it is no zip or tar archive, or a damaged one."),
    ],
)  # fmt: skip
def test_convert_says_what_a_file_is(name, content, said):
    Path(name).write_text(content)
    result = run("convert", name, "--format", "csv", "--out", "files")
    assert (result.exit_code, result.stdout) == (2, ""), "there is no folder to speak of"
    assert said in result.stderr.splitlines()[-1]


def test_words_of_options(picture, coco):
    words = refused("predict", picture, "--out", "lines", "--device", "tpu")
    assert words.startswith("linegroup: There is no device 'tpu' here. There is: auto, cpu")
    given = ("--annotations", coco / "annotations.json", "--images", coco / "images", "--out", "s", "--serial")
    assert "Invalid value for '--val-fraction'" in refused("shard", *given, "--val-fraction", 2)


def test_convert_takes_no_file_for_a_document_that_was_made_of_one(picture):
    ok("predict", picture, "--out", "lines", "--format", ALL_FORMATS, *COLOUR)
    for inputs in (["lines"], sorted(Path("lines").iterdir())):
        result = ok("convert", *inputs, "--format", "csv", "--out", "files")
        assert result.stdout.startswith("1 document with ")
        assert "left aside" in result.stderr
        assert [path.name for path in Path("files").iterdir()] == ["chart.csv"]
    tree = json.loads(ok("convert", "lines", "--format", "csv", "--out", "files", "--json").stdout)
    assert tree["left_aside"] == ["lines/chart.coco.json", "lines/chart.labelme.json", "lines/chart.tar"]
    assert len(ok("convert", "lines/chart.tar", "--format", "csv", "--out", "alone").stdout.splitlines()) == 1


def test_the_help_of_convert_shows_a_calibration_and_what_steps_count():
    text = ok("convert", "--help").stdout
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(("x: {", "y: {"))]
    assert "docs/export.md" in text
    assert "86400" in text
    given = [line.strip() for line in convert.__doc__.splitlines() if line.strip().startswith(("x: {", "y: {"))]
    assert [line[:20] for line in lines] == [line[:20] for line in given]
    Path("axes.yaml").write_text("\n".join(given))
    assert read_calibration(Path("axes.yaml")).x.scale == "date"


def test_convert_leaves_its_own_file_of_all_aside(picture):
    ok("predict", picture, "--out", "lines", *COLOUR)
    for _ in range(2):
        told = ok("convert", "lines", "--format", "coco", "--together", "--out", "all").stdout
        assert told.startswith("1 document with ")
        Path("lines/lines.coco.json").write_bytes(Path("all/lines.coco.json").read_bytes())
    assert "lines/lines.coco.json" in ok("convert", "lines", "--format", "csv", "--out", "files").stderr
    assert "COCO" in run("convert", "lines/lines.coco.json", "--format", "csv", "--out", "alone").stderr


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("chart.labelme.json", "a labelme file"),
        ("chart.coco.json", "COCO annotations, which `linegroup shard` reads"),
        ("chart.svg", "an SVG drawing"),
        ("chart.geojson", "GeoJSON"),
        ("chart.parquet", "a Parquet file"),
        ("chart.labels.png", "a picture, in which `linegroup predict` finds lines"),
        ("axes.json", "a calibration, which goes to --calibration"),
    ],
)
def test_convert_says_what_it_reads_and_what_this_is(picture, name, kind):
    ok("predict", picture, "--out", "lines", "--format", "labelme,coco,svg,geojson,parquet", *COLOUR)
    Path("lines/axes.json").write_text('{"schema": "linegroup.calibration/1"}')
    told = run("convert", f"lines/{name}", "--format", "csv", "--out", "files").stderr.splitlines()[-1]
    takes = "convert reads STEM.json of predict and WebPlotDigitizer projects (.tar, .zip)"
    assert told == f"Left out: lines/{name}: {takes}; this looks like {kind}."


def test_one_cause_is_told_once(picture):
    ok("predict", picture, "--out", "lines", *COLOUR)
    tree = json.loads(Path("lines/chart.json").read_text())
    for name in ("other", "third"):
        tree["image"]["name"] = f"{name}.png"
        Path(f"lines/{name}.json").write_text(json.dumps(tree))
    Path("lines/broken.json").write_text("{}")
    result = run("convert", "lines", "--format", "wpd", "--out", "files")
    many = "Left out: 3 documents, such as lines/chart.json: wpd: the picture is needed to be put into the file and was"
    assert result.stderr.splitlines()[:2] == [
        "4 documents could not be used:",
        f"{many} not found; say --images DIR where it is.",
    ]
    assert [line[:27] for line in result.stderr.splitlines()[2:]] == [
        "1 other document could not ",
        "Left out: lines/broken.json",
    ]
    failed = json.loads(run("convert", "lines", "--format", "wpd", "--out", "files", "--json").stdout)["failed"]
    assert len(failed) == 4


def test_calibrations_and_samplings_that_are_told(picture):
    """A bad fit names the point; a step of the calendar is refused before the work; what is extrapolated is said."""
    third = AXES.replace("value: 10}", "value: 10}, {pixel: [100, 200], value: 9}", 1)
    Path("axes.yaml").write_text(third)
    words = ["predict", picture, "--out", "lines", "--calibration", "axes.yaml", *COLOUR]
    told = ok(*words).stderr
    assert "are: the farthest is x, point 3 (9 at [100, 200])." in told
    Path("axes.yaml").write_text(AXES)
    assert "A step of 1mo is for dates, and the scale of x is linear" in refused(*words, "--sample", "step=1mo")
    Path("axes.yaml").write_text(AXES.replace("pixel: [180, 200]", "pixel: [60, 200]"))
    told = ok(*words, "--format", "csv_wide").stderr
    assert told.startswith("chart.png: ")
    assert "an axis: left empty in csv_wide, marked as extrapolated in csv, parquet and json." in told


def test_convert_refuses_results_of_the_same_name(picture):
    for folder in ("a", "b"):
        ok("predict", picture, "--out", folder, *COLOUR)
    assert "same name" in refused("convert", "a", "b", "--format", "csv", "--out", "files")


def test_convert_mixes_no_pictures_of_the_same_name(picture):
    """In one file they are known by their names only."""
    for folder in ("a", "b"):
        ok("predict", picture, "--out", folder, *COLOUR)
    told = refused("convert", "a", "b", "--format", "csv", "--together", "--out", "files")
    assert "a/chart.json and b/chart.json are both of a picture called 'chart.png'" in told
    assert not Path("files").exists()
    tree = json.loads(Path("b/chart.json").read_text())
    tree["image"]["name"] = "other.png"
    Path("b/chart.json").write_text(json.dumps(tree))
    ok("convert", "a", "b", "--format", "csv", "--together", "--out", "files")
    with Path("files/lines.csv").open() as stream:
        assert {row["image"] for row in csv.DictReader(stream)} == {"chart.png", "other.png"}


def project(path, image, axes=(), datasets=None):
    """A digitised project as a tar or zip archive."""
    datasets = datasets or [{"name": "a", "data": [{"x": 5, "y": 5}, {"x": 60, "y": 9}]}]
    files = {"wpd.json": json.dumps({"axesColl": axes, "datasetColl": datasets}).encode(), "image.png": image}
    if path.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"x/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("together", [(), ("--together",)])
def test_pictures_of_projects_have_names_of_their_own(together):
    images = {"x.tar": parallel_lines(2).image, "x.zip": parallel_lines(3).image}
    for name, image in images.items():
        project(name, image)
    ok("convert", *images, "--format", "coco", "--out", "files", *together)
    assert {name: Path("files", f"{name}.png").read_bytes() for name in images} == images
    named = [json.loads(path.read_text())["images"] for path in Path("files").glob("*.json")]
    assert sorted(image["file_name"] for found in named for image in found) == ["x.tar.png", "x.zip.png"]


def test_convert_overwrites_no_input_and_no_picture():
    own = {"own/chart.tar": None, "own/chart.png": b"another"}
    Path("own").mkdir()
    project("own/chart.tar", parallel_lines(2).image)
    Path("own/chart.png").write_bytes(b"another")
    own["own/chart.tar"] = Path("own/chart.tar").read_bytes()
    for formats, said in (
        ("wpd", "own/chart.tar is one of the inputs and would be overwritten; choose another --out."),
        ("coco", "own/chart.png is there already and is another picture; choose another --out."),
    ):
        result = run("convert", "own/chart.tar", "--format", formats, "--out", "own")
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].endswith(said)
        assert {str(path): path.read_bytes() for path in Path("own").iterdir()} == own
    for _ in range(2):
        ok("convert", "own/chart.tar", "--format", "coco,wpd", "--out", "files")


def test_a_folder_where_convert_writes_a_picture():
    project("x.tar", parallel_lines(2).image)
    blocking = Path("files/x.png")
    blocking.mkdir(parents=True)
    result = run("convert", "x.tar", "--format", "coco", "--out", "files")
    assert result.exit_code == 2
    assert f"{blocking} is a folder; choose another --out." in result.stderr
    assert list(Path("files").iterdir()) == [blocking]


def test_datasets_that_convert_leaves_out():
    points = [{"px": px, "py": py, "dx": dx, "dy": dy} for px, py, dx, dy in [(5, 50, 0, 0), (85, 50, 9, 0)] * 2]
    points[3] |= {"px": 5, "py": 10, "dy": 4}
    data = [{"x": 5, "y": 5}, {"x": 60, "y": 9}]
    datasets = [{"name": f"of {name}", "axesName": name, "data": data} for name in ("XY", "Bars")]
    project("x.tar", parallel_lines(2).image, [{"name": "XY", "type": "XYAxes", "calibrationPoints": points}], datasets)
    result = ok("convert", "x.tar", "--format", "csv", "--out", "files", "--json")
    said = "dataset 'of Bars' has the axes 'Bars'; only those of 'XY', the first XY axes, are read."
    assert result.stderr.splitlines()[-1] == f"Left out: x.tar: {said}"
    done = json.loads(result.stdout)["done"]
    assert [(entry["lines"], entry["left_out"]) for entry in done] == [(1, [said])]


def test_lines_without_values_are_told(picture):
    Path("axes.yaml").write_text(AXES.replace("value: 0", "value: 100").replace("value: 10}", "value: 110}", 1))
    words = ["--calibration", "axes.yaml", "--sample", "step=1000", "--format", "csv"]
    told = ok("predict", picture, "--out", "lines", *words, *COLOUR).stderr
    count = len(from_json(Path("lines/chart.json").read_bytes()).lines)
    said = f"{count} lines without values: the sampling hit none of their points."
    assert said in told
    assert said in ok("convert", "lines", "--format", "csv", "--out", "files", "--sample", "step=1000").stderr
    assert len(Path("files/chart.csv").read_text().splitlines()) == 1


def test_extrapolated_points_of_documents_with_values_are_counted(picture):
    Path("axes.yaml").write_text(AXES.replace("pixel: [180, 200]", "pixel: [60, 200]"))
    first = ok("predict", picture, "--out", "lines", "--calibration", "axes.yaml", *COLOUR).stderr
    assert "beyond the calibrated points" in first
    assert ok("convert", "lines", "--format", "csv", "--out", "files").stderr == first


def test_what_convert_leaves_out_leaves_no_files(picture):
    """A project needs the picture, which is elsewhere."""
    ok("predict", picture, "--out", "lines", *COLOUR)
    result = run("convert", "lines", "--format", "csv,wpd", "--out", "files")
    assert result.exit_code == 2
    assert not Path("files").exists()
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Left out: lines/chart.json: wpd: chart.png is needed")
    assert "--images" in last
    as_json = run("convert", "lines", "--format", "csv,wpd", "--out", "files", "--json")
    assert json.loads(as_json.stdout)["failed"][0]["input"] == "lines/chart.json"
    assert as_json.stderr.splitlines()[-1] == last


def test_convert_together_does_the_others(picture):
    ok("predict", picture, "--out", "lines", *COLOUR)
    tree = json.loads(Path("lines/chart.json").read_text())
    tree["lines"][0]["mask"]["counts"] = "?"
    Path("lines/damaged.json").write_text(json.dumps(tree))
    result = run("convert", "lines", "--format", "csv,coco", "--together", "--out", "files")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Left out: lines/damaged.json: coco: The mask of line 1")
    assert len(json.loads(Path("files/lines.coco.json").read_text())["images"]) == 1


def test_predict_leaves_no_files_of_what_a_format_cannot_be_made_of(picture):
    late = "{points: [{pixel: [0, 200], value: 9999-01-01}, {pixel: [9, 200], value: 9999-12-31}], scale: date}"
    Path("axes.yaml").write_text(
        AXES.replace("{points: [{pixel: [20, 200], value: 0}, {pixel: [180, 200], value: 10}]}", late)
    )
    result = run("predict", picture, "--out", "lines", "--format", "svg,csv", "--calibration", "axes.yaml", *COLOUR)
    assert result.exit_code == 2
    assert "csv: A date lies beyond the years 1 to 9999" in result.stderr.splitlines()[-1]
    assert not Path("lines").exists()


def test_sampling_needs_a_calibration(picture):
    assert "--calibration" in refused("predict", picture, "--out", "lines", "--sample", "step=1", *COLOUR)
    assert not Path("lines").exists()
    ok("predict", picture, "--out", "lines", *COLOUR)
    result = run("convert", "lines", "--format", "csv", "--out", "files", "--sample", "step=1")
    assert (result.exit_code, Path("files").exists()) == (2, False)
    assert "--calibration" in result.stderr.splitlines()[-1]
    Path("axes.yaml").write_text(AXES)
    ok("predict", picture, "--out", "lines", "--calibration", "axes.yaml", *COLOUR)
    ok("convert", "lines", "--format", "csv", "--out", "files", "--sample", "step=1")


def test_commands_that_fail_leave_no_folder(picture, shards):
    """The output folder is made with the first file in it."""
    Path("bad.png").write_text("no picture")
    result = run("predict", "bad.png", "--out", "lines/new", *COLOUR)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Left out: bad.png")
    refused("predict", picture, "--out", "lines/new", "--model", "nowhere")
    assert "bad.png is a file. Choose another --out" in refused("predict", picture, "--out", "bad.png/x", *COLOUR)
    refused("evaluate", "--data", "nowhere", "--out", "report")
    refused("tune", "grouping", "--model", "nowhere", "--data", shards, "--out", "tuned")
    assert not [path for path in Path().iterdir() if path.is_dir() and not any(path.iterdir())]


def test_messages_are_not_pythons(picture):
    Path("lines").mkdir()
    Path("lines/empty.json").write_text("")
    Path("lines/half.json").write_text('{"schema": ')
    Path("lines/bad.json").write_text("{\n nothing}")
    Path("lines/latin.json").write_bytes(b'{"a": "\xff"}')
    told = run("convert", "lines", "--format", "csv", "--out", "files").stderr
    for words in ("it is empty", "it ends too early", "not JSON from line 2, column 2 on", "it is not text in UTF-8"):
        assert words in told
    for words in ("Expecting", "codec", "Errno", "char "):
        assert words not in told
    told = refused("convert", "lines", "--format", "csv", "--out", "files", "--calibration", "none.yaml")
    assert told == "linegroup: Cannot read the calibration none.yaml: No such file or directory.\n"


def test_predict_as_json(picture):
    tree = json.loads(ok("predict", picture, "--out", "lines", "--json", *COLOUR).stdout)
    (done,) = tree["done"]
    assert tree["model"] == {"name": "colour", "version": __version__}
    assert done["input"] == str(picture)
    assert done["lines"] == len(from_json(Path(done["json"]).read_bytes()).lines)
    assert (tree["failed"], tree["skipped"]) == ([], [])


def test_predict_with_a_model(picture, artifact):
    tree = json.loads(
        ok("predict", picture, "--out", "o", "--model", artifact, "--json", "--set", "grouping.eps=0.75").stdout
    )
    document = from_json(Path(tree["done"][0]["json"]).read_bytes())
    assert tree["model"]["version"] == document.model.version == "v1"
    assert document.parameters["eps"] == 0.75


def test_predict_a_folder(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name in ("b.PNG", "a.png", "a.JPG", ".hidden.png", "old.labels.png", "old.overlay.png", "below/c.png"):
        (folder / name).write_bytes(parallel_lines(2).image)
    (folder / "notes.txt").write_text("no picture")
    tree = json.loads(ok("predict", folder, folder / "b.PNG", "--out", "lines", "--json", *COLOUR).stdout)
    assert [Path(done["json"]).name for done in tree["done"]] == ["a.JPG.json", "a.png.json", "b.json"]


def test_results_beside_the_pictures_are_no_input(picture):
    folder = picture.parent
    for _ in range(2):
        tree = json.loads(ok("predict", folder, "--out", folder, "--json", *COLOUR).stdout)
        assert [done["input"] for done in tree["done"]] == [str(picture)]


def test_bad_pictures_are_named_and_the_others_done(picture, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:200])
    (tmp_path / "bomb.png").write_bytes(bomb(40_000, 40_000))
    result = run("predict", tmp_path, "nowhere.png", "--out", "lines", *COLOUR)
    assert result.exit_code == 1
    for name in ("empty.png", "text.jpg", "cut.png", "bomb.png", "nowhere.png"):
        assert sum(name in line for line in result.stderr.splitlines()) == 1, name
    assert "5 pictures could not be used" in result.stderr
    assert "Traceback" not in result.output
    assert {p.name.partition(".")[0] for p in Path("lines").iterdir()} == {"chart"}
    tree = json.loads(run("predict", tmp_path, "--out", "lines", "--json", *COLOUR).stdout)
    assert len(tree["done"]) == 1
    assert len(tree["failed"]) == 4


def test_nothing_but_bad_pictures(tmp_path):
    (tmp_path / "bad.png").write_text("no")
    result = run("predict", tmp_path / "bad.png", "--out", "lines", *COLOUR)
    assert result.exit_code == 2
    assert "bad.png" in result.stderr


def test_skip_existing(picture):
    first = ok("predict", picture, "--out", "lines", *COLOUR)
    written = Path("lines/chart.json").stat().st_mtime_ns
    second = ok("predict", picture, "--out", "lines", "--skip-existing", *COLOUR)
    assert "1 done before" in second.stdout
    assert "done before" not in first.stdout
    assert Path("lines/chart.json").stat().st_mtime_ns == written
    ok("predict", picture, "--out", "lines", "--skip-existing", *COLOUR, "--set", "grouping.min_pixels=3")
    assert Path("lines/chart.json").stat().st_mtime_ns > written


def test_files_of_other_settings_are_not_done(picture):
    """Also where another command wrote them, and where the document does not tell."""
    Path("axes.yaml").write_text(AXES)
    for name, scale in (("a", 2), ("b", 3)):
        Path(f"{name}.pgw").write_text(f"{scale} 0 0 -{scale} 100 100")
    words = ["predict", picture, "--out", "lines", "--format", "csv,svg,geojson,wpd,label_png,json", *COLOUR]
    axes = ["--calibration", "axes.yaml"]
    settings = [[], axes, [*axes, "--sample", "step=1"], [*axes, "--sample", "count=9"], ["--embed"]]
    settings += [["--world", "a.pgw"], ["--world", "b.pgw"]]
    for more in settings:
        assert "done before" not in ok(*words, *more, "--skip-existing").stdout
        assert "1 done before" in ok(*words, *more, "--skip-existing").stdout
    ok("convert", "lines/chart.json", "--format", "svg", "--out", "files", "--images", ".", "--embed")
    shutil.copy("files/chart.svg", "lines/chart.svg")
    assert "done before" not in ok(*words, *settings[-1], "--skip-existing").stdout
    Path("lines/chart.labels.png").unlink()
    assert "done before" not in ok(*words, *settings[-1], "--skip-existing").stdout


def test_labelme_finds_the_picture(picture):
    Path("below").mkdir()
    ok("predict", picture, "--out", "below/lines", "--format", "labelme", *COLOUR)
    ok("convert", "below/lines", "--images", ".", "--format", "labelme", "--out", "files")
    for folder, place in (("below/lines", "../../chart.png"), ("files", "../chart.png")):
        assert json.loads(Path(folder, "chart.labelme.json").read_text())["imagePath"] == place
    result = run("convert", "below/lines", "--format", "labelme", "--embed", "--out", "more")
    assert result.exit_code == 2
    assert "labelme: chart.png is needed" in result.stderr.splitlines()[-1]
    project("x.tar", picture.read_bytes())
    ok("convert", "x.tar", "--format", "labelme", "--out", "files")
    assert json.loads(Path("files/x.labelme.json").read_text())["imagePath"] == "x.png"
    assert Path("files/x.png").read_bytes() == picture.read_bytes()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["empty"], "holds no pictures"),
        (["chart.png", "--model", "nowhere"], "nowhere"),
        (["chart.png", "--set", "grouping.epps=1"], "grouping.eps"),
        (["chart.png", "--set", "nonsense"], "dotted.key=value"),
        (["chart.png", "--set", "training.lr=1"], "training"),
        (["one", "two"], "same name"),
    ],
)
def test_predict_refuses(picture, words, expected):
    for folder in ("empty", "one", "two"):
        Path(folder).mkdir()
    for folder in ("one", "two"):
        Path(folder, "x.png").write_bytes(picture.read_bytes())
    assert expected in refused("predict", *words, "--out", "lines")


def test_out_that_is_a_file(picture):
    assert "chart.png" in refused("predict", picture, "--out", picture)
    assert "chart.png" in refused("predict", picture, "--out", picture / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_that_may_not_be_written(picture):
    Path("locked").mkdir(mode=0o500)
    assert "permission" in refused("predict", picture, "--out", "locked")


def test_disk_full_is_no_mistake_of_the_caller(picture, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(linegroup.predict, "write_bytes", full)
    result = run("predict", picture, "--out", "lines", *COLOUR)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("linegroup: lines/chart.labels.png: No space left")


@pytest.mark.parametrize("name", ["chart.json", "chart.labels.png", "chart.csv"])
def test_a_folder_where_a_file_is_to_be(picture, name):
    """It is named, and nothing of that picture stays; the others are done."""
    shutil.copy(picture, "other.png")
    blocking = Path("lines", name)
    blocking.mkdir(parents=True)
    result = run("predict", picture, "other.png", "--out", "lines", "--format", "csv", *COLOUR)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Left out: {picture}: {blocking} is a folder; choose another --out."
    assert list(Path("lines").glob("chart.*")) == [blocking]
    assert Path("lines/other.json").is_file()


@pytest.mark.parametrize(("together", "name"), [((), "chart.coco.json"), (("--together",), "lines.coco.json")])
def test_a_folder_where_convert_writes_a_file(picture, together, name):
    ok("predict", picture, "--out", "lines", *COLOUR)
    blocking = Path("files", name)
    blocking.mkdir(parents=True)
    result = run("convert", "lines/chart.json", "--format", "csv,coco", *together, "--out", "files")
    assert result.exit_code == 2
    assert f"{blocking} is a folder; choose another --out." in result.stderr
    assert list(Path("files").iterdir()) == [blocking]


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(IsADirectoryError) as error:
        write_bytes(tmp_path, b"")
    assert error.value.filename == str(tmp_path)


def test_interrupted(picture, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(linegroup.predict.Predictor, "predict_file", interrupt)
    result = run("predict", picture, "--out", "lines", *COLOUR)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "linegroup: Interrupted."


@pytest.mark.parametrize("stage", ["make_field", "group_field", "write_bytes"])
def test_interrupted_within_a_stage(picture, monkeypatch, stage):
    """The stage ends first: an exception within compiled code may crash it. The files are all there, or none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    whole, ended = getattr(linegroup.predict, stage), []

    def interrupted(*arguments):
        if not ended:
            signal.raise_signal(signal.SIGINT)
        ended.append(whole(*arguments))
        return ended[-1]

    monkeypatch.setattr(linegroup.predict, stage, interrupted)
    try:
        result = run("predict", picture, "--out", "lines", *COLOUR)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "linegroup: Interrupted."
    assert len(ended) == (1 if stage != "write_bytes" else 2)
    assert len(list(Path().glob("lines/*"))) == (0 if stage != "write_bytes" else 3)


@pytest.mark.parametrize("seconds", [0.0, 0.11, *(pytest.param(s, marks=pytest.mark.long) for s in (0.05, 0.17))])
def test_ctrl_c_whenever_it_comes(picture, seconds):
    for number in range(200):
        shutil.copy(picture, f"copy{number}.png")
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"import sys; sys.argv = {['linegroup', 'predict', '.', '--out', 'lines', '--workers', '0']!r}\n"
    code += "from linegroup.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(Path().glob("lines/*.json")):
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "linegroup: Interrupted.\n")
    assert len(list(Path("lines").iterdir())) % 3 == 0


@pytest.mark.parametrize("command", ["predict", "convert", "evaluate", "shards"])
def test_ctrl_c_while_libraries_are_loaded(picture, command):
    """An import of compiled code that is interrupted ends with an ImportError."""
    words = {
        "predict": ["predict", "chart.png", "--out", "lines"],
        "shards": ["predict", "chart.png", "--out", "lines", "--shards", "jsonl", "--workers", "0"],
        "convert": ["convert", "chart.json", "--out", "files", "--format", "csv"],
        "evaluate": ["evaluate", "--data", "shards"],
    }[command]
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    def find_spec(self, name, *_):
        if name.startswith(("torch", "cv2")) and not self.done:
            self.done = True
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("initialization failed") from None
    done = False
sys.meta_path.insert(0, Finder())
sys.argv = {["linegroup", *words]!r}
from linegroup.cli import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "linegroup: Interrupted.\n")


def test_a_fault_of_ours_is_not_hidden(picture, monkeypatch):
    monkeypatch.setattr(linegroup.predict.Predictor, "predict_file", lambda *_: 1 / 0)
    assert isinstance(run("predict", picture, "--out", "lines", *COLOUR).exception, ZeroDivisionError)


def test_names_of_files_cannot_speak_to_the_terminal(tmp_path):
    path = tmp_path / "\x1b[31m\n[bold]x.png"
    path.write_text("no picture")
    result = run("predict", path, "--out", "lines", *COLOUR)
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert "[bold]x.png" in result.stderr


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.png", "b.png"], ["a", "b"]),
        (["a.png", "a.jpg", "b.png"], ["a.png", "a.jpg", "b"]),
        (["A.png", "a.jpg"], ["A.png", "a.jpg"]),
        (["a.png", "a.jpg", "a.png.png"], ["a.png", "a.jpg", "a.png.png"]),
        (["b.png", "a.png", "b.png"], ["b", "a"]),
        (["x/a.png", "y/a.jpg"], ["a.png", "a.jpg"]),
    ],
)
def test_no_result_overwrites_another(names, stems):
    chosen = collect([Path(name) for name in names])
    assert [entry.stem for entry in chosen] == stems


def test_equal_names_are_refused():
    with pytest.raises(UserError, match="same name"):
        collect([Path("x/a.png"), Path("y/a.png")])


def bomb(width, height):
    """A PNG of a few hundred bytes whose header promises a huge picture."""

    def chunk(kind, content):
        body = kind + content
        return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


# shard


def test_shard_and_again(coco):
    words = ("--annotations", coco / "annotations.json", "--images", coco / "images", "--out", "s", "--serial")
    first = json.loads(ok("shard", *words, "--json").stdout)
    assert (first["samples"], first["lines"], first["rejects"]) == (6, 12, 0)
    assert sum(first["splits"].values()) == 6
    assert first["reject_reasons"] == {}
    again = ok("shard", *words)
    assert "6 charts with 12 lines" in again.stdout
    assert "finished before" in again.stdout


def test_shard_counts_rejects_by_reason(coco):
    tree = json.loads((coco / "annotations.json").read_text(encoding="utf-8"))
    tree["images"][0]["file_name"] = "../secret.png"
    tree["images"][1]["file_name"] = "missing.png"
    Path("bad.json").write_text(json.dumps(tree))
    words = ("--annotations", "bad.json", "--images", coco / "images", "--serial")
    result = ok("shard", *words, "--out", "s")
    assert "rejects.jsonl" in result.stderr
    summary = json.loads(ok("shard", *words, "--out", "s", "--json").stdout)
    assert summary["samples"] == 4
    assert sum(summary["reject_reasons"].values()) == summary["rejects"] >= 2
    strict = run("shard", *words, "--out", "t", "--strict")
    assert strict.exit_code == 2
    assert strict.stderr.splitlines()[-1].startswith("linegroup: 2 records were rejected")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--annotations", "nowhere.json"], "nowhere.json"),
        (["--images", "nowhere"], "nowhere"),
        (["--dialect", "yolo"], "dialect"),
        (["--val-fraction", "1.5"], "--val-fraction"),
        (["--category", "lines"], "line"),
        (["--split", "../x"], "split"),
    ],
)
def test_shard_refuses(coco, words, expected):
    good = {"--annotations": coco / "annotations.json", "--images": coco / "images", "--out": "s"}
    good[words[0]] = words[1]
    assert expected in refused("shard", "--serial", *(word for pair in good.items() for word in pair))


@pytest.mark.ray
def test_shard_with_ray(coco, ray_session):
    words = ("--annotations", coco / "annotations.json", "--images", coco / "images", "--json")
    parallel = json.loads(ok("shard", *words, "--out", "parallel").stdout)
    serial = json.loads(ok("shard", *words, "--out", "serial", "--serial").stdout)
    assert {**parallel, "out": ""} == {**serial, "out": ""}


# evaluate


def test_evaluate_prints_methods_side_by_side(shards, artifact):
    result = ok("evaluate", "--model", artifact, "--data", shards, "--out", "report")
    header = next(line for line in result.stdout.splitlines() if "metric" in line)
    assert header.split() == ["metric", "model", "colour", "components", "flat"]
    assert "ari ↑" in result.stdout
    assert "ARI by tag" in result.stdout
    assert result.stdout.rstrip().endswith("What the scores mean: docs/metrics.md")
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert cv2.imread("report/examples.png") is not None
    report = json.loads(Path("report/report.json").read_text(encoding="utf-8"))
    assert report["model"] == {"name": "linegroup", "version": "v1"}


def test_the_table_fits_a_terminal(shards):
    """Methods, names of scores and intervals whole in 80 columns; with more methods the means alone."""
    told = ok("evaluate", "--data", shards, *COLOUR).stdout
    more = ok("evaluate", "--data", shards, *COLOUR, "--against", "link", "--against", "kmeans").stdout
    for text in (told, more):
        assert "…" not in text
        assert "crossing_recall ↑" in text
        assert max(len(row.rstrip()) for row in text.splitlines()) <= 80
    assert "–1.0" in told
    assert "–1.0" not in more.split("ARI by tag")[0]


def test_the_example_of_evaluate_without_a_model_says_which_is_used():
    text = ok("evaluate", "--help").stdout
    assert "without a model" not in text
    assert "the packaged model)" in text


def test_evaluate_as_json(shards):
    tree = json.loads(ok("evaluate", "--data", shards, "--split", "train", "--limit", "2", "--json", *COLOUR).stdout)
    assert list(tree["methods"]) == ["link", "colour", "components", "flat"]
    assert tree["pictures"] == 2
    assert len(tree["rows"]) == 8
    ari = tree["methods"]["colour"]["ari"]
    assert ari["low"] <= ari["mean"] <= ari["high"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data", "nowhere"], "linegroup shard"),
        (["--split", "test"], "train"),
        (["--model", "nowhere"], "nowhere"),
        (["--set", "data.category=nothing"], "line"),
        (["--out", "file"], "file"),
    ],
)
def test_evaluate_refuses(shards, words, expected):
    Path("file").touch()
    data = [] if "--data" in words else ["--data", shards]
    assert expected in refused("evaluate", *data, *words)


# train


TINY = ("model.width=2", "model.depth=1", "training.batch_size=2", "training.pictures=1", "ray.num_workers=0")


def test_train_and_use(shards, coco):
    result = ok("train", f"data.train={shards}", "training.out=run", "training.max_steps=2", *TINY)
    plan = result.stderr.splitlines()
    assert plan[0].startswith("Data: ")
    assert plan[1].startswith("Steps: 2 of 2 charts")
    for word in ("mlflow ui --backend-store-uri sqlite:///", "linegroup predict", "linegroup evaluate"):
        assert word in result.stdout
    again = json.loads(
        ok("train", f"data.train={shards}", "training.out=run", "training.max_steps=2", *TINY, "--json").stdout
    )
    assert (again["steps"], again["resumed_from"]) == (2, 2)
    made = json.loads(ok("models", "register", again["run_id"], "--json").stdout)
    promote = ("models", "promote", made["name"], made["version"])
    assert "--no-gate REASON" in refused(*promote)
    words = ("--gate", "pictures=2", "--gate", "floor={ari: 1.1}")
    gate = run(*promote, "--data", shards, *words)
    assert gate.exit_code == 1
    assert "the floor is 1.1" in gate.stdout
    assert "Refused: models:/linegroup@champion stays unset" in gate.stdout
    forced = json.loads(ok(*promote, "--data", shards, *words, "--force", "a test", "--json").stdout)
    assert (forced["promoted"], forced["passed"], forced["forced"]) == (True, False, "a test")
    assert "is version 1 already" in ok(*promote, "--no-gate", "again").stdout
    assert "a test" in ok("models", "history", "linegroup").stdout
    assert "No version is known" in refused("models", "rollback", "linegroup")
    compare = ("models", "compare", "models:/linegroup/1", "none", "--data", shards, "--gate", "pictures=2")
    assert json.loads(ok(*compare, "--json").stdout)["overall"]["ari"]["count"] == 2
    assert "against link" in " ".join(ok(*compare).stdout.split())
    assert "champion" in ok("models", "list").stdout
    assert json.loads(ok("models", "list", "--json").stdout)[0]["aliases"] == ["champion"]
    for reference in ("models:/linegroup@champion", "models:/linegroup/1", again["run_id"], "run/artifact"):
        shown = json.loads(ok("models", "show", reference, "--json").stdout)
        assert shown["version"] == made["artifact_version"]
    assert made["artifact_version"] in ok("models", "show", "run/artifact").stdout
    picture = next((coco / "images").iterdir())
    tree = json.loads(ok("predict", picture, "--out", "o", "--model", "models:/linegroup@champion", "--json").stdout)
    assert tree["model"]["version"] == made["artifact_version"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "data.train"),
        (["data.train=nowhere"], "nowhere"),
        (["data.trian=x"], "data.train"),
        (["--config", "refrence"], "refrence"),
        (["training.epochs=0"], "epochs"),
        (["--config", "broken.yaml"], "broken.yaml"),
    ],
)
def test_train_refuses(words, expected):
    Path("broken.yaml").write_text("a: [")
    assert expected in refused("train", *words)


def test_a_category_may_be_a_number(shards):
    words = (f"data.train={shards}", "training.max_steps=1", "tracking.enabled=false", *TINY, "--json")
    number = next(iter(load_manifest(shards).categories))
    by_number = json.loads(ok("train", *words, "training.out=a", f"data.category={number}").stdout)
    everything = json.loads(ok("train", *words, "training.out=b").stdout)
    assert by_number["metrics"]["val_loss"] == everything["metrics"]["val_loss"]
    refused_at = run("train", *words, "training.out=c", "data.category=lines")
    assert refused_at.exit_code == 2
    assert "'line'" in refused_at.stderr


def test_show_config_is_a_recipe():
    text = ok("train", "model.width=5", "data.category=2", "--show-config").stdout
    Path("mine.yaml").write_text(text)
    assert ok("train", "--config", "mine.yaml", "--show-config").stdout == text
    assert "width: 5" in text


# models


def test_no_models_yet():
    assert "There are no models yet" in ok("models", "list").stdout
    assert json.loads(ok("models", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    "words",
    [
        ["show", "nowhere"],
        ["show", "models:/linegroup@champion"],
        ["register", "nowhere"],
        ["promote", "linegroup", "1", "--no-gate", "x"],
        ["rollback", "linegroup"],
        ["history", "linegroup"],
        ["import", "nowhere.pt", "--out", "o"],
    ],
)
def test_models_refuse(words):
    assert words[1].removeprefix("models:/").split("@")[0] in refused("models", *words)
