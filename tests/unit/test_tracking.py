import importlib
import json
import logging
import math
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from linegroup import files
from linegroup.cli import app
from linegroup.config import GroupingConfig, TrackingConfig, load_config
from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.serving.loading import load_model
from linegroup.shards import ShardSet
from linegroup.testing import random_sample
from linegroup.training import downloads, mlflow_access, noting, registry, tracking
from linegroup.training.artifact import Artifact, save_artifact
from linegroup.training.code_version import git_commit
from linegroup.training.loop import TrainResult

CONFIG = load_config(None, ["model.width=4", "model.depth=1"])


@pytest.fixture
def where(mlflow_here) -> TrackingConfig:
    return TrackingConfig()


def artifact(folder: Path, seed: int = 0) -> Artifact:
    torch.manual_seed(seed)
    return save_artifact(
        folder, LineModel(CONFIG.model, CONFIG.loss), CONFIG, GroupingConfig(), {"val_ari": 0.5, "x": math.nan}
    )


def client(config: TrackingConfig):
    with mlflow_access.quiet_environment():
        return mlflow_access.open_client(mlflow_access.tracking_uri(config))


def run_with_model(where, tmp_path, name: str = "one", seed: int = 0) -> tuple[str, Artifact]:
    made = artifact(tmp_path / name / "artifact", seed)
    tracker = tracking.start_tracker(where, tmp_path / name, CONFIG, {})
    tracker.model(made)
    tracker.metrics({"best_val_ari": 0.5}, 1)
    tracker.close()
    assert tracker.run_id is not None
    return tracker.run_id, made


def test_where_runs_go(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_access.tracking_uri(TrackingConfig()) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert mlflow_access.tracking_uri(TrackingConfig()) == "http://server:5000"
    assert mlflow_access.tracking_uri(TrackingConfig(uri="sqlite:///x.db")) == f"sqlite:///{tmp_path}/x.db"


def test_what_a_run_holds(where, tmp_path):
    made = artifact(tmp_path / "artifact")
    (tmp_path / "epoch-0001.png").write_bytes(b"picture")
    tracker = tracking.start_tracker(where, tmp_path / "out", CONFIG, {"data.train": "abc"})
    for step in range(1, 1001):
        tracker.metrics({"train_total": 1.0 / step, "train_variance": 2.0}, step)
    tracker.picture(tmp_path / "epoch-0001.png")
    tracker.model(made)
    tracker.close()
    mlflow = client(where)
    run = mlflow.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.width"] == "4"
    assert run.data.params["training.epochs"] == "10"
    assert run.data.tags["data.train"] == "abc"
    history = mlflow.get_metric_history(tracker.run_id, "train_total")
    assert [(point.step, point.value) for point in history] == [(step, 1.0 / step) for step in range(1, 1001)]
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert folder.is_relative_to(tmp_path / "mlruns" / "artifacts")
    assert json.loads((folder / "config.json").read_text())["model"]["width"] == 4
    assert (folder / "pictures" / "epoch-0001.png").read_bytes() == b"picture"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    place = f"models/{made.version}"
    assert f"{place}/MLmodel" in names
    assert f"{place}/artifact/weights.safetensors" in names
    assert not [name for name in names if name.endswith((".pkl", ".pt", ".pth", ".py"))]
    assert "linegroup" in (folder / place / "MLmodel").read_text()
    assert "loader_module" not in (folder / place / "MLmodel").read_text()


def test_out_goes_on_with_its_run(where, tmp_path):
    first = tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    first.metrics({"a": 1.0}, 1)
    first.close("KILLED")
    again = tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    assert again.run_id == first.run_id
    assert client(where).get_run(again.run_id).info.status == "RUNNING"
    other = tracking.start_tracker(where, tmp_path / "other", CONFIG, {})
    assert other.run_id != first.run_id


def test_switched_off(tmp_path):
    tracker = tracking.start_tracker(TrackingConfig(enabled=False), tmp_path, CONFIG, {})
    tracker.metrics({"a": 1.0}, 1)
    tracker.close()
    assert tracker.run_id is None
    assert not list(tmp_path.iterdir())


def test_register_promote_list_show_resolve(where, tmp_path):
    run_id, made = run_with_model(where, tmp_path)
    record = registry.register(run_id)
    assert record == {"name": "linegroup", "version": "1", "run_id": run_id, "artifact_version": made.version}
    other_run, other = run_with_model(where, tmp_path, "two", seed=1)
    assert registry.register(other_run)["version"] == "2"
    assert registry.promote("linegroup", "1") == {
        "name": "linegroup",
        "version": "1",
        "alias": "champion",
        "before": None,
    }
    assert registry.promote("linegroup", "2")["before"] == "1"
    assert registry.meant_version("models:/linegroup@champion") == "2"
    assert registry.meant_version("models:/linegroup@nobody") is None
    assert registry.meant_version("models:/linegroup/1") is None
    assert registry.meant_version(str(tmp_path)) is None
    listed = registry.list_models()
    assert [(row["version"], row["aliases"], row["metrics"]) for row in listed] == [
        ("2", ["champion"], {"best_val_ari": 0.5}),
        ("1", [], {"best_val_ari": 0.5}),
    ]
    assert registry.show_model("models:/linegroup@champion")["version"] == other.version
    for reference, expected in [
        ("models:/linegroup@champion", other),
        ("models:/linegroup/1", made),
        (run_id, made),
        (str(made.path), made),
    ]:
        from linegroup.training.artifact import load_artifact

        assert load_artifact(registry.resolve_model(reference)).version == expected.version
    json.dumps([record, listed])


def test_registered_version_never_changes(where, tmp_path):
    """Also when the run that it came from is extended and logs another model."""
    run_id, made = run_with_model(where, tmp_path)
    registry.register(run_id)
    again, other = run_with_model(where, tmp_path, "one", seed=1)
    assert again == run_id
    assert registry.show_model("models:/linegroup/1")["version"] == made.version
    assert registry.show_model(run_id)["version"] == other.version


def test_folder_is_registered_through_its_run_or_a_new_one(where, tmp_path):
    run_id, made = run_with_model(where, tmp_path)
    assert registry.register(str(made.path))["run_id"] == run_id
    lonely = artifact(tmp_path / "imported")
    record = registry.register(str(lonely.path), "other")
    assert record["run_id"] not in (None, run_id)
    assert registry.show_model("models:/other/1")["version"] == lonely.version


def test_damaged_model_is_neither_registered_nor_promoted(where, tmp_path):
    run_id, _ = run_with_model(where, tmp_path)
    registry.register(run_id)
    weights = registry.resolve_model(run_id) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        registry.register(run_id)
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        registry.promote("linegroup", "1")
    assert registry.list_models()[0]["aliases"] == []


@pytest.mark.parametrize(
    "reference",
    ["models:/nobody@champion", "models:/nobody/3", "models:/linegroup", "0" * 32, "no/such/folder", "."],
)
def test_unknown_models(where, reference):
    with pytest.raises(UserError) as error:
        registry.resolve_model(reference)
    assert reference.split("/")[-1].split("@")[0] in str(error.value) or "artifact.json" in str(error.value)


def test_run_without_a_model(where, tmp_path):
    tracker = tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    with pytest.raises(UserError, match="holds no model"):
        registry.resolve_model(tracker.run_id or "")


def test_server_that_fails_while_training(where, tmp_path, caplog, monkeypatch):
    tracker = tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    assert isinstance(tracker, tracking.MlflowTracker)
    honest = tracker._client.log_batch

    def fail(*_arguments, **_options):
        raise ConnectionError("server is gone")

    monkeypatch.setattr(tracker._client, "log_batch", fail)
    with caplog.at_level(logging.WARNING):
        for step in range(2000):
            tracker.metrics({"a": float(step)}, step)
        tracker.picture(tmp_path / "missing.png")
    assert "training goes on" in caplog.text
    assert caplog.text.count("server is gone") == 1
    monkeypatch.setattr(tracker._client, "log_batch", honest)
    tracker.close()
    assert len(client(where).get_metric_history(tracker.run_id, "a")) == 2000


def test_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = TrackingConfig(uri="http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9.*tracking\.enabled=false"):
        tracking.start_tracker(config, tmp_path / "out", CONFIG, {})
    assert not (tmp_path / "out").exists()


def test_only_training_is_told_to_switch_tracking_off(monkeypatch):
    """Listing and promoting models have no such setting."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = TrackingConfig(uri="http://127.0.0.1:9")
    for ask in (
        lambda: registry.list_models(config),
        lambda: registry.promote("linegroup", "1", config=config),
        lambda: registry.show_model("models:/linegroup@champion", config),
        lambda: tracking.initialise(config),
    ):
        with pytest.raises(UserError, match=r"127\.0\.0\.1:9.*MLFLOW_TRACKING_URI\.") as error:
            ask()
        assert "tracking.enabled" not in str(error.value)


def test_environment_is_left_as_it_was(where, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    before = dict(os.environ)
    run_with_model(where, tmp_path)
    after = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    assert after == {name: value for name, value in before.items() if name != "PYTEST_CURRENT_TEST"}


def first_use(uri: str) -> str:
    return tracking.initialise(TrackingConfig(uri=uri, experiment="race"))


@pytest.mark.long
def test_several_processes_may_come_first(tmp_path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        ids = pool.map(first_use, [f"sqlite:///{tmp_path}/mlflow.db"] * 3, chunksize=1)
    assert len(set(ids)) == 1


def test_git_commit(tmp_path):
    assert git_commit(tmp_path) is None
    run = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert git_commit(tmp_path) is None
    subprocess.run([*run, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    expected = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert git_commit(tmp_path / "deep" / "er") == expected
    subprocess.run([*run, "pack-refs", "--all"], check=True)
    assert git_commit(tmp_path) == expected
    subprocess.run([*run, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree")], check=True)
    assert git_commit(tmp_path / "tree") == expected
    subprocess.run([*run, "checkout", "-q", "--detach"], check=True)
    assert git_commit(tmp_path) == expected


def runs(where: TrackingConfig) -> list:
    mlflow = client(where)
    return mlflow.search_runs([mlflow.get_experiment_by_name(where.experiment).experiment_id])


@pytest.mark.parametrize("broken", ["write", "log_params", "log_text"])
def test_killed_while_the_run_was_made(where, tmp_path, monkeypatch, broken):
    """Wherever it was, there is one run, it says all of its configuration, and it ends."""

    class Killed(BaseException):
        pass

    written = []

    def die(*given, **named):
        written.append(given)
        # Of `run.json` the first writing is the key alone, before the run is made.
        if broken != "write" or len(written) == 2:
            raise Killed
        honest(*given, **named)

    honest = tracking.run_file.write
    with monkeypatch.context() as patch:
        if broken == "write":
            patch.setattr(tracking.run_file, "write", die)
        elif broken == "log_params":
            patch.setattr(tracking, "log_params", die)
        else:
            patch.setattr("mlflow.MlflowClient.log_text", die)
        with pytest.raises(Killed):
            tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    assert written
    tracker = tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    tracker.close()
    (run,) = runs(where)
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "FINISHED"
    assert (run.data.params["model.width"], run.data.params["training.epochs"]) == ("4", "10")
    assert (Path(run.info.artifact_uri.removeprefix("file://")) / "config.json").exists()


def test_what_a_kill_left_of_the_note_of_a_run_goes(where, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_given, **_named):
        raise Killed

    with monkeypatch.context() as patch:
        # As a process that ends there: nothing is cleared away.
        patch.setattr(files, "_rename", die)
        patch.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    (left,) = (tmp_path / "out").iterdir()
    assert left.name.startswith(".run.json.")
    tracking.start_tracker(where, tmp_path / "out", CONFIG, {}).close()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


def test_a_run_goes_on_with_other_settings(where, tmp_path, caplog):
    """MLflow refuses another value of a parameter: what was said first stays."""
    first = tracking.start_tracker(where, tmp_path / "out", CONFIG, {})
    first.close()
    tracking.start_tracker(where, tmp_path / "out", load_config(None, ["training.epochs=3"]), {}).close()
    assert client(where).get_run(first.run_id).data.params["training.epochs"] == "10"
    assert "MLflow did not take" not in caplog.text


def test_only_a_run_that_is_running_is_ended(where, tmp_path):
    done = tracking.start_tracker(where, tmp_path / "done", CONFIG, {})
    done.close()
    end = client(where).get_run(done.run_id).info.end_time
    lost = tracking.start_tracker(where, tmp_path / "lost", CONFIG, {})
    for folder in ("done", "lost", "none"):
        tracking.end_run(where, tmp_path / folder, "KILLED")
    info = client(where).get_run(done.run_id).info
    assert (info.status, info.end_time) == ("FINISHED", end)
    assert client(where).get_run(lost.run_id).info.status == "KILLED"


def test_a_server_at_another_address_is_the_same(where, tmp_path):
    """After a head node was replaced: what goes on, ends, and is registered are the runs that were there."""
    first = tracking.start_tracker(where, tmp_path / "run", CONFIG, {})
    lost = tracking.start_tracker(where, tmp_path / "lost", CONFIG, {})
    database = mlflow_access.sqlite_file(mlflow_access.tracking_uri(where))
    link = tmp_path / "elsewhere"
    link.symlink_to(database.parent, target_is_directory=True)
    moved = where.model_copy(update={"uri": f"sqlite:///{link / database.name}"})
    assert tracking.run_file.run_of(tmp_path / "run", mlflow_access.tracking_uri(moved)) is None
    again = tracking.start_tracker(moved, tmp_path / "run", CONFIG, {})
    assert again.run_id == first.run_id
    tracking.end_run(moved, tmp_path / "lost", "KILLED")
    assert client(where).get_run(lost.run_id).info.status == "KILLED"
    assert len(runs(where)) == 2


def test_jobs_that_train_nothing_leave_runs(where, tmp_path, make_shard_folder, monkeypatch, caplog):
    shards = make_shard_folder(tmp_path / "shards", {"train": [random_sample(1, (30, 40), 2)]})
    assert noting.note_shards(shards) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_access.tracking_uri(where))
    run = client(where).get_run(noting.note_shards(shards))
    assert (run.info.status, run.data.tags["linegroup.kind"]) == ("FINISHED", "shards")
    assert run.data.tags[noting.DIGEST] == ShardSet(shards).digest
    assert (run.data.metrics["samples"], run.data.metrics["lines"]) == (1, 2)
    made = noting.note_job("evaluation", "score", {}, {"ari": 0.5, "hausdorff": math.nan})
    assert client(where).get_run(made).data.metrics == {"ari": 0.5}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:hunter2secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert noting.note_shards(shards) is None
    assert "did not take" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_was_downloaded_goes_when_it_was_read(where, tmp_path, monkeypatch):
    run_id, made = run_with_model(where, tmp_path)
    with monkeypatch.context() as patch:
        # As of a server elsewhere: what lies on this disk is not copied.
        patch.setattr(downloads, "urlsplit", lambda _source: SimpleNamespace(scheme="mlflow-artifacts"))
        assert load_model(run_id).info.version == made.version
        assert not list(Path(downloads._downloads()).rglob("artifact.json"))
    assert load_model(str(made.path)).info.version == made.version
    assert made.path.is_dir()


def test_runs_of_another_server_are_left_alone(where, tmp_path):
    """Neither one that `run.json` does not speak of, nor any with tracking switched off."""
    lost = tracking.start_tracker(where, tmp_path / "lost", CONFIG, {})
    tracking.end_run(TrackingConfig(uri="http://127.0.0.1:9"), tmp_path / "lost", "KILLED")
    tracking.end_run(TrackingConfig(enabled=False), tmp_path / "lost", "KILLED")
    assert client(where).get_run(lost.run_id).info.status == "RUNNING"
    tracking.drop_run(where, tmp_path / "lost")
    assert runs(where) == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://ada:pw@host:5432/mlflow", "postgresql://host:5432/mlflow"),
        ("https://ada:p@w@host/x@y", "https://host/x@y"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
        ("http://host:5000", "http://host:5000"),
        ("http://host:5000/x@y", "http://host:5000/x@y"),
        ("postgresql://ada:pw/pw@host/mlflow", "postgresql://host/mlflow"),
        ("postgresql://host/mlflow?user=ada&password=pw", "postgresql://host/mlflow?user=ada&password=***"),
        ("mysql+pymysql://ada:1234/pw@host/mlflow", "mysql+pymysql://host/mlflow"),
        ("https://host/api?token=pw", "https://host/api?token=***"),
        ("postgresql://ada:pw@host/mlflow?user=a@b", "postgresql://host/mlflow?user=a@b"),
    ],
)
def test_addresses_are_kept_without_passwords(tmp_path, uri, shown):
    assert mlflow_access.public_uri(uri) == shown
    tracking.run_file.write(tmp_path, uri, key="k", run_id="r")
    assert shown in (tmp_path / "run.json").read_text()
    assert "pw" not in (tmp_path / "run.json").read_text()
    assert tracking.run_file.run_of(tmp_path, uri) == "r"
    assert tracking.run_file.run_of(tmp_path, "http://elsewhere") is None


def test_errors_and_warnings_are_without_passwords(tmp_path, monkeypatch, caplog):
    """MLflow's and SQLAlchemy's own messages name the address as it was given."""

    def refuse(uri):
        raise OSError(f"API request to {uri}/api failed, password=hunter2secret&x=1.\nmore")

    monkeypatch.setattr(tracking, "open_client", refuse)
    monkeypatch.setattr(registry, "open_client", refuse)
    where = TrackingConfig(uri="http://ada:hunter2secret@127.0.0.1:9")
    for call in (lambda: registry.list_models(where), lambda: tracking.initialise(where)):
        with pytest.raises(UserError, match=r"API request to http://127\.0\.0\.1:9/api failed") as error:
            call()
        assert "hunter2" not in str(error.value)
    tracking.attach(where, "0" * 32)
    tracking.run_file.write(tmp_path, where.uri, key="k", run_id="r")
    tracking.end_run(where, tmp_path, "KILLED")
    assert len(caplog.records) == 2
    assert "hunter2" not in caplog.text


def test_train_shows_where_its_run_is_without_the_password(tmp_path, monkeypatch):
    command = importlib.import_module("linegroup.cli.train")
    made = TrainResult(artifact=tmp_path, steps=1, metrics={}, resumed_from=None, skipped=0, run_id="r")
    monkeypatch.setattr(command, "plan", lambda _settings: [])
    monkeypatch.setattr(command, "_train", lambda _settings: made)
    for more in ([], ["--json"]):
        answer = CliRunner().invoke(app, ["train", "tracking.uri=postgresql://ada:hunter2secret@host/ml", *more])
        assert answer.exit_code == 0, answer.output
        assert "postgresql://host/ml" in answer.stdout
        assert "hunter2" not in answer.output


def test_a_folder_whose_run_is_gone_is_registered_through_a_new_one(where, tmp_path):
    run_id, made = run_with_model(where, tmp_path)
    client(where).delete_run(run_id)
    assert registry.register(str(made.path))["run_id"] != run_id
    lost = artifact(tmp_path / "lost" / "artifact")
    tracking.run_file.write(tmp_path / "lost", mlflow_access.tracking_uri(where), run_id="0" * 32)
    assert registry.register(str(lost.path))["version"] == "2"


def test_a_registered_folder_is_listed_with_its_scores(where, tmp_path):
    registry.register(str(artifact(tmp_path / "elsewhere").path))
    (listed,) = registry.list_models()
    assert listed["metrics"] == {"best_val_ari": 0.5}
    assert "0.500" in CliRunner().invoke(app, ["models", "list"]).stdout


def test_all_models_are_listed(where, monkeypatch):
    """MLflow's answers come in pages."""
    mlflow = client(where)
    for number in range(3):
        mlflow.create_registered_model(f"m{number}")
    honest = type(mlflow).search_registered_models

    def one_at_a_time(self, *given, **named):
        return honest(self, *given, **{**named, "max_results": 1})

    monkeypatch.setattr(type(mlflow), "search_registered_models", one_at_a_time)
    assert [model.name for model in registry._all_pages(mlflow.search_registered_models)] == ["m0", "m1", "m2"]


def test_downloads_go_with_the_process(tmp_path):
    code = (
        "import pathlib; from unittest import mock; from linegroup.training import downloads\n"
        "def fetch(artifact_uri, tracking_uri, dst_path):\n"
        "    (pathlib.Path(dst_path) / 'artifact').mkdir()\n"
        "    (pathlib.Path(dst_path) / 'artifact' / 'artifact.json').touch()\n"
        "    return dst_path\n"
        "with mock.patch('mlflow.artifacts.download_artifacts', fetch):\n"
        "    folder = downloads.download('http://x', 's3://bucket/models/1', 'r')\n"
        "assert folder.is_dir(); print(folder)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert Path(said.stdout.strip()).is_relative_to(tmp_path)
    assert not list(tmp_path.glob("linegroup-models-*"))
