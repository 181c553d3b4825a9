"""Training by Ray: equal to the plain loop, and nothing lost when processes are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from linegroup.batches import BatchBuilder
from linegroup.config import load_config
from linegroup.errors import UserError
from linegroup.plans import BatchPlan
from linegroup.shards import ShardSet
from linegroup.testing import RandomSamples, random_sample
from linegroup.training.artifact import load_artifact
from linegroup.training.checkpoint import load_checkpoint
from linegroup.training.loop import train_local
from linegroup.training.reporting import read_metrics

ROOT = Path(__file__).parents[2]
TINY = (
    "model.width=4",
    "model.depth=1",
    "model.emb_dim=2",
    "augment.crop=[24, 32]",
    "training.batch_size=2",
    "training.device=cpu",
    "training.pictures=0",
    "training.eval_every=1000",
    "tracking.enabled=false",
    "ray.cpus_per_worker=0.5",
    "ray.cpus_per_loader=0.25",
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder) -> Path:
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("ray") / "shards", {"train": samples[:6], "val": samples[6:]})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As Ray's workers have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def arguments(shards: Path, out: Path, *overrides: str) -> list[str]:
    return [*TINY, f"data.train={shards}", f"training.out={out}", *overrides]


def assert_same_run(one: Path, other: Path) -> None:
    """The same steps, each once, and the same weights to the last bit."""
    rows = [[row for row in read_metrics(out) if "train_total" in row] for out in (one, other)]
    assert [row["step"] for row in rows[0]] == list(range(1, len(rows[1]) + 1))
    assert rows[0] == rows[1]
    states = [load_checkpoint(out / "checkpoints" / "final.pt").model for out in (one, other)]
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=0, atol=0)


def descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


def training_workers() -> list[int]:
    """Processes of Ray Train below this one."""
    workers = []
    for pid in descendants(os.getpid()):
        try:
            if b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                workers.append(pid)
        except OSError:
            continue
    return workers


def wait_for(path: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.002)


def test_batches_travel_unchanged(shards):
    from linegroup.distributed.feed import pack, unpack

    samples = ShardSet(shards, "train")
    config = load_config(None, TINY)
    builder = BatchBuilder(
        (samples,), BatchPlan((samples.row_group_sizes,), 3), config, frozenset({"labels", "certain"})
    )
    batch = builder(1)
    found = unpack(pack(batch))
    assert found.targets.keys() == batch.targets.keys()
    for one, other in [
        (found.image, batch.image),
        (found.inside, batch.inside),
        (found.ids, batch.ids),
        *((found.targets[name], batch.targets[name]) for name in batch.targets),
    ]:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_batches_of_ray_data_come_in_order(shards, tmp_path, ray_session, monkeypatch):
    from linegroup.distributed import feed

    monkeypatch.setattr(feed, "CHUNK", 7)
    samples = ShardSet(shards, "train")
    config = load_config(None, TINY)
    plan = BatchPlan((samples.row_group_sizes, None), 2, weights=(2, 1))
    builder = BatchBuilder((samples, RandomSamples((32, 40))), plan, config, frozenset({"labels"}))
    with feed.ray_batches(builder, 3, 20, actors=2, cpus=0.25) as batches:
        for step, batch in enumerate(batches, 3):
            np.testing.assert_array_equal(batch.image, builder(step).image)
            np.testing.assert_array_equal(batch.ids, builder(step).ids)
    assert step == 19
    (shards / "train").rename(tmp_path / "moved")
    try:
        with pytest.raises(UserError, match=r"shard\.parquet"), feed.ray_batches(builder, 0, 2, 1, 0.25) as batches:
            next(batches)
    finally:
        (tmp_path / "moved").rename(shards / "train")


@pytest.mark.slow
def test_two_workers_equal_one_with_twice_the_batch(shards, tmp_path, ray_session):
    from linegroup.distributed.train import train_distributed

    common = ("model.norm=none", "training.epochs=2", "training.eval_every=1", "training.pictures=1")
    storage = tmp_path / "storage"
    spread = ("training.batch_size=1", "ray.num_workers=2", f"ray.storage={storage}")
    two = arguments(shards, tmp_path / "two", *common, *spread)
    result = train_distributed(load_config(None, two))
    train_local(load_config(None, arguments(shards, tmp_path / "one", *common)))
    rows = [read_metrics(tmp_path / name) for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == 6 + 2
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"train_grad_norm"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4, abs=1e-4), key
    assert result.metrics == load_artifact(result.artifact).metrics
    # Machines that do not share the run folder get checkpoints and model from the storage.
    (stored, *_) = sorted(storage.glob("train-*/checkpoint_*/artifact"), reverse=True)
    assert load_artifact(stored).version == load_artifact(result.artifact).version
    assert load_checkpoint(stored.parent / "last.pt").step == 6


@pytest.mark.slow
@pytest.mark.long
def test_killed_worker_is_replaced_and_nothing_is_lost(shards, tmp_path, ray_session):
    from linegroup.distributed.train import train_distributed

    length = "training.max_steps=120"
    killed = []

    def kill() -> None:
        wait_for(tmp_path / "ray" / "checkpoints" / "last.pt")
        killed.extend(training_workers())
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = train_distributed(load_config(None, arguments(shards, tmp_path / "ray", length)))
    killer.join()
    assert len(killed) == 1
    assert 0 < result.resumed_from < 120
    assert not (tmp_path / "ray" / "ray").exists()
    train_local(load_config(None, arguments(shards, tmp_path / "plain", length)))
    assert_same_run(tmp_path / "ray", tmp_path / "plain")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.long
def test_killed_driver_run_again_loses_nothing(shards, tmp_path):
    """The job as a user runs it, with its own Ray; the second run is from another working folder."""
    options = arguments(shards, tmp_path / "job", "training.max_steps=120", "ray.address=local")
    command = [sys.executable, str(ROOT / "jobs" / "train_model.py"), *options]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "job" / "checkpoints" / "last.pt")
    below = descendants(first.pid)
    first.kill()
    first.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() and b"RayTrainWorker" in read(pid) for pid in below):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.1)
    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout.splitlines()[-1])
    assert answer["steps"] == 120
    assert 0 < answer["resumed_from"] <= 120
    train_local(load_config(None, arguments(shards, tmp_path / "plain", "training.max_steps=120")))
    assert_same_run(tmp_path / "job", tmp_path / "plain")


def read(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_mistakes_in_a_worker_are_the_callers(tmp_path):
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    from linegroup.distributed.train import _explain

    mistake = UserError("3 batches in a row")
    wrapped = WorkerGroupError("long traceback", {1: UserExceptionWithTraceback(mistake, "trace")})
    assert _explain(wrapped, tmp_path) is mistake
    other = _explain(WorkerGroupError("a\nworker died", {0: RuntimeError("x")}), tmp_path)
    assert "worker died" in str(other)
    assert "Run the same command again" in str(other)


def test_without_workers_it_is_the_plain_loop(shards, tmp_path, monkeypatch):
    import ray

    from linegroup.distributed.train import train_distributed

    monkeypatch.setattr(ray, "init", None)
    result = train_distributed(
        load_config(None, arguments(shards, tmp_path, "ray.num_workers=0", "training.max_steps=2"))
    )
    assert result.steps == 2


@pytest.mark.long
def test_job_says_what_is_wrong(tmp_path):
    command = [sys.executable, str(ROOT / "jobs" / "train_model.py"), f"data.train={tmp_path / 'none'}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "There is no shard folder" in answer.stderr
    assert "Traceback" not in answer.stderr
