"""The job scripts on a real cluster: a local head with token authentication, and `ray job submit`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from linegroup.config import TrackingConfig
from linegroup.promotion import history
from linegroup.shards import ShardSet
from linegroup.training import mlflow_access, registry
from linegroup.training.artifact import load_artifact

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "examples" / "real_charts"
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]


def answer(url: str, token: str | None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture(scope="module")
def cluster(empty_mlflow, free_ports):
    """A head node of our own: its address, and the environment of a client that knows the token."""
    home = Path(tempfile.mkdtemp(prefix="lg-"))  # short: sockets live below it
    token = home / "token"
    token.write_text("0123456789abcdef" * 4)
    (home / "mlflow.db").write_bytes(empty_mlflow)
    environment = {
        # Not the settings, nor the token, of the Ray that other tests of this process use.
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
    }
    gcs, dashboard, client, agent, metrics = free_ports(5)
    log = (home / "head.log").open("wb")
    head = subprocess.Popen(
        [
            *(str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", "--object-store-memory=150000000"),
            *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
            *(f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}", f"--temp-dir={home}/r"),
        ],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 90
        while answer(f"{address}/api/jobs/", token.read_text()) != 200:
            assert head.poll() is None, (home / "head.log").read_text()
            assert time.monotonic() < deadline, (home / "head.log").read_text()
            time.sleep(0.5)
        yield address, environment
    finally:
        # What `ray start --block` started is of its own process group; never `ray stop`, which takes everybody's.
        os.killpg(head.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def submit(cluster, *command: str) -> subprocess.CompletedProcess[str]:
    address, environment = cluster
    return subprocess.run(
        [str(BIN / "ray"), "job", "submit", "--address", address, "--working-dir", ".", "--", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nobody_gets_in_without_the_token(cluster):
    assert answer(f"{cluster[0]}/api/jobs/", None) == 401
    assert answer(f"{cluster[0]}/api/jobs/", "0" * 64) == 403


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The result of a job that succeeded, on one line or on several; Ray prints its own words after it."""
    assert done.returncode == 0, done.stdout + done.stderr
    start = ("\n" + done.stdout).rindex("\n{")
    result: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[start:])[0]
    return result


TINY = (
    *("model.width=4", "model.depth=2", "augment.crop=[64,64]", "training.max_steps=2", "training.val_limit=1"),
    "grouping.max_candidate_points=5000",
)


@pytest.fixture(scope="module")
def chain(cluster, tmp_path_factory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """All jobs from annotations to a promoted model, one after the other: their folder, and what each answered."""
    root = tmp_path_factory.mktemp("chain")
    shards, run, search = (str(root / name) for name in ("shards", "run", "search"))
    (root / "space.yaml").write_text("parameters:\n  - {key: loss.delta_d, low: 1.0, high: 3.0}\n")
    commands: dict[str, tuple[str, ...]] = {
        "shard": (
            *("python", "jobs/make_shards.py", "--annotations", str(CHARTS / "annotations.json"), "--seed", "1"),
            *("--images", str(CHARTS), "--out", shards, "--images-per-part", "8", "--val-fraction", "0.3"),
        ),
        "train": (
            *("python", "jobs/train_model.py", f"data.train={shards}", f"training.out={run}", *TINY),
            *("ray.num_workers=2", "ray.cpus_per_worker=0.5", "ray.cpus_per_loader=0.25"),
        ),
        "search": (
            *("python", "tune/search_method.py", f"data.train={shards}", f"search.out={search}", *TINY),
            *(f"search.space={root / 'space.yaml'}", "search.trials=2", "search.charts=1", "search.grouping_trials=2"),
            *("search.final_trials=2", "search.final_charts=2", "search.cpus=0.5", "ray.num_workers=0"),
        ),
        "score": (
            *("python", "jobs/score_model.py", "--model", f"{search}/artifact", "--data", shards, "--limit", "1"),
            *("--set", "grouping.max_candidate_points=5000"),
        ),
        "register": ("linegroup", "models", "register", f"{search}/artifact", "--json"),
        # A network of two steps is worse than none: the gate is told to forgive that, not passed by.
        "promote": (
            *("python", "jobs/promote_model.py", "--version", "1", "--data", shards, "--limit", "2", "--by", "chain"),
            *("gate.pictures=2", "gate.tolerance=1"),
        ),
    }
    return root, {name: last_json(submit(cluster, *command)) for name, command in commands.items()}


@pytest.mark.long
def test_each_job_of_the_chain_answers(chain):
    root, said = chain
    assert said["shard"]["samples"] == len(ShardSet(root / "shards")) == 20
    ShardSet(root / "shards").verify()
    assert said["train"]["steps"] == 2
    assert [trial["state"] for trial in said["search"]["trials"]] == ["complete", "complete"]
    assert -0.5 <= said["score"]["methods"]["model"]["ari"]["mean"] <= 1
    assert said["register"]["version"] == "1"
    assert said["register"]["artifact_version"] == load_artifact(root / "search" / "artifact").version
    assert (said["promote"]["promoted"], said["promote"]["changed"], said["promote"]["passed"]) == (True, True, True)
    assert said["promote"]["comparison"]["overall"].keys() >= {"ari", "line_f1"}


@pytest.mark.long
def test_the_chain_is_seen_in_mlflow(cluster, chain):
    root, said = chain
    tracking = TrackingConfig(uri=cluster[1]["MLFLOW_TRACKING_URI"])
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(mlflow_access.tracking_uri(tracking))
        experiment = client.get_experiment_by_name(tracking.experiment)
        runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
        version = client.get_model_version_by_alias("linegroup", "champion")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    trained, parent = runs[said["train"]["run_id"]], runs[said["search"]["run_id"]]
    assert trained.data.params["ray.num_workers"] == "2"
    assert "train_total" in trained.data.metrics
    assert parent.data.tags["linegroup.kind"] == "search"
    children = [run for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 2
    # What trains nothing leaves runs, too: which shards, and what a model was worth on them.
    noted = {run.data.tags["linegroup.kind"]: run for run in runs.values() if "linegroup.kind" in run.data.tags}
    assert noted.keys() == {"shards", "search", "evaluation"}
    digest = ShardSet(root / "shards").digest
    assert trained.data.tags["data.train"] == noted["shards"].data.tags["data.digest"] == digest
    assert noted["shards"].data.metrics["samples"] == 20
    assert noted["evaluation"].data.tags["artifact_version"] == said["score"]["model"]["version"]
    assert noted["evaluation"].data.metrics["model_ari"] == pytest.approx(
        said["score"]["methods"]["model"]["ari"]["mean"]
    )
    assert len(runs) == 6
    # The registered model is the winner of the search, and what was noted of its promotion says on what.
    assert (str(version.version), version.run_id) == ("1", parent.info.run_id)
    assert version.tags["artifact_version"] == load_artifact(root / "search" / "artifact").version
    (entry,) = history("linegroup", tracking=tracking)
    assert (entry["by"], entry["gate"], entry["version"], entry["before"]) == ("chain", "passed", "1", None)
    assert entry["scores"].keys() >= {"ari", "line_f1"}
    shown = registry.show_model("models:/linegroup@champion", tracking)
    assert shown["version"] == said["register"]["artifact_version"]


def test_a_job_answers_on_its_last_line(cluster, tmp_path):
    shards = tmp_path / "shards"
    done = submit(
        cluster,
        *("python", "jobs/make_shards.py", "--annotations", str(CHARTS / "annotations.json")),
        *("--images", str(CHARTS), "--out", str(shards), "--images-per-part", "8"),
    )
    assert last_json(done)["samples"] == len(ShardSet(shards)) == 20


@pytest.mark.long
def test_a_mistake_fails_the_job_with_its_reason(cluster, tmp_path):
    missing = tmp_path / "missing.json"
    done = submit(
        cluster,
        *("python", "jobs/make_shards.py"),
        *("--annotations", str(missing), "--images", str(CHARTS), "--out", str(tmp_path / "out")),
    )
    # Ray reports 1 for any failure; the script's own code, 2, is in the message.
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "exit code 2" in said
    assert str(missing) in said
    assert "Traceback" not in said
