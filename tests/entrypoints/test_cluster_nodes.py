"""A cluster of three nodes on one machine: a node that works is lost, and nothing else is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from linegroup.distributed.data import make_shards_serial
from linegroup.distributed.synth_job import SynthJob
from linegroup.testing import random_sample
from linegroup.training.artifact import load_artifact
from linegroup.training.checkpoint import load_checkpoint
from linegroup.training.reporting import read_metrics

ROOT = Path(__file__).parents[2]
SCENARIO = Path(__file__).with_name("cluster_nodes.py")
STEPS = 120
SETTINGS = (
    *("model.width=4", "model.depth=1", "model.emb_dim=2", "augment.crop=[24, 32]", "training.device=cpu"),
    *("training.batch_size=1", "training.pictures=0", "training.eval_every=1000", f"training.max_steps={STEPS}"),
    *("tracking.enabled=false", "grouping.min_samples=5"),
    # Two workers do not fit on one node of one CPU.
    *("ray.num_workers=2", "ray.cpus_per_worker=0.7", "ray.cpus_per_loader=0.2"),
)

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory, make_shard_folder) -> tuple[Path, dict]:
    """The folder of the scenario, and what it said of itself."""
    root = tmp_path_factory.mktemp("nodes")
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    data = make_shard_folder(root / "data", {"train": samples[:6], "val": samples[6:]})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, str(SCENARIO), str(root), *SETTINGS, f"data.train={data}"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    # Not in between, where it would have harmed nobody.
    assert said["lost"] == [True, True], said
    assert said["left"] == [2, 2], said
    return root, said


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
    rows = [[row for row in read_metrics(root / name) if "train_total" in row] for name in ("lost", "quiet")]
    assert [row["step"] for row in rows[0]] == list(range(1, STEPS + 1))
    assert rows[0] == rows[1]
    states = [load_checkpoint(root / name / "checkpoints" / "final.pt").model for name in ("lost", "quiet")]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)
    versions = {load_artifact(root / name / "artifact").version for name in ("lost", "quiet")}
    assert len(versions) == 1
