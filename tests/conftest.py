"""What every test may ask for."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

# What an example takes says more of the machine than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Ray leaves sockets and child processes to the garbage collector; its warnings say nothing of our code.
RAY_WARNINGS = (
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning:ray",
    "ignore::FutureWarning:ray",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
        if item.get_closest_marker("ray"):
            for warning in RAY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One small Ray for all tests that ask for it: 2 CPUs, no dashboard, private and gone at the end."""
    from linegroup.distributed.session import start_ray

    with start_ray(address="local", num_cpus=2, object_store_memory=150 * 2**20):
        yield


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Ports nobody listens on, outside the range that Ray's workers take."""

    def find(count: int) -> list[int]:
        with contextlib.ExitStack() as held:
            ports: list[int] = []
            while len(ports) < count:
                one = held.enter_context(socket.socket())
                one.bind(("127.0.0.1", 0))
                ports += [port for port in [int(one.getsockname()[1])] if not 10002 <= port <= 19999]
            return ports

    return find


@pytest.fixture(scope="session")
def make_shard_folder() -> Callable[..., Path]:
    """Writes samples by split as a finished shard folder: `make_shard_folder(path, {"train": [...], "val": [...]})`."""
    from linegroup import __version__
    from linegroup.sample import Sample
    from linegroup.shards import Manifest, Source, SplitCounts, save_manifest, write_shard

    def make(folder: Path, splits: Mapping[str, Sequence[Sample]]) -> Path:
        files = [write_shard(samples, folder, f"{split}/shard.parquet", split) for split, samples in splits.items()]
        counts = {file.split: SplitCounts(samples=file.rows, lines=file.lines, files=1) for file in files}
        manifest = Manifest(
            written_by=__version__,
            key="test",
            samples=sum(file.rows for file in files),
            lines=sum(file.lines for file in files),
            rejects=0,
            splits=counts,
            categories={1: "line"},
            source=Source(annotations="test.json", sha256="0", images=0),
            settings={},
            files=tuple(files),
        )
        save_manifest(manifest, folder)
        return folder

    return make


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The SQLite file of an MLflow that holds nothing, made once: its tables take seconds."""
    from linegroup.config import TrackingConfig
    from linegroup.training.registry import list_models

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    list_models(TrackingConfig(uri=f"sqlite:///{file}"))
    return file.read_bytes()


@pytest.fixture
def mlflow_here(tmp_path: Path, empty_mlflow: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default MLflow of an empty working folder: `mlruns/mlflow.db`."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(empty_mlflow)
    return tmp_path
