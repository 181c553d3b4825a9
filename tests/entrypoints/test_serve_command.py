"""`linegroup serve` as a person uses it: started, asked, ended by a signal while it works."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from linegroup.cli import app
from linegroup.config import Config, GroupingConfig, ModelConfig
from linegroup.model import LineModel
from linegroup.testing import png, two_crossing_lines
from linegroup.training.artifact import save_artifact

START_S = 900.0
COMMAND = "from linegroup.cli import main; main()"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("API_", "MODEL_"))}
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "serve", *arguments],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        ((), {}, "API_AUTH_PASSWORD"),
        ((), {"API_AUTH_PASSWORD": "change_me"}, "API_AUTH_PASSWORD"),
        (("--no-auth", "--host", "0.0.0.0"), {}, "loopback"),
    ],
)
def test_unsafe_starts_are_refused(arguments, environment, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr.splitlines()[-1]


def test_taken_port_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--no-auth", "--port", str(port))
    assert done.returncode == 2
    assert str(port) in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("model", ["models:/linegroup@nobody", "nowhere"])
def test_a_model_that_is_not_there_is_said_before_anything_starts(model, mlflow_here, monkeypatch):
    monkeypatch.setattr("linegroup.distributed.serving.local.serving", None)
    refused = CliRunner().invoke(app, ["serve", "--no-auth", "--model", model])
    assert refused.exit_code == 2
    assert model.removeprefix("models:/").removesuffix("@nobody") in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_served_and_ended_while_it_works(tmp_path, monkeypatch, free_ports):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = Config(model=ModelConfig(width=8, depth=2, emb_dim=4, heads=("embedding", "foreground")))
    grouping = GroupingConfig(method="dbscan", candidates="non_white")
    save_artifact(tmp_path / "model", LineModel(config.model), config, grouping, {}, "tiny")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    said = tmp_path / "stderr"
    with said.open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "serve", "--no-auth", "--port", str(port), "--model", "model"], stderr=log
        )
    try:
        end = time.monotonic() + START_S
        while "Serving at" not in said.read_text():
            assert service.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.5)
        assert f"{address}/" in said.read_text()
        chart = two_crossing_lines((96, 128)).image
        answer = httpx.post(f"{address}/v1/cluster", files={"file": ("a.png", chart)}, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.json()["meta"]["model"]["version"] == "tiny"
        assert len(answer.headers.get_list("x-request-id")) == 1
        # An id that is not plain gives way to one of ours, in the header as in the body.
        odd = httpx.post(f"{address}/v1/cluster", headers={"X-Request-ID": "a b<script>"}, timeout=120)
        assert odd.headers.get_list("x-request-id") == [odd.json()["request_id"]]
        assert len(odd.json()["request_id"]) == 32
        assert httpx.get(f"{address}/ready", timeout=120).status_code == 200
        assert 'linegroup_requests_in_flight{replica="' in httpx.get(f"{address}/metrics", timeout=120).text
        hard = png(np.random.default_rng(0).integers(0, 200, (400, 400, 3), dtype=np.uint8))
        last: list[int] = []

        def ask() -> None:
            last.append(httpx.post(f"{address}/v1/cluster", files={"file": ("a.png", hard)}, timeout=120).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.3)
        service.send_signal(signal.SIGTERM)
        asking.join()
        assert last == [200], said.read_text()
        assert service.wait(180) == 0, said.read_text()
        with pytest.raises(httpx.ConnectError):
            httpx.get(address)
    finally:
        if service.poll() is None:
            service.kill()
