"""The service on a real Ray Serve: answers, model changes and dying replicas under load, overload, scaling."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import ray
import torch
from ray import serve
from ray.serve.schema import ServeDeploySchema

from linegroup.config import Config, GroupingConfig, ModelConfig
from linegroup.distributed.serving.local import quiet_serve, start_http
from linegroup.model import LineModel
from linegroup.serving.api import build_api
from linegroup.serving.loading import load_model
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.stages import LocalStages
from linegroup.testing import chart_sample, png, two_crossing_lines
from linegroup.training.artifact import WEIGHTS, save_artifact

CHAOS_SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
PATIENCE_S = 240.0
SMALL = two_crossing_lines((96, 128)).image
CONFIG = Config(model=ModelConfig(width=8, depth=2, emb_dim=4, heads=("embedding", "foreground")))
GROUPING = GroupingConfig(method="dbscan", candidates="non_white", eps=0.3)
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "API_AUTH_ENABLED": "false",
    "MAX_QUEUED_REQUESTS": "8",
    "REQUEST_TIMEOUT_S": "60",
}
QUICK = {"target_ongoing_requests": 2, "upscale_delay_s": 1, "downscale_delay_s": 3, "look_back_period_s": 3}


@dataclass
class Seen:
    """One answer as a client saw it; `status` 0: none."""

    status: int
    version: str
    seconds: float
    retry_after: str | None = None
    clusters: int | None = None


class Service:
    """The application under test, deployed as a config file deploys it."""

    def __init__(self, port: int, models: Path) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.models = models
        # One for all: making one costs more than many a request.
        self.client = httpx.Client(limits=httpx.Limits(max_connections=None))
        self.config = {
            "applications": [
                {
                    "name": "linegroup",
                    "import_path": "serve.app:build",
                    "runtime_env": {"env_vars": ENVIRONMENT},
                    "args": {"embedder_gpus": 0, "warm_methods": ["dbscan"]},
                    "deployments": [
                        {"name": "Embedder", "ray_actor_options": {"num_cpus": 0.3}},
                        {"name": "Clusterer", "ray_actor_options": {"num_cpus": 0.3}},
                    ],
                }
            ]
        }
        self.choice = {"model_uri": str(models / "first")}

    def deploy(self, embedder=None, clusterer=None, **choice) -> None:
        """Deploy with other options or another model; returns when everything runs."""
        self.choice = choice or self.choice
        for entry, options in zip(self.config["applications"][0]["deployments"], (embedder, clusterer), strict=True):
            entry.update(options or {})
        self.config["applications"][0]["deployments"][0]["user_config"] = self.choice
        client = serve.context._get_global_client()
        client.deploy_apps(ServeDeploySchema.model_validate(self.config))
        self.wait(lambda: self.status() == "RUNNING", "running")

    @staticmethod
    def status() -> str:
        application = serve.status().applications["linegroup"]
        assert application.status != "DEPLOY_FAILED", application
        return application.status

    def wait(self, condition, what: str, seconds: float = PATIENCE_S) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.25)
        raise AssertionError(f"not {what} after {seconds} s: {serve.status()}")

    def pids(self, deployment: str) -> list[int]:
        """Processes of a deployment's replicas, among those of this very Ray."""
        mark = re.compile(rf"ray::.*[#:]{deployment}\b")
        return [pid for pid in descendants(os.getpid()) if mark.match(title(pid))]

    def post(self, path: str = "/v1/cluster", content: bytes = SMALL, timeout: float = PATIENCE_S, **fields) -> Seen:
        started = time.monotonic()
        try:
            answer = self.client.post(
                self.address + path, files={"file": ("a.png", content)}, data=fields, timeout=timeout
            )
        except httpx.HTTPError:
            return Seen(0, "", time.monotonic() - started)
        version = answer.headers.get("x-model-version", "")
        if answer.status_code == 200 and len(answer.content) < 1e6:
            assert answer.json()["meta"]["model"]["version"] == version, "one version in all of an answer"
        clusters = re.match(rb'{"num_clusters":(\d+)', answer.content)
        return Seen(
            answer.status_code,
            version,
            time.monotonic() - started,
            answer.headers.get("retry-after"),
            int(clusters[1]) if clusters else None,
        )

    def load(self, clients: int = 3, **fields) -> "Load":
        return Load(self, clients, fields)


class Load:
    """Clients that ask again and again for the length of a block."""

    def __init__(self, service: Service, clients: int, fields: dict) -> None:
        self.seen: list[Seen] = []
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._work = [(service, fields)] * clients

    def __enter__(self) -> "Load":
        self._doing = [self._pool.submit(self._ask, *each) for each in self._work]
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for each in self._doing:
            each.result()
        self._pool.shutdown()

    def _ask(self, service: Service, fields: dict) -> None:
        while not self._end.is_set():
            self.seen.append(service.post(**fields))

    def more(self, service: Service, answers: int) -> None:
        """Wait for so many further answers."""
        enough = len(self.seen) + answers
        service.wait(lambda: len(self.seen) >= enough, f"{answers} more answers")


def descendants(pid: int) -> list[int]:
    found = []
    for child in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(child.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(child.parent.name), *descendants(int(child.parent.name))]
    return found


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0].strip()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate(("first", "second")):
        torch.manual_seed(number)
        save_artifact(folder / name, LineModel(CONFIG.model), CONFIG, GROUPING, {}, name)
    shutil.copytree(folder / "second", folder / "poisoned")
    (folder / "poisoned" / WEIGHTS).write_bytes(b"cos\nsystem\n(S'touch /tmp/poisoned'\ntR.")
    return folder


@pytest.fixture(scope="module")
def service(ray_session, models):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with quiet_serve():
        start_http("127.0.0.1", port)
        made = Service(port, models)
        made.deploy()
        yield made
        made.client.close()
        serve.shutdown()


def plain(tree: dict) -> dict:
    """An answer without what differs from call to call."""
    tree.get("meta", tree).pop("timings_ms")
    return tree


@pytest.mark.timeout(900)
def test_answers_are_those_of_one_process(service, models):
    loaded = load_model(service.choice["model_uri"], "cpu")
    stages = LocalStages(loaded.predictor, loaded.info)
    app = build_api(ServiceSettings.read(_env_file=None, api_auth_enabled=False), stages)

    async def local(path: str, content: bytes, fields: dict) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, files={"file": ("a.png", content)}, data=fields)

    cases = [
        ("/v1/cluster", SMALL, {}),
        ("/v1/cluster", chart_sample(1, (200, 300)).image, {"candidate_method": "canny", "eps": "0.4"}),
        ("/v1/lines", SMALL, {"mask": "rle"}),
        ("/v1/cluster", b"no picture", {}),
        ("/v1/cluster", SMALL[:-200], {}),
        ("/v1/cluster", SMALL, {"eps": "-1"}),
    ]
    for path, content, fields in cases:
        ours = httpx.post(service.address + path, files={"file": ("a.png", content)}, data=fields, timeout=PATIENCE_S)
        alone = asyncio.run(local(path, content, fields))
        assert ours.status_code == alone.status_code
        assert len(ours.headers.get_list("x-request-id")) == 1
        if alone.status_code == 200:
            assert plain(ours.json()) == plain(alone.json())
        else:
            assert ours.json()["error"] == alone.json()["error"]
    stages.close()
    info = httpx.get(f"{service.address}/model/info", timeout=PATIENCE_S).json()
    assert info == json.loads(loaded.info.model_dump_json())
    assert httpx.get(f"{service.address}/ready", timeout=PATIENCE_S).status_code == 200


@pytest.mark.timeout(900)
def test_model_is_changed_and_a_poisoned_one_refused_under_load(service):
    (before,) = service.pids("Embedder")
    with service.load() as load:
        load.more(service, 5)
        service.deploy(model_uri=str(service.models / "second"))
        load.more(service, 8)
        service.deploy(model_uri=str(service.models / "poisoned"))
        load.more(service, 8)
        service.deploy(model_uri=str(service.models / "first"))
        load.more(service, 8)
    assert Counter(seen.status for seen in load.seen) == {200: len(load.seen)}
    assert {seen.version for seen in load.seen} == {"first", "second"}
    assert load.seen[0].version == load.seen[-1].version == "first"
    assert service.pids("Embedder") == [before], "in place: no replica was replaced"
    assert not Path("/tmp/poisoned").exists()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("deployment", ["Embedder", "Clusterer"])
def test_replica_dies_under_load(service, deployment):
    want = service.post()
    with service.load() as load:
        load.more(service, 3)
        (pid,) = service.pids(deployment)
        os.kill(pid, signal.SIGKILL)
        service.wait(lambda: set(service.pids(deployment)) - {pid}, "replaced")
        load.more(service, 6)
    assert Counter(seen.status for seen in load.seen) == {200: len(load.seen)}
    assert {(seen.version, seen.clusters) for seen in load.seen} == {(want.version, want.clusters)}


@pytest.mark.timeout(900)
def test_overload_is_refused_at_once(service):
    """Eight may be in; forty come."""
    # Black dust: seconds of work in few bytes, so that what refusing takes is not lost among what clients take.
    dust = np.random.default_rng(0).integers(0, 2, (600, 600, 1), dtype=np.uint8)
    slow = png(255 * dust.repeat(3, axis=2))
    with ThreadPoolExecutor(40) as clients:
        seen = list(clients.map(lambda _: service.post(content=slow), range(40)))
    by_status = Counter(each.status for each in seen)
    assert set(by_status) == {200, 503}
    assert by_status[200] >= 8
    refused = [each for each in seen if each.status == 503]
    assert {each.retry_after for each in refused} == {"1"}
    done = [each.seconds for each in seen if each.status == 200]
    assert np.median([each.seconds for each in refused]) < max(done) / 2
    assert service.post().status == 200


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_replica_that_hangs_is_replaced(service):
    (pid,) = service.pids("Clusterer")
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        service.wait(lambda: set(service.pids("Clusterer")) - {pid}, "replaced")
        service.wait(lambda: service.post().status == 200, "answering")
        assert time.monotonic() - started < 120, "about half a minute on a machine of its own"
    finally:
        if pid in service.pids("Clusterer"):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_replicas_die_again_and_again(service):
    """Two replicas of each; every ten seconds one of any kind but the interface is killed."""
    two = {"autoscaling_config": {"min_replicas": 2, "max_replicas": 2}}
    service.deploy(two, two)
    rng = np.random.default_rng(0)
    try:
        with service.load(4) as load:
            end = time.monotonic() + CHAOS_SECONDS
            while time.monotonic() < end:
                load.more(service, 3)
                pids = [pid for name in ("Embedder", "Clusterer") for pid in service.pids(name)]
                os.kill(int(rng.choice(pids)), signal.SIGKILL)
                time.sleep(10)
            load.more(service, 10)
    finally:
        one = {"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}}
        service.deploy(one, one)
    assert Counter(seen.status for seen in load.seen) == {200: len(load.seen)}
    assert len({(seen.version, seen.clusters) for seen in load.seen}) == 1


def replicas(deployment: str) -> int:
    return serve.status().applications["linegroup"].deployments[deployment].replica_states.get("RUNNING", 0)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("busy", "idle"), [("Clusterer", "Embedder"), ("Embedder", "Clusterer")])
def test_stages_scale_apart(service, busy, idle):
    """Work for one stage makes that one grow from one replica to two and back; the other stays."""
    scaling = {"autoscaling_config": {"min_replicas": 1, "max_replicas": 2, **QUICK}}
    service.deploy(scaling, scaling)
    service.wait(lambda: replicas(busy) == replicas(idle) == 1, "one of each")
    most_idle = 1
    # Three thousand points against each other cost the clusterer; a large empty page costs the network alone.
    noise = np.random.default_rng(0).integers(0, 200, (60, 60, 3), dtype=np.uint8)
    page = np.full((1500, 1500, 3), 255, dtype=np.uint8)
    page[700:703, 100:1400] = 0
    hard = {"content": png(noise), "clustering_method": "sklearn_dbscan", "eps": "1000"}
    asked = {"Clusterer": hard, "Embedder": {"content": png(page)}}[busy]
    with service.load(6, **asked) as load:

        def grown() -> bool:
            nonlocal most_idle
            most_idle = max(most_idle, replicas(idle))
            return replicas(busy) == 2

        service.wait(grown, "two replicas")
    service.wait(lambda: replicas(busy) == 1, "one replica again")
    assert most_idle == 1
    assert all(seen.status == 200 for seen in load.seen)
    assert ray.is_initialized()
