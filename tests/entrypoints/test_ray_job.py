"""The job scripts on a real cluster: a local head with token authentication, and `ray job submit`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from linegroup.shards import ShardSet

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "examples" / "real_charts"
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, outside the range that Ray's workers take."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


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
def cluster():
    """A head node of our own: its address, and the environment of a client that knows the token."""
    home = Path(tempfile.mkdtemp(prefix="lg-"))  # short: sockets live below it
    token = home / "token"
    token.write_text("0123456789abcdef" * 4)
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
        # `ray start --block` takes its own processes down; never `ray stop`, which takes everybody's.
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait()
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def submit(cluster, *command: str) -> subprocess.CompletedProcess[str]:
    address, environment = cluster
    return subprocess.run(
        [str(BIN / "ray"), "job", "submit", "--address", address, "--working-dir", ".", "--", "python", *command],
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
    """The result line of a job that succeeded; Ray prints its own words after it."""
    assert done.returncode == 0, done.stdout + done.stderr
    line = [line for line in done.stdout.splitlines() if line.startswith("{")][-1]
    result: dict[str, Any] = json.loads(line)
    return result


def test_submitted_jobs_shard_train_and_score(cluster, tmp_path):
    shards, run = tmp_path / "shards", tmp_path / "run"
    made = submit(
        cluster,
        "jobs/make_shards.py",
        *("--annotations", str(CHARTS / "annotations.json"), "--images", str(CHARTS), "--out", str(shards)),
        *("--images-per-part", "8", "--val-fraction", "0.3", "--seed", "1"),
    )
    assert last_json(made)["samples"] == len(ShardSet(shards)) == 20
    ShardSet(shards).verify()
    trained = submit(
        cluster,
        "jobs/train_model.py",
        *(f"data.train={shards}", f"training.out={run}", "training.max_steps=2", "training.val_limit=1"),
        *("model.width=4", "model.depth=2", "augment.crop=[64,64]", "ray.num_workers=1", "ray.cpus_per_worker=0.5"),
    )
    assert last_json(trained)["steps"] == 2
    scored = submit(
        cluster, "jobs/score_model.py", "--model", str(run / "artifact"), "--data", str(shards), "--limit", "1"
    )
    assert -0.5 <= last_json(scored)["methods"]["model"]["ari"]["mean"] <= 1


def test_a_mistake_fails_the_job_with_its_reason(cluster, tmp_path):
    missing = tmp_path / "missing.json"
    done = submit(
        cluster,
        "jobs/make_shards.py",
        *("--annotations", str(missing), "--images", str(CHARTS), "--out", str(tmp_path / "out")),
    )
    # Ray reports 1 for any failure; the script's own code, 2, is in the message.
    assert done.returncode == 1
    assert str(missing) in done.stdout
    assert "Traceback" not in done.stdout.split(str(missing))[0].rsplit("\n", 5)[-1]
