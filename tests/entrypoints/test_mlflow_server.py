"""Runs, models and promotions through a real `mlflow server` on SQLite, several processes writing at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from linegroup.config import TrackingConfig
from linegroup.promotion import history, load_promotion, promote_model, rollback
from linegroup.training import registry
from linegroup.training.artifact import load_artifact
from linegroup.training.mlflow_access import open_client, quiet_environment
from linegroup.training.tracking import initialise

BIN = Path(sys.executable).parent
WORKERS, STEPS = 3, 200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# One of several trainings: all that a run reports, and its model in the registry. It waits for the others to be ready.
WORKER = """
import json, sys, time
from pathlib import Path
import torch
from linegroup.config import GroupingConfig, TrackingConfig, load_config
from linegroup.model import LineModel
from linegroup.training import registry
from linegroup.training.artifact import save_artifact
from linegroup.training.tracking import start_tracker

number, uri, out, steps, go = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])
config = load_config(None, ["model.width=4", "model.depth=1", f"training.seed={number}"])
where = TrackingConfig(uri=uri, experiment="many")
torch.manual_seed(number)
artifact = save_artifact(out / "artifact", LineModel(config.model), config, GroupingConfig(), {"val_ari": number / 10})
(out / "ready").touch()
while not go.exists():
    time.sleep(0.02)
tracker = start_tracker(where, out, config, {"data.train": f"digest{number}"})
for step in range(1, steps + 1):
    tracker.metrics({"loss": number + 1 / step, "lr": 0.1}, step)
    if step % 20 == 0:
        tracker.flush()
tracker.model(artifact)
tracker.close()
made = registry.register(tracker.run_id, "many", where)
print(json.dumps({"run_id": tracker.run_id, "artifact": artifact.version, "version": made["version"]}))
"""


def is_up(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory, free_ports):
    """Address of a server of our own, as docs/cluster.md starts it, with SQLite in PostgreSQL's place."""
    home = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{home}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": str(home / "artifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 240
            while not is_up(uri):
                assert process.poll() is None, (home / "server.log").read_text()
                assert time.monotonic() < deadline, (home / "server.log").read_text()
                time.sleep(0.5)
            yield uri
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def runs(server, tmp_path_factory):
    """What the workers say of themselves, in the order of their numbers."""
    home = tmp_path_factory.mktemp("runs")
    initialise(TrackingConfig(uri=server, experiment="many"))
    outs = [home / f"out{number}" for number in range(WORKERS)]
    for out in outs:
        out.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(number), server, str(out), str(STEPS), str(home / "go")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, out in enumerate(outs)
    ]
    try:
        while not all((out / "ready").exists() for out in outs):
            assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
            time.sleep(0.1)
        (home / "go").touch()
        answers = [process.communicate(timeout=700) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * WORKERS, answers
    # MLflow says nothing of its own on standard output.
    return [json.loads(out) for out, _ in answers]


def test_nothing_of_any_run_is_lost(server, runs):
    with quiet_environment():
        client = open_client(server)
        for number, told in enumerate(runs):
            run = client.get_run(told["run_id"])
            assert run.info.status == "FINISHED"
            assert run.data.params["training.seed"] == str(number)
            assert run.data.tags["data.train"] == f"digest{number}"
            points = client.get_metric_history(told["run_id"], "loss")
            assert [(point.step, point.value) for point in points] == [(s, number + 1 / s) for s in range(1, STEPS + 1)]
        experiment = client.get_experiment_by_name("many").experiment_id
        assert len(client.search_runs([experiment])) == WORKERS


def test_every_model_comes_back_whole(server, runs):
    where = TrackingConfig(uri=server)
    assert sorted(told["version"] for told in runs) == [str(n) for n in range(1, WORKERS + 1)]
    for told in runs:
        artifact = load_artifact(registry.resolve_model(f"models:/many/{told['version']}", where))
        assert artifact.version == told["artifact"]


def test_promotion_and_rollback(server, runs):
    where = TrackingConfig(uri=server)
    for version in ("1", "2", "3"):
        job = load_promotion(None, (), {"name": "many", "version": version, "no_gate": "a test"})
        assert promote_model(job, tracking=where, by="ada").changed
    assert rollback("many", tracking=where)["version"] == "2"
    assert rollback("many", tracking=where)["version"] == "1"
    assert registry.version_of("many", config=where) == "1"
    assert [entry["version"] for entry in history("many", tracking=where)] == ["1", "2", "3", "2", "1"]
    listed = registry.list_models(where)
    assert [(row["version"], row["aliases"]) for row in listed if row["aliases"]] == [("1", ["champion"])]
