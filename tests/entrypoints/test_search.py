"""The search for a method with Ray Tune: one training that fails hurts nobody, a killed search goes on."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from linegroup.config import load_config
from linegroup.errors import UserError
from linegroup.predict import Predictor
from linegroup.testing import random_sample
from linegroup.training import mlflow_access, registry
from linegroup.training.artifact import load_artifact
from linegroup.training.reporting import read_metrics
from linegroup.tuning.plans import SearchPlan, load_search, plan_search

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
ENDS = {"complete": "FINISHED", "stopped": "KILLED"}
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
    # The recipe of the best is that of its network and its tuned grouping.
    again = load_config(out / "best.yaml")
    assert (again.model, again.loss, again.grouping) == (artifact.config.model, artifact.config.loss, artifact.grouping)
    assert (again.data, again.training.eval_every) == (artifact.config.data, plan.base.training.eval_every)
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


@pytest.mark.long
def test_when_all_fail_it_says_why(shards, tmp_path, ray_session):
    from linegroup.distributed.search import search_method

    given = arguments(shards, tmp_path, "small_unet2", "search.trials=1", "model.backbone=small_unet2")
    with pytest.raises(UserError, match=r"Every training failed.*small_unet2"):
        search_method(plan_search(*load_search(None, given)))


DELTA = "parameters:\n  - {key: loss.delta_d, low: 1.0, high: 3.0}\n"
LENGTH, SAVED = 800, 40
"""Steps of a training, and between two of its checkpoints: the first one is not at its end when the second begins."""


def processes_of_trainings() -> list[int]:
    """Of the search that this process is at."""
    words, parents = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words[int(entry.name)] = (entry / "cmdline").read_bytes()
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    below = [os.getpid()]
    for pid in below:
        below += [child for child, parent in parents.items() if parent == pid]
    return [pid for pid in below if words.get(pid, b"").startswith(b"ray::ImplicitFunc")]


class Kill:
    """One of two trainings is killed as soon as both have been judged twice."""

    def __init__(self, plan: SearchPlan) -> None:
        self._stood: dict[str, int] = {}
        self._thread = threading.Thread(target=self._work, args=(plan.out / "trials",), daemon=True)
        self._thread.start()

    def _work(self, trials: Path) -> None:
        # Twice: what a training had to say of its first checkpoint has reached Tune and MLflow then.
        while len(stood := judged(trials)) < 2 or min(stood.values()) < 2 * SAVED:
            time.sleep(0.02)
        assert max(stood.values()) < LENGTH
        victim, _ = processes_of_trainings()
        os.kill(victim, signal.SIGKILL)
        self._stood = stood

    def join(self) -> dict[str, int]:
        """The steps at which the trainings stood, by their folders; none where nothing was killed."""
        self._thread.join(10)
        return self._stood


def judged(trials: Path) -> dict[str, int]:
    """The step at which each training was judged last, by its folder."""
    return {path.parent.name: json.loads(path.read_text())["step"] for path in trials.glob("*/judged.json")}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("failures", [1, 0])
def test_a_training_is_killed(failures, shards, tmp_path, ray_session, caplog):
    """It goes on from its checkpoint where it may, and is noted as failed where not; the other one does not notice."""
    from linegroup.distributed.search import search_method

    length = (f"training.max_steps={LENGTH}", f"training.save_every={SAVED // 2}", "search.grace=1")
    given = arguments(shards, tmp_path, "", *length, "search.trials=2", f"search.max_failures={failures}")
    (tmp_path / "space.yaml").write_text(DELTA)
    plan = plan_search(*load_search(None, given))
    kill = Kill(plan)
    search = search_method(plan)
    stood = kill.join()
    # Tune notes a death in the folder of the training.
    (killed,) = [path.parent.name for path in (plan.out / "ray").glob("*/error.txt")]
    (other,) = stood.keys() - {killed}
    runs = {run.data.tags["mlflow.runName"].removeprefix("trial "): run for run in runs_of(plan.base.tracking)}
    assert len(runs) == 3
    assert runs[other].info.status == "FINISHED"
    assert steps_of(plan, other) == list(range(1, LENGTH + 1))
    trials = {trial.state: trial for trial in search.trials}
    if failures:
        assert [trial.state for trial in search.trials] == ["complete", "complete"]
        assert [trial.spent for trial in search.trials] == [100, 100]
        assert not any(trial.note for trial in search.trials)
        assert "died (1 of 1 times that it may) and goes on from its last checkpoint" in caplog.text
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        assert steps_of(plan, killed) == list(range(1, LENGTH + 1))
        # Steps that were done twice are told twice.
        again = twice(plan.base.tracking, runs[killed])
        assert set(again) <= set(range(stood[killed] + 1, LENGTH + 1))
    else:
        assert sorted(trials) == ["complete", "failed"]
        assert runs[killed].info.status == "FAILED"
        assert "worker process has died" in trials["failed"].note
        assert search.trials[search.best].state == "complete"
        assert (plan.folder(killed) / "artifact").is_dir()
    assert Predictor.load(str(search.artifact), "cpu")


def steps_of(plan: SearchPlan, trial: str) -> list[int]:
    return [row["step"] for row in read_metrics(plan.folder(trial) / "run") if "train_total" in row]


def twice(config, run) -> list[int]:
    """The steps whose loss was told to MLflow more than once."""
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(mlflow_access.tracking_uri(config))
        steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "train_total")]
    return sorted(step for step, count in Counter(steps).items() if count > 1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_poor_training_is_stopped_early(shards, tmp_path, ray_session):
    """One after the other, so that each finds at a rung what those before it had reached there, in every run."""
    from linegroup.distributed.search import search_method

    # Judged at 20, 40, 60, 80 and 100 percent; the rung is at 50.
    length = ("training.max_steps=200", "training.save_every=20", "search.grace=0.5", "search.reduction=2")
    given = arguments(shards, tmp_path, "", *length, "search.trials=3", "search.concurrent=1")
    # All but the first, which is what the configuration says, learn nothing.
    (tmp_path / "space.yaml").write_text("parameters:\n  - {key: training.lr, choices: [0.002, 1.0e-8, 1.0e-9]}\n")
    plan = plan_search(*load_search(None, given))
    search = search_method(plan)
    poor = [trial for trial in search.trials if trial.settings["training.lr"] < 0.002]
    assert poor
    for trial in search.trials:
        assert (trial.state, trial.spent) == (("stopped", 60) if trial in poor else ("complete", 100))
        assert not trial.note
    assert search.best == 0
    assert load_artifact(search.artifact).config.training.lr == 0.002
    runs = [run for run in runs_of(plan.base.tracking) if "mlflow.parentRunId" in run.data.tags]
    ends = sorted((float(run.data.params["training.lr"]), run.info.status) for run in runs)
    assert ends == sorted((trial.settings["training.lr"], ENDS[trial.state]) for trial in search.trials)
    # Not a step was done for nothing.
    lengths = sorted(len(steps_of(plan, folder.name)) for folder in (plan.out / "trials").iterdir())
    assert lengths == sorted(2 * trial.spent for trial in search.trials)


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
    (folder / "space.yaml").write_text(DELTA)
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
