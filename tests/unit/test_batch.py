"""Batch inference: the Predictor's lines by every way, nothing lost on a kill, bad pictures named, clear errors."""

import functools
import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linegroup.distributed import batch_work
from linegroup.distributed.batch import BatchProgress, PredictJob, load_predict_job, predict_batch, predict_batch_serial
from linegroup.distributed.batch_stages import finer, plan_stages
from linegroup.distributed.batch_work import Piece
from linegroup.distributed.data import ShardJob, make_shards_serial
from linegroup.errors import UserError
from linegroup.files import sha256_of
from linegroup.predict import Predictor
from linegroup.sources.coco import write_coco
from linegroup.testing import parallel_lines, random_sample
from linegroup.wire import from_json

ROOT = Path(__file__).parents[2]
REAL = ROOT / "examples" / "real_charts" / "images"
COLOUR = ("grouping.method=colour", "grouping.candidates=non_white")
COUNT = 10


def write_pictures(folder: Path, count: int = COUNT) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"p{number:02d}.png").write_bytes(random_sample(number, (40, 60), 1 + number % 3).image)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Input that no test changes."""
    folder = tmp_path_factory.mktemp("pictures") / "scans"
    write_pictures(folder)
    return folder


@pytest.fixture
def own(tmp_path):
    """Input that the test may damage."""
    write_pictures(tmp_path / "scans")
    return tmp_path / "scans"


def job_for(inputs, out, **values):
    inputs = [inputs] if isinstance(inputs, str | Path) else inputs
    settings = {"model": "none", "overrides": COLOUR, "pictures_per_part": 4, **values}
    return PredictJob(pictures=tuple(map(str, inputs)), out=out, **settings)


def rows_of(out):
    if list(out.glob("pictures/*.parquet")):
        return pq.read_table(out / "pictures").sort_by("id").to_pylist()
    return [row for path in sorted(out.glob("pictures/*.jsonl")) for row in json_lines(path)]


def json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def visible(out):
    return {
        str(path.relative_to(out)): sha256_of(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(out).parts)
    }


def hidden(out):
    return [path for path in out.rglob(".*") if path.is_file()]


@pytest.fixture(scope="module")
def reference(pictures, tmp_path_factory):
    """What an undisturbed job leaves."""
    out = tmp_path_factory.mktemp("reference") / "out"
    predict_batch_serial(job_for(pictures, out))
    return visible(out)


def stop_after(count):
    def watch(state):
        if state.done == count:
            raise KeyboardInterrupt

    return watch


def without_timings(document):
    return {**json.loads(document), "timings_ms": {}} if isinstance(document, str) else {**document, "timings_ms": {}}


# What is made


def test_rows_are_the_predictors_documents(pictures, tmp_path):
    states = []
    done = predict_batch_serial(job_for(pictures, tmp_path / "out"), states.append)
    predictor = Predictor.load("none", overrides=COLOUR)
    rows = rows_of(tmp_path / "out")
    assert [row["id"] for row in rows] == list(range(COUNT))
    for row, path in zip(rows, sorted(pictures.iterdir()), strict=True):
        expected = predictor.predict_file(path).document
        found = from_json(row["document"])
        assert found == expected.model_copy(update={"timings_ms": {}})
        assert (row["path"], row["name"], row["lines"]) == (path.name, path.name, len(expected.lines))
        assert (row["width"], row["height"], row["error"]) == (60, 40, None)
        assert (row["model"], row["model_version"]) == (expected.model.name, expected.model.version)
    assert (done.pictures, done.failed, done.lines, done.made) == (COUNT, 0, sum(r["lines"] for r in rows), 3)
    assert done.lines > 0
    assert states[-1] == BatchProgress(COUNT, COUNT, done.lines, 0)
    assert [Path(file.path).name for file in done.files][-1] == "part-000000000008-000000000009.parquet"
    assert not (tmp_path / "out/.partial").exists()


@pytest.mark.parametrize("chart", ["0021.png", "0022.png"])
def test_lines_of_real_charts_with_the_packaged_model(chart, tmp_path):
    """From stage to stage: the very lines of the Predictor."""
    predict_batch_serial(job_for(REAL / chart, tmp_path / "out", model=None, overrides=()))
    (row,) = rows_of(tmp_path / "out")
    expected = Predictor.load(device="cpu").predict_file(REAL / chart).document
    assert without_timings(row["document"]) == without_timings(expected.model_dump_json(by_alias=True))
    assert row["lines"] > 1


def test_json_lines_say_the_same(pictures, tmp_path):
    for kind in ("parquet", "jsonl"):
        predict_batch_serial(job_for(pictures, tmp_path / kind, format=kind))
    lines = rows_of(tmp_path / "jsonl")
    assert lines == [{**row, "document": json.loads(row["document"])} for row in rows_of(tmp_path / "parquet")]


def test_bad_pictures_do_not_stop_the_others(own, tmp_path):
    (own / "p03.png").write_bytes(b"no picture")
    (own / "p05.png").unlink()
    (own / "p05.png").symlink_to(tmp_path / "p05.png")
    (tmp_path / "p05.png").write_bytes((own / "p06.png").read_bytes()[:90])
    out = tmp_path / "out"
    done = predict_batch_serial(job_for([own, tmp_path / "nowhere.png"], out))
    assert (done.pictures, done.failed) == (COUNT + 1, 3)
    failed = json_lines(out / "failed.jsonl")
    assert [entry["path"] for entry in failed] == ["p03.png", "p05.png", "nowhere.png"]
    for row in rows_of(out):
        bad = {entry["id"]: entry["error"] for entry in failed}.get(row["id"])
        assert row["error"] == bad
        assert (row["document"] is None) == (row["lines"] is None) == (bad is not None)
    assert "Traceback" not in str(failed)
    with pytest.raises(UserError, match=r"3 pictures could not be used, and the job is strict.*p03\.png"):
        predict_batch_serial(job_for([own, tmp_path / "nowhere.png"], out, strict=True))


def test_a_fault_of_ours_is_written_down(pictures, tmp_path, monkeypatch, caplog):
    whole = batch_work.embed

    def fault(predictor, order):
        return whole(predictor, order) if order.name != "p02.png" else 1 / 0

    monkeypatch.setattr(batch_work, "embed", fault)
    done = predict_batch_serial(job_for(pictures, tmp_path / "out"))
    assert done.failed == 1
    assert "p02.png: a fault of linegroup: ZeroDivisionError" in rows_of(tmp_path / "out")[2]["error"]
    assert "Traceback" in caplog.text


def test_nothing_but_bad_pictures(tmp_path):
    (tmp_path / "scans").mkdir()
    bad = tmp_path / "scans" / "bad.png"
    bad.write_text("no")
    with pytest.raises(UserError, match=r"No picture of .*scans could be used.*bad\.png"):
        predict_batch_serial(job_for(tmp_path / "scans", tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["failed.jsonl"]
    bad.write_bytes(parallel_lines(2).image)
    assert predict_batch_serial(job_for(tmp_path / "scans", tmp_path / "out")).pictures == 1


# Going on


def test_second_run_has_nothing_to_do(pictures, tmp_path):
    out = tmp_path / "out"
    predict_batch_serial(job_for(pictures, out))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert predict_batch_serial(job_for(pictures, out)).made == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_interrupted_job_does_only_what_is_missing(pictures, tmp_path, reference):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_batch_serial(job_for(pictures, out), stop_after(6))
    assert not (out / "manifest.json").exists()
    assert len(list((out / "pictures").iterdir())) == 1
    states = []
    assert predict_batch_serial(job_for(pictures, out), states.append).made == 2
    assert states[1].done == 4
    assert visible(out) == reference
    assert hidden(out) == []


def test_damaged_part_of_an_interrupted_job_is_made_again(pictures, tmp_path, reference):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_batch_serial(job_for(pictures, out), stop_after(8))
    next((out / "pictures").iterdir()).write_bytes(b"PAR1")
    assert predict_batch_serial(job_for(pictures, out)).made == 2
    assert visible(out) == reference


@pytest.mark.parametrize(
    "change",
    [
        {"overrides": (*COLOUR, "grouping.min_pixels=3")},
        {"model": "pretrained"},
        {"pictures_per_part": 5},
        {"format": "jsonl"},
        {"pictures": ("other",)},
    ],
)
def test_other_settings_are_refused_until_overwrite(pictures, tmp_path, change, reference, monkeypatch):
    write_pictures(tmp_path / "other", 3)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    predict_batch_serial(job_for(pictures, out))
    changed = job_for(pictures, out).model_copy(update=change)
    with pytest.raises(UserError, match="--overwrite"):
        predict_batch_serial(changed)
    assert visible(out) == reference
    if "model" in change:  # takes long
        return
    predict_batch_serial(changed.model_copy(update={"overwrite": True}))
    predict_batch_serial(changed.model_copy(update={"out": tmp_path / "fresh"}))
    assert visible(out) == visible(tmp_path / "fresh") != reference


def test_changed_pictures_are_other_input(own, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_batch_serial(job_for(own, out), stop_after(6))
    (own / "p00.png").write_bytes((own / "p01.png").read_bytes())
    assert predict_batch_serial(job_for(own, out)).made == 3
    (own / "p99.png").write_bytes(parallel_lines(2).image)
    with pytest.raises(UserError, match="other input"):
        predict_batch_serial(job_for(own, out))


def test_how_the_work_is_spread_is_no_other_setting(pictures, tmp_path):
    out = tmp_path / "out"
    predict_batch_serial(job_for(pictures, out))
    other = {"embed_actors": 3, "actors_per_gpu": 2, "embed_cpus": 1, "group_cpus": 2, "device": "cpu"}
    assert predict_batch_serial(job_for(pictures, out, **other)).made == 0


def test_lost_part_of_a_finished_folder(pictures, tmp_path, reference):
    out = tmp_path / "out"
    done = predict_batch_serial(job_for(pictures, out))
    (out / done.files[1].path).unlink()
    with pytest.raises(UserError, match="has lost 1 of its files"):
        predict_batch_serial(job_for(pictures, out))
    predict_batch_serial(job_for(pictures, out, overwrite=True))
    assert visible(out) == reference


def test_folders_of_others_are_left_alone(pictures, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.txt").write_text("x")
    write_coco([random_sample(1, (40, 60), 2)], tmp_path / "a.json", tmp_path / "images")
    make_shards_serial(
        ShardJob(annotations=tmp_path / "a.json", images=tmp_path / "images", out=tmp_path / "shards", split="val")
    )
    before = visible(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds other files"):
            predict_batch_serial(job_for(pictures, tmp_path / "thesis", overwrite=overwrite))
        with pytest.raises(UserError, match=r"holds something else \(linegroup.shards"):
            predict_batch_serial(job_for(pictures, tmp_path / "shards", overwrite=overwrite))
    assert visible(tmp_path) == before


def test_full_disk_says_so(pictures, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("linegroup.distributed.batch_output.write_bytes", full)
    with pytest.raises(UserError, match="is full: No space left"):
        predict_batch_serial(job_for(pictures, tmp_path / "out"))


# Where the pictures come from


def names(out):
    return [row["path"] for row in rows_of(out)]


def lines(out):
    return [row["lines"] for row in rows_of(out)]


def test_patterns_and_folders_below(pictures, tmp_path):
    root = tmp_path / "root"
    write_pictures(root / "b/deep", 2)
    write_pictures(root / "a", 2)
    for name in ("top.JPG", ".hidden.png", "old.labels.png", "notes.txt"):
        (root / name).write_bytes(parallel_lines(2).image)
    cases = {
        "flat": (root, {}, ["top.JPG"]),
        "below": (root, {"recursive": True}, ["a/p00.png", "a/p01.png", "b/deep/p00.png", "b/deep/p01.png", "top.JPG"]),
        "stars": (f"{root}/**/*1.png", {}, ["a/p01.png", "b/deep/p01.png"]),
        "star": (f"{root}/*/p0[!1].png", {}, ["a/p00.png"]),
    }
    for name, (inputs, values, expected) in cases.items():
        predict_batch_serial(job_for(inputs, tmp_path / name, **values))
        assert names(tmp_path / name) == expected, name
    for inputs in (f"{root}/*.gif", root / "b", f"{root}/*.parquet"):
        with pytest.raises(UserError, match=r"holds no pictures|No file matches"):
            predict_batch_serial(job_for(inputs, tmp_path / "none"))


def test_a_list_of_paths_and_uris(pictures, tmp_path):
    listed = tmp_path / "list.txt"
    (tmp_path / "here.png").write_bytes(parallel_lines(3).image)
    uri = (pictures / "p01.png").as_uri()
    listed.write_text(f"# some charts\nhere.png\n\n{pictures / 'p00.png'}\n{uri}\nnope://x/y.png\n")
    done = predict_batch_serial(job_for(listed, tmp_path / "out"))
    assert (done.pictures, done.failed) == (4, 1)
    assert names(tmp_path / "out") == ["here.png", str(pictures / "p00.png"), uri, "nope://x/y.png"]
    assert "cannot be reached" in rows_of(tmp_path / "out")[3]["error"]


@pytest.fixture
def web(pictures):
    """The pictures behind HTTP, as any server without folder listings has them."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(pictures))
    handler.func.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_pictures_behind_a_web_server(web, pictures, tmp_path):
    listed = tmp_path / "list.lst"
    listed.write_text(f"{web}/p02.png\n{web}/missing.png\n{web}/p04.png\n")
    done = predict_batch_serial(job_for(listed, tmp_path / "out"))
    predict_batch_serial(job_for(pictures, tmp_path / "local"))
    found, local = lines(tmp_path / "out"), lines(tmp_path / "local")
    assert (done.failed, found) == (1, [local[2], None, local[4]])


@pytest.mark.parametrize("kind", ["bytes", "hugging_face", "paths"])
def test_parquet_files(pictures, tmp_path, kind):
    files = sorted(pictures.iterdir())
    content = [path.read_bytes() for path in files]
    columns = {
        "bytes": {"image": content, "name": [path.name for path in files]},
        "hugging_face": {"image": [{"bytes": b, "path": p.name} for b, p in zip(content, files, strict=True)]},
        "paths": {"path": [str(path) for path in files]},
    }
    # Row groups of three: parts of four begin and end within them.
    pq.write_table(pa.table(columns[kind]), tmp_path / "in.parquet", row_group_size=3)
    done = predict_batch_serial(job_for(f"{tmp_path}/*.parquet", tmp_path / "out"))
    predict_batch_serial(job_for(pictures, tmp_path / "local"))
    assert (done.pictures, done.made) == (COUNT, 3)
    assert [row["name"] for row in rows_of(tmp_path / "out")] == [path.name for path in files]
    assert lines(tmp_path / "out") == lines(tmp_path / "local")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="has none of the columns image"):
        predict_batch_serial(job_for(tmp_path / "other.parquet", tmp_path / "other"))


def test_a_parquet_row_without_a_picture(tmp_path):
    table = pa.table({"image": [parallel_lines(2).image, None], "path": ["a.png", None]})
    pq.write_table(table, tmp_path / "in.parquet")
    predict_batch_serial(job_for(tmp_path / "in.parquet", tmp_path / "out"))
    good, bad = rows_of(tmp_path / "out")
    assert (good["path"], bad["path"]) == ("a.png", "")
    assert "neither a picture nor a path" in bad["error"]


def test_shards_of_training_are_pictures_too(tmp_path):
    write_coco([random_sample(n, (40, 60), 2) for n in (1, 2)], tmp_path / "a.json", tmp_path / "images")
    make_shards_serial(
        ShardJob(annotations=tmp_path / "a.json", images=tmp_path / "images", out=tmp_path / "shards", split="val")
    )
    done = predict_batch_serial(job_for(f"{tmp_path}/shards/val/*.parquet", tmp_path / "out"))
    assert (done.pictures, done.failed) == (2, 0)
    assert names(tmp_path / "out") == sorted(path.name for path in (tmp_path / "images").iterdir())


def test_secrets_of_uris_are_not_written_down():
    job = job_for("s3://key:secret@bucket/scans/*.png?endpoint_override=host", Path("out"))
    assert job.input_name == "s3://bucket/scans/*.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures": ()}, "No pictures"),
        ({"pictures": ("nope://x/*.png",)}, "cannot be reached"),
        ({"pictures": ("missing.txt",)}, "missing.txt"),
        ({"pictures": ("missing/*.png",)}, "missing"),
        ({"overrides": ("grouping.epps=1",)}, "grouping.eps"),
        ({"model": "nowhere"}, "nowhere"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"format": "csv"}, "format: .*'parquet' or 'jsonl'"),
        ({"pictures_per_prt": 3}, "Did you mean 'pictures_per_part'"),
        ({"pictures_per_part": 0}, "pictures_per_part"),
    ],
)
def test_user_mistakes(pictures, tmp_path, change, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        predict_batch_serial(PredictJob(**{"pictures": (str(pictures),), "out": "out", "model": "none", **change}))


def test_recipe_and_flags(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("pictures: [a, b]\nout: o\npictures_per_part: 7\n")
    job = load_predict_job(recipe, {"pictures_per_part": 5, "format": None})
    assert (job.pictures, job.pictures_per_part, job.format) == (("a", "b"), 5, "parquet")


# Spreading the work


def test_stages_have_resources_of_their_own():
    job = job_for("x", "y")
    laptop, server = plan_stages(job, cpus=2, gpus=0), plan_stages(job, cpus=64, gpus=2)
    assert (laptop.actors, laptop.device, laptop.embed, laptop.group_cpus) == (2, "cpu", {"num_cpus": 0.5}, 0.5)
    assert (server.actors, server.device, server.group_cpus) == (8, "cuda", 1)
    assert server.embed == {"num_gpus": 0.25, "num_cpus": 1}
    mine = plan_stages(job_for("x", "y", embed_actors=3, embed_cpus=2, group_cpus=4, device="cpu"), 64, 2)
    assert (mine.actors, mine.device, mine.embed, mine.group_cpus) == (3, "cpu", {"num_cpus": 2}, 4)
    with pytest.raises(UserError, match="has no GPU"):
        plan_stages(job_for("x", "y", device="cuda"), 64, 0)


def test_few_parts_are_cut_finer():
    pieces = [Piece(0, "a", 100, 0, 10), Piece(1, "b", 110, 0, 3)]
    cut = list(finer(pieces, 8))
    assert [(p.part, p.first_id, p.offset, p.count) for p in cut] == [
        (0, 100, 0, 3),
        (0, 103, 3, 3),
        (0, 106, 6, 3),
        (0, 109, 9, 1),
        (1, 110, 0, 1),
        (1, 111, 1, 1),
        (1, 112, 2, 1),
    ]
    assert list(finer(pieces, 2)) == pieces


def test_pictures_are_read_ahead_in_order_and_not_all_at_once():
    asked = []

    def call(number):
        asked.append(number)
        return number

    results = batch_work.ahead((functools.partial(call, n) for n in range(100)), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)
    assert len(asked) <= 8
    assert list(results) == list(range(3, 100))


def test_ray_writes_the_same_bytes(ray_session, pictures, tmp_path, reference):
    states = []
    done = predict_batch(job_for(pictures, tmp_path / "out"), states.append)
    assert done.made == 3
    assert visible(tmp_path / "out") == reference
    assert states[-1] == BatchProgress(COUNT, COUNT, done.lines, 0)


@pytest.mark.long
def test_ray_goes_on_after_an_interruption_and_names_bad_pictures(ray_session, own, tmp_path):
    (own / "p03.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_batch(job_for(own, out, pictures_per_part=1), stop_after(4))
    assert len(list((out / "pictures").iterdir())) == 4
    done = predict_batch(job_for(own, out, pictures_per_part=1))
    assert (done.pictures, done.failed, done.made) == (COUNT, 1, COUNT - 4)
    predict_batch_serial(job_for(own, tmp_path / "fresh", pictures_per_part=1))
    assert visible(out) == visible(tmp_path / "fresh")


@pytest.mark.slow
def test_killed_job_goes_on(tmp_path):
    """SIGKILL in the middle of a real script: the second run makes exactly what is missing."""
    write_pictures(tmp_path / "scans", 60)
    script = [sys.executable, str(ROOT / "jobs/predict_folder.py"), "--serial", "--pictures-per-part", "2"]
    words = [*script, "--model", "none", *(w for s in COLOUR for w in ("--set", s)), "--pictures", "scans", "--out"]
    out = tmp_path / "out"
    process = subprocess.Popen([*words, "out"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob(".partial/*/done/*.json"))) < 6:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(list(out.glob(".partial/*/done/*.json")))
    assert 6 <= done < 30
    finished = subprocess.run([*words, "out"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout.splitlines()[-1])["parts_made"] == 30 - done
    subprocess.run([*words, "fresh"], cwd=tmp_path, capture_output=True, check=True)
    assert visible(out) == visible(tmp_path / "fresh")
    assert hidden(out) == []
