"""A cluster of three nodes on one machine: a node that works is lost, and nothing else is."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from linegroup.distributed.data import make_shards_serial
from linegroup.distributed.synth_job import SynthJob
from linegroup.testing import random_sample
from linegroup.training import mlflow_access
from linegroup.training.artifact import load_artifact
from linegroup.training.checkpoint import load_checkpoint
from linegroup.training.reporting import read_metrics

ROOT = Path(__file__).parents[2]
SCENARIO = Path(__file__).with_name("cluster_nodes.py")
STEPS = 120
TINY = (
    *("model.width=4", "model.depth=1", "model.emb_dim=2", "augment.crop=[24, 32]", "training.device=cpu"),
    *("training.batch_size=1", "training.pictures=0", "training.eval_every=1000", "grouping.min_samples=5"),
)
JOBS = (
    *("tracking.enabled=false", f"training.max_steps={STEPS}"),
    # Two workers do not fit on one node of one CPU.
    *("ray.num_workers=2", "ray.cpus_per_worker=0.7", "ray.cpus_per_loader=0.2"),
)
LENGTH = 720
"""Steps of a training of the search: the first one is not at its end when the second begins."""
SEARCH = (
    *("ray.num_workers=0", f"training.max_steps={LENGTH}", "training.save_every=8"),
    # Nothing is stopped early.
    *("search.trials=2", "search.cpus=1", "search.grace=1"),
    *("search.charts=2", "search.grouping_trials=3", "search.final_trials=3"),
)

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_shard_folder) -> Path:
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("nodes") / "data", {"train": samples[:6], "val": samples[6:]})


def run_scenario(name: str, root: Path, *settings: str) -> dict:
    """What a scenario says of itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, str(SCENARIO), name, str(root), *TINY, *settings],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    # Not in between, where it would have harmed nobody.
    assert all(said["lost"]), said
    assert set(said["left"]) == {2}, said
    return said


@pytest.fixture(scope="module")
def scenario(tmp_path_factory, data) -> tuple[Path, dict]:
    """The folder of the jobs, and what was said of them."""
    root = tmp_path_factory.mktemp("jobs")
    return root, run_scenario("jobs", root, *JOBS, f"data.train={data}")


def test_shards_are_those_of_one_process(scenario, tmp_path):
    root, said = scenario
    assert said["samples"] == 24
    make_shards_serial(SynthJob(count=24, images_per_part=1, out=tmp_path / "serial"))
    contents = [
        {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (root / "shards", tmp_path / "serial")
    ]
    assert len(contents[0]) > 24
    assert contents[0] == contents[1]


def test_training_has_done_each_step_once(scenario):
    root, said = scenario
    assert said["steps"] == STEPS
    assert 0 < said["resumed_from"] < STEPS
    rows = [rows_of(root / name) for name in ("lost", "quiet")]
    assert [row["step"] for row in rows[0]] == list(range(1, STEPS + 1))
    assert rows[0] == rows[1]
    states = [load_checkpoint(root / name / "checkpoints" / "final.pt").model for name in ("lost", "quiet")]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)
    versions = {load_artifact(root / name / "artifact").version for name in ("lost", "quiet")}
    assert len(versions) == 1


def test_a_search_goes_on_without_a_node(data, tmp_path):
    """The training that was there goes on from its checkpoint, on another node."""
    space = tmp_path / "space.yaml"
    space.write_text("parameters:\n  - {key: loss.delta_d, low: 1.0, high: 3.0}\n")
    uri = f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}"
    said = run_scenario("search", tmp_path, *SEARCH, f"data.train={data}", f"search.space={space}", uri)
    assert said["trials"] == [{"state": "complete", "spent": 100, "note": ""}] * 2
    out = tmp_path / "search"
    assert load_artifact(out / "artifact")
    folders = {path.name: path for path in (out / "trials").iterdir()}
    assert folders.keys() == said["stood"].keys()
    # Tune notes a death in the folder of the training.
    (lost,) = [path.parent.name for path in (out / "ray").glob("*/error.txt")]
    assert 0 < said["stood"][lost] < LENGTH
    for folder in folders.values():
        assert [row["step"] for row in rows_of(folder / "run")] == list(range(1, LENGTH + 1))
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(uri.removeprefix("tracking.uri="))
        runs = client.search_runs([client.get_experiment_by_name("linegroup").experiment_id])
        (run,) = [run for run in runs if run.data.tags["mlflow.runName"] == f"trial {lost}"]
        told = [entry.step for entry in client.get_metric_history(run.info.run_id, "train_total")]
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    # What was done twice was told twice.
    assert min((step for step, count in Counter(told).items() if count > 1), default=LENGTH) > said["stood"][lost]


def rows_of(out: Path) -> list[dict]:
    return [row for row in read_metrics(out) if "train_total" in row]
