"""The search for a method with Ray Tune: one training that fails hurts nobody, a killed search goes on."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from linegroup.errors import UserError
from linegroup.predict import Predictor
from linegroup.testing import random_sample
from linegroup.training import mlflow_access, registry
from linegroup.training.artifact import load_artifact
from linegroup.tuning.plans import load_search, plan_search

ROOT = Path(__file__).parents[2]
TINY = (
    "model.width=4",
    "model.depth=1",
    "model.emb_dim=2",
    "augment.crop=[24, 32]",
    "training.batch_size=2",
    "grouping.min_samples=5",
    "ray.num_workers=0",
    "search.charts=3",
    "search.grouping_trials=3",
    "search.final_trials=3",
    "search.cpus=0.5",
    "search.max_failures=0",
)
SPACE = """
parameters:
  - {key: loss.delta_d, low: 1.0, high: 3.0}
  - {key: model.backbone, choices: [small_unet, {other}]}
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder) -> Path:
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("search") / "shards", {"train": samples[:4], "val": samples[4:]})


def arguments(shards: Path, out: Path, other: str, *overrides: str) -> list[str]:
    out.mkdir(parents=True, exist_ok=True)
    (out / "space.yaml").write_text(SPACE.replace("{other}", other))
    places = [f"data.train={shards}", f"search.out={out / 'search'}", f"search.space={out / 'space.yaml'}"]
    return [*TINY, *places, f"tracking.uri=sqlite:///{out / 'mlflow.db'}", *overrides]


def runs_of(config) -> list:
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(mlflow_access.tracking_uri(config))
        experiment = client.get_experiment_by_name("linegroup")
        return client.search_runs([experiment.experiment_id])


@pytest.mark.slow
def test_a_search_with_a_training_that_fails(shards, tmp_path, ray_session):
    from linegroup.distributed.search import search_method

    # The seed is one at which both backbones come up among the first three.
    given = arguments(shards, tmp_path, "no_such_network", "search.trials=3", "search.seed=2", "training.max_steps=4")
    plan = plan_search(*load_search(None, given))
    search = search_method(plan)
    states = [trial.state for trial in search.trials]
    assert len(states) == 3
    assert states[0] == "complete", "the configuration itself"
    failed = [trial for trial in search.trials if trial.settings["model.backbone"] == "no_such_network"]
    assert failed
    assert all(trial.state == "failed" and "no_such_network" in trial.note for trial in failed)
    assert states.count("failed") == len(failed)
    # The best network, its grouping tuned, as a model to be used.
    best = search.trials[search.best]
    artifact = load_artifact(search.artifact)
    assert artifact.config.loss.delta_d == best.settings["loss.delta_d"]
    assert best.objective == max(trial.objective for trial in search.trials if trial.objective is not None)
    assert Predictor.load(str(search.artifact), "cpu").grouping == artifact.grouping
    out = plan.out
    with (out / "search.csv").open(encoding="utf-8") as stream:
        assert [row["state"] for row in csv.DictReader(stream)] == states
    assert (out / "search.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "result.json").read_text())["best"] == search.best
    # Trainings are runs below one.
    runs = runs_of(plan.base.tracking)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_id for run in parents] == [search.run_id]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == search.run_id]
    assert len(children) == 3
    assert [run.info.status for run in children].count("FAILED") == len(failed)
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
    assert all("train_total" in run.data.metrics for run in children if run.info.status == "FINISHED")
    assert parents[0].data.metrics["objective"] == pytest.approx(best.objective)
    assert registry.resolve_model(search.run_id, plan.base.tracking)


@pytest.mark.slow
def test_when_all_fail_it_says_why(shards, tmp_path, ray_session):
    from linegroup.distributed.search import search_method

    given = arguments(shards, tmp_path, "small_unet2", "search.trials=1", "model.backbone=small_unet2")
    with pytest.raises(UserError, match=r"Every training failed.*small_unet2"):
        search_method(plan_search(*load_search(None, given)))


@dataclass(frozen=True)
class Killed:
    """A search that was killed when its first training was in its middle."""

    folder: Path
    options: list[str]
    command: list[str]
    begun: set[str]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def kill_in_the_middle(shards: Path, folder: Path) -> Killed:
    """The job as a user runs it, killed."""
    options = arguments(
        shards, folder, "small_unet", "search.trials=2", "training.max_steps=300", "training.save_every=20"
    )
    (folder / "space.yaml").write_text("parameters:\n  - {key: loss.delta_d, low: 1.0, high: 3.0}\n")
    command = [sys.executable, str(ROOT / "tune" / "search_method.py"), *options, "ray.address=local"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    trials = folder / "search" / "trials"
    deadline = time.monotonic() + 240
    while not list(trials.glob("*/judged.json")):
        assert time.monotonic() < deadline, "no training was judged"
        assert first.poll() is None
        time.sleep(0.05)
    # Time enough for a note of where the search stands.
    time.sleep(4)
    first.kill()
    first.wait()
    return Killed(folder, options, command, {path.name for path in trials.iterdir()})


def goes_on(killed: Killed) -> None:
    """Run the search again, and look at what it leaves."""
    again = subprocess.run(killed.command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=600)
    assert again.returncode == 0, again.stderr
    (line,) = again.stdout.splitlines()
    answer = json.loads(line)
    assert [trial["state"] for trial in answer["trials"]].count("failed") == 0
    assert len(answer["trials"]) == 2
    # The trainings that had begun are those that went on, each in its own folder.
    trials = {path.name for path in (killed.folder / "search" / "trials").iterdir()}
    assert killed.begun <= trials
    assert len(trials) == 2
    runs = runs_of(load_search(None, killed.options)[0].tracking)
    assert len(runs) == 3
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_killed_search_goes_on(shards, tmp_path):
    """At once, while trainings of the killed one may still be there."""
    killed = kill_in_the_middle(shards, tmp_path)
    notes = tmp_path / "search" / "ray"
    assert list(notes.glob("experiment_state-*.json"))
    # A tracking address may hold a password.
    assert not [path for path in notes.rglob("*") if path.is_file() and b"mlflow.db" in path.read_bytes()]
    goes_on(killed)


@pytest.fixture(scope="module")
def killed_once(shards, tmp_path_factory) -> tuple[Killed, Path]:
    """A killed search, and a copy of its folder as it was when nothing of it was left that could write."""
    killed = kill_in_the_middle(shards, tmp_path_factory.mktemp("killed"))
    deadline = time.monotonic() + 60
    while is_changing(killed.folder):
        assert time.monotonic() < deadline, "the trainings of a killed search go on"
    return killed, shutil.copytree(killed.folder, tmp_path_factory.mktemp("copy") / "killed")


def is_changing(folder: Path, seconds: float = 4) -> bool:
    """Whether anything is written meanwhile."""

    def seen() -> list[tuple[str, int]]:
        found = []
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                found.append((str(path), path.stat().st_mtime_ns))
        return sorted(found)

    before = seen()
    time.sleep(seconds)
    return seen() != before


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("state", ["cut off", "never written"])
@pytest.mark.long
def test_a_killed_search_whose_notes_are_lost_goes_on(killed_once, state):
    """It begins anew, and its trainings find their folders."""
    killed, copy = killed_once
    shutil.rmtree(killed.folder)
    shutil.copytree(copy, killed.folder)
    notes = list((killed.folder / "search" / "ray").glob("experiment_state-*.json"))
    assert notes
    for path in notes:
        path.write_bytes(path.read_bytes()[:-20])
        if state == "never written":
            path.unlink()
    goes_on(killed)


def test_the_job_says_what_is_wrong(tmp_path):
    command = [sys.executable, str(ROOT / "tune" / "search_method.py"), f"data.train={tmp_path / 'none'}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert answer.returncode == 2
    assert "There is no shard folder" in answer.stderr
    assert "Traceback" not in answer.stderr
