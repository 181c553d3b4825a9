"""The scripts of `jobs/`, run as `ray job submit` runs them, and their recipes."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from linegroup.cli import app
from linegroup.config import load_config
from linegroup.distributed.batch_job import load_predict_job
from linegroup.distributed.coco_job import load_job
from linegroup.distributed.synth_job import load_synth_job
from linegroup.evaluation import load_evaluation
from linegroup.promotion import load_promotion
from linegroup.sources.coco import write_coco
from linegroup.testing import random_sample

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "jobs" / "recipes"


def job(name, *arguments, cwd):
    command = [sys.executable, str(ROOT / "jobs" / name), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    samples = [replace(random_sample(seed, (60, 80), 2), id=seed, group=f"g{seed}") for seed in range(1, 4)]
    write_coco(samples, folder / "annotations.json", folder / "images")
    words = ("--annotations", "annotations.json", "--images", "images", "--out", "shards", "--split", "val", "--serial")
    done = job("make_shards.py", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["samples"] == 3
    return folder / "shards"


def test_score_model_prints_one_json_line(shards, tmp_path):
    done = job("score_model.py", "--data", shards, "--out", "report", "--set", "grouping.method=colour", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    tree = json.loads(line)
    assert tree["pictures"] == 3
    assert list(tree["methods"]) == ["model", "colour", "components", "flat"]
    assert (tmp_path / "report" / "examples.png").exists()
    printed = CliRunner().invoke(app, ["evaluate", "--data", str(shards), "--set", "grouping.method=colour", "--json"])
    same = json.loads(printed.stdout)
    assert {**tree, "seconds_per_picture": 0, "rows": 0} == {**same, "seconds_per_picture": 0, "rows": 0}


@pytest.fixture
def score(monkeypatch, tmp_path, capsys):
    """`score_model.py` in this process: the same file, without a start of Python."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["score_model.py", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "jobs" / "score_model.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return run


def test_flags_win_over_the_recipe(shards, tmp_path, score):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": str(shards), "limit": 1, "split": "test"}))
    code, out, _ = score("--config", "mine.yaml", "--split", "val")
    assert code == 0
    assert json.loads(out)["pictures"] == 1


@pytest.mark.parametrize(
    ("recipe", "words", "expected"),
    [
        (None, ["--data", "nowhere"], "nowhere"),
        ("datum: x", [], "unknown key 'datum', did you mean 'data'"),
        ("limit: abc", [], "limit"),
        (None, ["--limit", "-1"], "limit"),
        ("[1, 2]", [], "must hold a mapping of settings"),
        ("a: [", [], "mine.yaml"),
    ],
)
def test_mistakes_exit_with_2_and_a_line(tmp_path, score, recipe, words, expected):
    if recipe is not None:
        (tmp_path / "mine.yaml").write_text(recipe)
        words = ["--config", "mine.yaml", *words]
    code, out, error = score(*words)
    assert (code, out) == (2, "")
    assert expected in error


@pytest.mark.parametrize(
    ("script", "key"),
    [
        ("jobs/train_model.py", "training.out"),
        ("tune/search_method.py", "search.out"),
    ],
)
def test_a_folder_that_cannot_be_written_exits_with_2_and_a_line(script, key, shards, tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.touch()
    where = ["data.train=synth:charts", f"data.val={shards}", f"{key}={file}/x"]
    monkeypatch.setattr(sys, "argv", [script, *where, "tracking.enabled=false", "ray.num_workers=0"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    said = capsys.readouterr().err
    assert end.value.code == 2, said
    assert str(file) in said


def test_every_recipe_is_one():
    """Recipes rot: each must be understood by the job that it is for."""
    for path in sorted(RECIPES.glob("*.yaml")):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "shards":
            load_job(path, {})
        elif path.stem == "synth":
            load_synth_job(path, {"out": "shards"})
        elif path.stem == "promote":
            load_promotion(path, (), {"version": "1"})
        elif path.stem == "predict":
            load_predict_job(path, {})
        elif path.stem == "evaluate":
            assert load_evaluation(path, {}).model_dump(exclude_unset=True) == tree
        else:
            load_config(path)


def test_promote_model_takes_how_the_truth_is_drawn(tmp_path):
    parse = runpy.run_path(str(ROOT / "jobs" / "promote_model.py"))["parse"]
    flags = vars(parse(["--version", "1", "--data", "x", "--set", "data.thickness=2", "--set", "data.category=line"]))
    job = load_promotion(flags.pop("config"), flags.pop("rule"), {k: v for k, v in flags.items() if k != "by"})
    assert job.overrides == ("data.thickness=2", "data.category=line")


def test_predict_folder_prints_one_json_line(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(random_sample(number, (40, 60), 2).image)
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "mine.yaml").write_text("model: none\npictures: [elsewhere]\noverrides: [grouping.method=colour]\n")
    words = ("--config", "mine.yaml", "--pictures", "*.png", "--out", "lines", "--format", "jsonl", "--serial")
    done = job("predict_folder.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    tree = json.loads(line)
    assert (tree["out"], tree["pictures"], tree["failed"], tree["parts_made"]) == ("lines", 4, 1, 1)
    assert tree["model"]["name"] == "colour"
    assert (tmp_path / "lines/pictures/part-000000000000-000000000003.jsonl").is_file()
    again = job("predict_folder.py", *words, cwd=tmp_path)
    assert json.loads(again.stdout)["parts_made"] == 0
    refused = job("predict_folder.py", *words, "--set", "grouping.min_pixels=3", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--overwrite" in refused.stderr
