"""`linegroup predict` on many pictures: several processes, and rows in place of files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from linegroup.cli import app, batch
from linegroup.distributed.each import each
from linegroup.errors import UserError
from linegroup.predict import Predictor
from linegroup.testing import random_sample

COLOUR = ("--model", "none", "--set", "grouping.method=colour", "--set", "grouping.candidates=non_white")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), *COLOUR], prog_name="linegroup")


def write_pictures(folder, count):
    folder.mkdir()
    for number in range(count):
        (folder / f"p{number:03d}.png").write_bytes(random_sample(number, (40, 60), 1 + number % 3).image)


def content(folder):
    """Files by name; of documents, all but the timings and the folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        found[path.name] = path.read_bytes()
        if path.suffix == ".json":
            found[path.name] = [line for line in path.read_text().splitlines() if '"timings_ms"' not in line]
    return found


def test_processes_are_for_many_pictures(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [batch.choose_workers(None, n) for n in (1, batch.FROM - 1, batch.FROM, 10_000)] == [0, 0, 8, 8]
    assert [batch.choose_workers(n, 5) for n in (0, 3, 16)] == [0, 3, 5]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert batch.choose_workers(None, 10_000) == 0


def test_processes_make_the_same_files_and_report(ray_session, tmp_path):
    write_pictures(tmp_path / "scans", 8)
    (tmp_path / "scans/bad.png").write_text("no picture")
    (tmp_path / "axes.yaml").write_text(
        "x: {points: [{pixel: [0, 0], value: 0}, {pixel: [10, 0], value: 1}]}\n"
        "y: {points: [{pixel: [0, 0], value: 0}, {pixel: [0, 10], value: 1}]}\n"
    )
    words = ("scans", "nowhere.png", "--format", "csv,svg", "--calibration", "axes.yaml")
    reports, folders = [], []
    for workers in (0, 2):
        out = tmp_path / "out"
        result = run(*words, "--out", "out", "--workers", workers, "--json")
        assert result.exit_code == 1, result.output
        # How far it is, and that it compiles, is told where it takes long.
        told = [line for line in result.stderr.splitlines() if not line.startswith(("Pictures: ", "First run: "))]
        reports.append((json.loads(result.stdout), told))
        folders.append(content(out))
        out.rename(tmp_path / f"out{workers}")
    assert reports[0] == reports[1]
    assert [len(reports[1][0][key]) for key in ("done", "failed", "skipped")] == [8, 2, 0]
    assert any("beyond the calibrated points of an axis" in line for line in reports[1][1])
    assert folders[0] == folders[1]
    assert len(folders[1]) == 8 * 5
    (tmp_path / "out2").rename(tmp_path / "out")
    result = run(*words, "--out", "out", "--workers", 2, "--skip-existing")
    assert (result.exit_code, result.stdout) == (1, "0 pictures with 0 lines in out, 8 done before\n")
    assert "bad.png" in result.stderr


def test_what_killed_writers_left_of_the_same_pictures_is_cleared_away(tmp_path):
    write_pictures(tmp_path / "scans", 1)
    (stem,) = (path.stem for path in (tmp_path / "scans").glob("*.png"))
    (tmp_path / "lines").mkdir()
    ours, others = (tmp_path / "lines" / f".{name}.labels.png.bt75wo41.tmp" for name in (stem, f"{stem}-2"))
    ours.touch()
    others.touch()
    result = run("scans", "--out", "lines", "--workers", 0)
    assert result.exit_code == 0, result.output
    assert (ours.exists(), others.exists()) == (False, True)


def fault(_predictor, _item):
    raise OSError(28, "No space left on device", "lines/p.json")


def die(_predictor, _item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_process_raises_is_raised_here(ray_session):
    with pytest.raises(OSError, match="No space left") as caught:
        list(each(fault, [1, 2], Predictor.load("none"), 2))
    assert (caught.value.errno, caught.value.filename) == (28, "lines/p.json")


@pytest.mark.long
def test_a_picture_that_kills_its_process_ends_it(ray_session):
    with pytest.raises(UserError, match="died again and again"):
        list(each(die, [1], Predictor.load("none"), 1))


def test_shards_in_place_of_files(tmp_path):
    write_pictures(tmp_path / "scans", 3)
    result = run("scans/*.png", "--out", "lines", "--shards", "parquet", "--workers", 0)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 pictures with ")
    again = run("scans/*.png", "--out", "lines", "--shards", "parquet", "--workers", 0)
    assert "nothing to do" in again.stdout
    assert sorted(path.name for path in Path("lines").iterdir()) == ["failed.jsonl", "manifest.json", "pictures"]
    (tmp_path / "scans/bad.png").write_text("no picture")
    refused = run("scans", "--out", "lines", "--shards", "parquet", "--workers", 0)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    words = ("scans", "--out", "lines", "--shards", "jsonl", "--workers", 0, "--overwrite", "--json")
    result = run(*words)
    assert result.exit_code == 1
    assert {**json.loads(result.stdout), "lines": 0, "model": 0} == {
        "out": "lines", "pictures": 4, "failed": 1, "lines": 0, "parts_made": 1, "model": 0,
    }  # fmt: skip
    shown = run(*words[:-1])
    assert "Left out: bad.png: This is no picture" in shown.stderr


def test_options_of_files_and_of_shards_do_not_mix():
    result = run("scans", "--out", "lines", "--shards", "parquet", "--format", "csv", "--skip-existing")
    assert result.exit_code == 2
    assert result.stderr.startswith("linegroup: --format, --skip-existing cannot be had with --shards")


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), pytest.param(("--shards", "parquet"), marks=pytest.mark.long)])
def test_ctrl_c_of_processes_leaves_nothing_half_done(tmp_path, words):
    """A terminal sends it to all processes of the group."""
    write_pictures(tmp_path / "scans", 150)
    arguments = ["linegroup", "predict", "scans", "--out", "lines", "--workers", "2", *words, *COLOUR]
    # What runs in the background of a script is born deaf to it.
    hearing = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{hearing}import sys; sys.argv = {arguments!r}; from linegroup.cli import main; main()"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True, env=clean
    )
    pattern = "lines/.partial/*/done/*.json" if words else "lines/*.json"
    while process.poll() is None and len(list(tmp_path.glob(pattern))) < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "linegroup: Interrupted."
    assert "Traceback" not in errors
    for path in (tmp_path / "lines").glob("*.json"):
        json.loads(path.read_bytes())
    if not words:
        assert not list((tmp_path / "lines").glob(".*.tmp"))
