"""One training of a search as it runs in Tune's process: what it tells Tune and MLflow, also after a kill."""

import contextlib
import math
import os
from types import SimpleNamespace

import pytest

from linegroup.distributed import search, search_outcome, search_trial, search_tuner
from linegroup.distributed.search import choose_best
from linegroup.errors import UserError
from linegroup.testing import random_sample
from linegroup.training import mlflow_access, registry
from linegroup.training.run_file import run_of
from linegroup.training.tracking import start_tracker
from linegroup.tuning.judging import Judge
from linegroup.tuning.plans import SearchPlan, load_search, plan_search
from linegroup.tuning.tables import finite
from linegroup.tuning.trials import Trial


class Killed(BaseException):
    """As a process that ends there."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder):
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("search") / "shards", {"train": samples[:4], "val": samples[4:]})


@pytest.fixture
def plan(shards, tmp_path) -> SearchPlan:
    tiny = ["model.width=4", "model.depth=1", "model.emb_dim=2", "augment.crop=[24, 32]", "training.batch_size=2"]
    how_far = ["search.grouping_trials=1", "search.charts=2", f"search.out={tmp_path / 'out'}"]
    how = ["training.max_steps=4", "ray.num_workers=0", "tracking.enabled=false", "grouping.candidates=non_background"]
    return plan_search(*load_search(None, [*tiny, *how_far, *how, f"data.train={shards}"]))


@pytest.fixture
def reports(monkeypatch) -> list[dict]:
    told: list[dict] = []
    monkeypatch.setattr(search_trial.tune, "report", told.append)
    return told


def run(plan: SearchPlan, trial: str = "one") -> None:
    search_trial.run_trial(plan, {}, trial, None, gpu=False)


def steps(reports: list[dict]) -> list[int]:
    return [report["step"] for report in reports]


def test_a_checkpoint_whose_judging_was_killed_is_judged(plan, reports, monkeypatch):
    def die(*_given):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "__call__", die)
        with pytest.raises(Killed):
            run(plan)
    assert reports == []
    run(plan)
    # Two steps are an epoch; the first of them was trained before the kill.
    assert steps(reports) == [2, 4]
    assert [report["progress"] for report in reports] == [50, 100]


def test_what_was_judged_is_told_again_not_judged_again(plan, reports, monkeypatch):
    run(plan)
    assert steps(reports) == [2, 4]
    judged = []
    monkeypatch.setattr(Judge, "__call__", lambda *given: judged.append(given))
    run(plan)
    assert steps(reports) == [2, 4, 4]
    assert reports[2] == reports[1]
    assert judged == []


@pytest.mark.parametrize(("progress", "status"), [(50, "KILLED"), (100, "FINISHED")])
def test_asha_may_end_a_training_at_any_report(plan, mlflow_here, monkeypatch, progress, status):
    """Also at the last one: its run has the model then."""
    tracking = plan.base.tracking.model_copy(update={"enabled": True})
    plan = plan.model_copy(update={"base": plan.base.model_copy(update={"tracking": tracking})})

    def last(values):
        if values["progress"] == progress:
            raise SystemExit

    monkeypatch.setattr(search_trial.tune, "report", last)
    with pytest.raises(SystemExit):
        run(plan)
    run_id = run_of(plan.folder("one"), mlflow_access.tracking_uri(tracking))
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(mlflow_access.tracking_uri(tracking))
    assert client.get_run(run_id).info.status == status
    if progress == 100:
        assert registry.resolve_model(run_id, tracking)


def test_a_damaged_winner_makes_way_for_the_next(plan, reports, caplog):
    for name in ("first", "second"):
        run(plan, name)
    trials = [
        Trial(0, "complete", 0.5, 100, 1.0),
        Trial(1, "complete", 0.7, 100, 1.0),
        Trial(2, "failed", None, 0, 0.0),
    ]
    names = ["first", "second", "none"]
    assert choose_best(plan, trials, names)[0].number == 1
    (plan.folder("second") / "artifact" / "weights.safetensors").write_bytes(b"")
    best, model = choose_best(plan, trials, names)
    assert (best.number, model) == (0, plan.folder("first") / "artifact")
    assert "Training 1 is left out" in caplog.text
    (plan.folder("first") / "artifact" / "artifact.json").unlink()
    with pytest.raises(UserError, match=r"Every training failed: .*weights"):
        choose_best(plan, trials, names)


def test_runs_end_with_a_search_that_is_interrupted(plan, mlflow_here, monkeypatch):
    """Those that were running; the others ended when they ended."""
    tracking = plan.base.tracking.model_copy(update={"enabled": True})
    plan = plan.model_copy(update={"base": plan.base.model_copy(update={"tracking": tracking})})
    begun = {name: start_tracker(tracking, plan.folder(name), plan.base, {}) for name in ("done", "open")}
    begun["done"].close()

    def interrupted(*_given):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "start_ray", lambda *_given: contextlib.nullcontext())
    monkeypatch.setattr(search, "run_trainings", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.search_method(plan)
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(mlflow_access.tracking_uri(tracking))
    above = run_of(plan.out, mlflow_access.tracking_uri(tracking))
    ends = [client.get_run(run_id).info.status for run_id in (begun["done"].run_id, begun["open"].run_id, above)]
    assert ends == ["FINISHED", "KILLED", "KILLED"]


@pytest.mark.parametrize("sizes", [[1, 12], [12], [1, 1]])
def test_a_search_that_tune_cut_short_is_none(plan, monkeypatch, sizes):
    """Tune begins anew with one training where it cannot read its files, and ends then as if all were done."""
    left = list(sizes)

    class Tuned:
        def fit(self):
            return [None] * left.pop(0)

    monkeypatch.setattr(search_tuner, "open_tuner", lambda *_given: Tuned())
    if sizes == [1, 1]:
        with pytest.raises(UserError, match="after 1 of 12 trainings"):
            search_tuner.run_trainings(plan, None)
    else:
        assert len(search_tuner.run_trainings(plan, None)) == 12
    assert left == []


def test_what_no_training_of_the_search_owns_is_removed(plan, mlflow_here):
    tracking = plan.base.tracking.model_copy(update={"enabled": True})
    plan = plan.model_copy(update={"base": plan.base.model_copy(update={"tracking": tracking})})
    begun = {name: start_tracker(tracking, plan.folder(name), plan.base, {}) for name in ("kept", "lost")}
    search._drop_orphans(plan, ["kept"])
    assert [path.name for path in (plan.out / "trials").iterdir()] == ["kept"]
    with mlflow_access.quiet_environment():
        client = mlflow_access.open_client(mlflow_access.tracking_uri(tracking))
    stages = {name: client.get_run(tracker.run_id).info.lifecycle_stage for name, tracker in begun.items()}
    assert stages == {"kept": "active", "lost": "deleted"}


def test_trainings_are_told_in_the_order_in_which_they_began(plan):
    """Whatever order Tune has them in: after it has gone on with a search, the last comes first."""
    results = []
    for k, name in enumerate(["first", "second", "third"]):
        folder = plan.out / "trials" / name
        folder.mkdir(parents=True)
        (folder / "tune_id").write_text(name)
        os.utime(folder / "tune_id", (1000 + k, 1000 + k))
        metrics = {"objective": k / 10, "progress": 100, "seconds": 5.0 + k, "time_total_s": 1.0}
        results.append(SimpleNamespace(path=str(folder), metrics=metrics, config={}, error=None))
    lost = SimpleNamespace(path=str(plan.out / "trials" / "lost"), metrics={}, config={}, error=ValueError("no folder"))
    trials, names = search_outcome.read_trials(plan, [lost, *reversed(results)])
    assert names == ["first", "second", "third", "lost"]
    assert [trial.objective for trial in trials] == [0.0, 0.1, 0.2, None]
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [trial.seconds for trial in trials] == [5.0, 6.0, 7.0, 0.0]


def test_nan_is_null_in_json():
    assert finite({"a": (1.0, math.nan), "b": [math.inf, {"c": -math.inf}]}) == {
        "a": [1.0, None],
        "b": [None, {"c": None}],
    }
