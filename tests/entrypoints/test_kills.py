"""Jobs killed again and again, at random moments and at every rename: each ends as if nobody had touched it.

Part of `make chaos`; `CHAOS_KILLS` is the number of random kills of each job.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linegroup.config import load_config
from linegroup.sources.coco_write import write_coco
from linegroup.testing import random_sample
from linegroup.training import mlflow_access
from linegroup.training.artifact import load_artifact
from linegroup.training.checkpoint import load_checkpoint
from linegroup.training.loop import train_local
from linegroup.training.reporting import read_metrics
from linegroup.tuning.plans import load_search, plan_search

KILLS = int(os.environ.get("CHAOS_KILLS", "17"))
ROOT = Path(__file__).parents[2]
AIMED = Path(__file__).with_name("aimed_kills.py")
TINY = (
    "model.width=4",
    "model.depth=1",
    "model.emb_dim=2",
    "augment.crop=[24, 32]",
    "training.batch_size=2",
    "training.device=cpu",
    "training.pictures=0",
    "grouping.min_samples=5",
)
LOCAL = "import sys, torch; torch.set_num_threads(1); from linegroup.config import load_config; \
from linegroup.training.loop import train_local; train_local(load_config(None, sys.argv[1:]))"
# One thread, as the trainings that the results are compared with have.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(7200)]


@dataclass(frozen=True)
class Job:
    """A command that does everything below one folder, and what it leaves there.

    Attributes:
        command: From the folder to the command line.
        begun: From the folder to a file that stands there as soon as there is something to lose.
        result: From the folder to what must be equal, whatever happened on the way.
    """

    command: Callable[[Path], list[str]]
    begun: Callable[[Path], Path]
    result: Callable[[Path], object]


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder) -> Path:
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("kills") / "shards", {"train": samples[:4], "val": samples[4:]})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sharding(_shards: Path) -> Job:
    def command(out: Path) -> list[str]:
        script = str(ROOT / "jobs" / "make_synth.py")
        return [
            *(sys.executable, script, "--count", "48", "--images-per-part", "2", "--serial"),
            *("--out", str(out / "shards")),
        ]

    return Job(command, lambda out: out / "shards", lambda out: files_below(out / "shards"))


def files_below(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "manifest.json" in files
    assert len(files) > 4
    return files


def training(shards: Path) -> Job:
    def command(out: Path) -> list[str]:
        steps = ("training.max_steps=200", "training.save_every=1", "training.eval_every=20")
        return [sys.executable, "-c", LOCAL, *TINY, *steps, *places(shards, out), f"training.out={out / 'run'}"]

    def result(out: Path) -> object:
        return tracked_runs(out), *trained(out / "run")

    return Job(command, lambda out: out / "run", result)


def trained(out: Path) -> tuple[Any, ...]:
    """Weights, records and names of files of a training; the time of day is in none of them."""
    states = [load_checkpoint(out / "checkpoints" / name) for name in ("final.pt", "best.pt", "last.pt")]
    weights = [{key: value.numpy().tobytes() for key, value in state.model.items()} for state in states]
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    return weights, read_metrics(out), load_artifact(out / "artifact").version, files


def places(shards: Path, out: Path) -> list[str]:
    return [f"data.train={shards}", f"tracking.uri=sqlite:///{out / 'mlflow.db'}"]


def tracked_runs(out: Path) -> list[tuple[bool, str]]:
    """For each run in MLflow: whether it is below another one, and what became of it."""
    tracking = load_config(None, places(out, out)).tracking
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(mlflow_access.tracking_uri(tracking))
        experiment = client.get_experiment_by_name("linegroup")
        runs = client.search_runs([experiment.experiment_id])
    return sorted(("mlflow.parentRunId" in run.data.tags, run.info.status) for run in runs)


def searching(shards: Path) -> Job:
    def options(out: Path) -> list[str]:
        (out / "space.yaml").write_text("parameters:\n  - {key: loss.delta_d, low: 1.0, high: 3.0}\n")
        return [
            # None is stopped: what is stopped depends on who is first.
            *("search.trials=3", "search.charts=3", "search.grouping_trials=3", "search.final_trials=3"),
            *("search.grace=1.0", "search.cpus=1", "ray.num_workers=0"),
            *("training.max_steps=100", "training.save_every=10", *TINY, *places(shards, out)),
            *(f"search.out={out / 'search'}", f"search.space={out / 'space.yaml'}", "ray.address=local"),
        ]

    def command(out: Path) -> list[str]:
        return [sys.executable, str(ROOT / "tune" / "search_method.py"), *options(out)]

    def result(out: Path) -> object:
        answer = json.loads((out / "search" / "result.json").read_text())
        assert [trial["state"] for trial in answer["trials"]] == ["complete"] * 3
        # Of those at their end: Tune ends a training at its last report, before it has written `final.pt`.
        states = {path: load_checkpoint(path) for path in out.glob("search/trials/*/run/checkpoints/last.pt")}
        found = {state.settings["loss.delta_d"]: path for path, state in states.items() if state.step == 100}
        wanted = [trial["settings"]["loss.delta_d"] for trial in answer["trials"]]
        assert len(set(wanted)) == 3
        assert set(wanted) <= found.keys()
        for trial in answer["trials"]:
            assert_undisturbed(out, options(out), trial["values"], found[trial["settings"]["loss.delta_d"]])
        # The model is the best network, with its grouping tuned.
        best = answer["trials"][answer["best"]]
        assert best["objective"] == max(trial["objective"] for trial in answer["trials"])
        model = load_artifact(out / "search" / "artifact")
        assert model.config.loss.delta_d == best["settings"]["loss.delta_d"]
        # The configuration itself is among them; what else is tried may differ after a kill, and in what order.
        assert load_search(None, options(out))[0].loss.delta_d in wanted
        return tracked_runs(out), left_over(out)

    return Job(command, lambda out: out / "search" / "trials", result)


def assert_undisturbed(out: Path, options: list[str], values: dict[str, Any], last: Path) -> None:
    """The weights are those of a training of its own with these settings."""
    plan = plan_search(*load_search(None, options))
    config = plan.config(values, "alone")
    changes = {
        "training": config.training.model_copy(update={"out": str(out / f"alone-{last.parts[-4]}")}),
        "tracking": config.tracking.model_copy(update={"enabled": False}),
    }
    alone = Path(train_local(config.model_copy(update=changes)).artifact).parent
    states = [load_checkpoint(path).model for path in (last, alone / "checkpoints" / "last.pt")]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)
    shutil.rmtree(alone)


def left_over(out: Path) -> list[str]:
    """Temporary files of ours."""
    found = [path for path in out.rglob("*") if re.fullmatch(r"\..*\.[a-z0-9_]{8}\.(tmp|old)|last\.1\.tmp", path.name)]
    return [str(path.relative_to(out)) for path in found]


@pytest.mark.parametrize("make", [sharding, training, pytest.param(searching, marks=pytest.mark.ray)])
def test_killed_at_random_moments(make, shards, tmp_path, empty_mlflow, capsys):
    """`CHAOS_KILLS` kills in all; whenever a job got to its end, its result is that of an undisturbed one."""
    job = make(shards)
    began = time.monotonic()
    out = new_place(tmp_path / "undisturbed", empty_mlflow)
    span = undisturbed(job, out)
    expected = job.result(out)
    seed = int.from_bytes(os.urandom(4))
    rng = np.random.default_rng(seed)
    kills = finished = lost = 0
    while kills < KILLS:
        out = new_place(tmp_path / f"round-{finished}", empty_mlflow)
        for fell, begun in attempts(job, out, rng, span):
            kills += fell
            lost += fell and begun
            if kills == KILLS:
                finish(job, out)
                break
        finished += 1
        assert job.result(out) == expected, (out, seed)
        assert left_over(out) == []
    seconds = time.monotonic() - began
    tell(
        capsys,
        f"{make.__name__}: {kills} kills, {lost} of them in the work, {finished} jobs to their end, {seconds:.0f} s;"
        f" undisturbed {span[1]:.0f} s",
    )
    assert lost >= KILLS // 2


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """The figures are what one runs this for."""
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def new_place(folder: Path, mlflow: bytes) -> Path:
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(mlflow)
    return folder


def undisturbed(job: Job, out: Path) -> tuple[float, float]:
    """Seconds until it has begun, and to its end."""
    started = time.monotonic()
    begun = None
    with running(job, out) as process:
        while process.poll() is None:
            if begun is None and job.begun(out).exists():
                begun = time.monotonic() - started
            time.sleep(0.01)
        assert process.returncode == 0, log_of(out)
    assert begun is not None
    return begun, time.monotonic() - started


def attempts(job: Job, out: Path, rng: np.random.Generator, span: tuple[float, float]) -> Iterator[tuple[bool, bool]]:
    """Start the job until it ends by itself; for each time: whether it was killed, and whether it had begun."""
    fell = True
    while fell:
        with running(job, out) as process:
            try:
                process.wait(timeout=rng.uniform(0.8 * span[0], span[1]))
                assert process.returncode == 0, log_of(out)
                fell = False
            except subprocess.TimeoutExpired:
                kill(process)
        yield fell, job.begun(out).exists()


def finish(job: Job, out: Path) -> None:
    with running(job, out) as process:
        process.wait()
        assert process.returncode == 0, log_of(out)


@contextlib.contextmanager
def running(job: Job, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (out / "job.log").open("ab") as log:
        process = subprocess.Popen(
            job.command(out), env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """With everything it started; what Ray keeps in /tmp is removed here, as nobody else would."""
    places = ray_places(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while any(place in words for _, words in processes() for place in places):
        assert time.monotonic() < deadline, "processes of Ray outlive their driver"
        time.sleep(0.1)
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


def ray_places(pid: int) -> set[str]:
    """Folders of the private Ray that a process has started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    below = {pid}
    for _ in range(4):
        below |= {child for child, parent in parents.items() if parent in below}
    words = " ".join(words for number, words in processes() if number in below)
    return set(re.findall(r"/tmp/lg-[a-z0-9_]{8}", words))


def processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def log_of(out: Path) -> str:
    return (out / "job.log").read_text(errors="replace")[-4000:]


STEPS = ("training.max_steps=8", "training.save_every=1", "training.eval_every=4", "tracking.enabled=false")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("name", "least"), [("sharding", 20), ("training", 15)])
def test_killed_at_every_rename(name, least, moment, shards, tmp_path, capsys):
    """Between a write and its rename, or right after it: once in each of many folders, and again and again in one."""
    began = time.monotonic()
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 13)]
    write_coco(samples, tmp_path / "charts" / "a.json", tmp_path / "charts" / "images")
    settings = [str(tmp_path / "charts")] if name == "sharding" else [*TINY, *STEPS, f"data.train={shards}"]
    command = [sys.executable, str(AIMED), name, moment, str(tmp_path / "out"), *settings]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills = int(done.stdout.splitlines()[-1])
    assert kills > least
    folders = sorted((tmp_path / "out").iterdir())
    assert {path.name for path in folders} >= {"undisturbed", "chain", "1", str(least)}
    of = files_below if name == "sharding" else trained
    expected = of(tmp_path / "out" / "undisturbed")
    for each in folders:
        assert of(each) == expected, each
    tell(capsys, f"{name}, {moment} a rename: {kills} kills, {len(folders)} jobs, {time.monotonic() - began:.0f} s")
