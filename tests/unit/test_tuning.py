"""Tuning of the grouping: on maps that are known, and of a tiny model from shards to a new artifact."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import linegroup.tuning.grouping as tuning_module
from linegroup.batches import sample_pixels
from linegroup.cli import app
from linegroup.config import Config, DataConfig, GroupingConfig, load_config
from linegroup.errors import UserError
from linegroup.grouping import group_image
from linegroup.locking import locked
from linegroup.metrics import score
from linegroup.metrics.paired import paired_gain
from linegroup.model import LineModel
from linegroup.predict import Predictor
from linegroup.sample import Maps
from linegroup.shards import ShardSet
from linegroup.testing import random_sample
from linegroup.training.artifact import load_artifact, save_artifact
from linegroup.tuning.charts import Chart, ChartGrouper, MapFolder, half_maps, split_groups
from linegroup.tuning.decoder import is_behind, parts, search_grouping
from linegroup.tuning.grouping import tune_grouping
from linegroup.tuning.objective import OBJECTIVES, objective, objective_of
from linegroup.tuning.scoring import ChartScorer
from linegroup.tuning.settings import DecoderSettings
from linegroup.tuning.spaces import Space, load_space

CONFIG = load_config(None, ["model.emb_dim=2", "grouping.min_samples=5", "grouping.eps=3"])
SIZE = (48, 64)

DBSCAN = Space.model_validate(
    {
        "parameters": [
            {"key": "grouping.method", "choices": ["dbscan", "margin"]},
            {"key": "grouping.eps", "low": 0.01, "high": 4.0, "log": True, "when": {"grouping.method": "dbscan"}},
        ]
    }
)


def known_maps(sample, spread: float = 0.06) -> Maps:
    """What a good network would say: each line at its own place, one from the next."""
    chart = Chart(sample, DataConfig(), Maps(np.zeros((2, *SIZE)), np.zeros(SIZE)))
    rng = np.random.default_rng(sample.id)
    labels = chart.truth.labels.astype(np.float32)
    embedding = np.stack([labels, 0 * labels]) + rng.normal(0, spread, (2, *SIZE))
    return Maps(embedding.astype(np.float16), chart.truth.foreground.astype(np.float16))


@pytest.fixture(scope="module")
def charts() -> list[Chart]:
    samples = [random_sample(seed, SIZE, 3) for seed in range(1, 13)]
    return [Chart(sample, DataConfig(), known_maps(sample)) for sample in samples]


def search(charts, **changes):
    given = {"trials": 12, "seed": 3, **changes}
    config = given.pop("config", CONFIG)
    space = given.pop("space", DBSCAN)
    return search_grouping(config, space, ChartScorer(charts.__getitem__), range(len(charts)), **given)


def rows(found):
    return [replace(trial, seconds=0.0) for trial in found.trials]


def test_a_better_grouping_is_found(charts):
    found = search(charts)
    assert len(found.trials) == 12
    before, best = found.trials[0], found.best
    assert before.settings == {}
    assert before.objective < 0.5 < 0.9 < best.objective
    assert best.state == "complete"
    # The answer scores what the search says it does, when everything is done anew.
    again = ChartScorer(charts.__getitem__).objective("ari", found.grouping, range(len(charts)))
    assert np.mean(again) == pytest.approx(best.objective, abs=1e-12)
    # What bounds the trials is no part of the answer.
    assert found.grouping.max_work == CONFIG.grouping.max_work
    assert found.grouping.over_work == "sample"


def test_the_same_seed_finds_the_same(charts):
    assert rows(search(charts)) == rows(search(charts))
    assert rows(search(charts)) != rows(search(charts, seed=4))


def test_it_is_never_worse_than_before(charts):
    good = search(charts).grouping
    config = CONFIG.model_copy(update={"grouping": good})
    worse = Space.model_validate({"parameters": [{"key": "grouping.eps", "low": 3.0, "high": 4.0}]})
    found = search(charts, config=config, space=worse)
    assert found.best.number == 0
    assert found.grouping == good
    assert {trial.state for trial in found.trials[1:]} == {"stopped"}
    assert all(trial.spent < len(charts) for trial in found.trials[1:])


def test_a_gain_that_may_be_chance_changes_nothing(charts):
    """Better on one chart of many, the same on the others."""

    class OneBetter(ChartScorer):
        def objective(self, name, config, charts):
            return [0.5 + 0.2 * (chart == 3 and config.eps < 3) for chart in charts]

    def found(caution):
        scorer = OneBetter(charts)
        return search_grouping(CONFIG, DBSCAN, scorer, range(12), trials=25, seed=3, caution=caution)

    assert found(1.5).number == 0
    assert found(1.5).grouping == CONFIG.grouping
    assert found(0.0).number > 0
    assert found(0.0).best.objective == pytest.approx(0.5 + 0.2 / 12)


def test_a_setting_that_cannot_be_used_fails_alone(charts):
    colours = Space.model_validate({"parameters": [{"key": "grouping.candidates", "choices": ["model", "mdoel"]}]})
    found = search(charts, space=colours, trials=8)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert all("mdoel" in trial.note and trial.objective is None for trial in failed)
    assert any(trial.state == "complete" for trial in found.trials[1:])


def test_slow_settings_are_refused_not_sampled(charts, monkeypatch):
    monkeypatch.setattr("linegroup.tuning.decoder.MOST_WORK", 1)
    found = search(charts, trials=4)
    assert found.trials[0].state == "complete"
    (margin, *_) = (trial for trial in found.trials if trial.settings.get("grouping.method") == "margin")
    assert margin.state == "failed"
    assert "max_work" in margin.note


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_are_those_of_the_metrics(charts, name):
    scorer = ChartScorer(charts.__getitem__)
    grouping = CONFIG.grouping.changed({"eps": 0.02, "noise": "drop"})
    alone = scorer.objective(name, grouping, range(len(charts)))
    assert alone == pytest.approx([objective_of(name, row) for row in scorer.metrics(grouping, range(len(charts)))])
    assert 0 < np.mean(alone) < 1


def test_nothing_counts_where_there_is_no_truth(charts):
    sample = replace(charts[0].sample, ignore=(np.float32([[0, 0], [63, 0], [63, 24], [0, 24]]),))
    chart = Chart(sample, DataConfig(), charts[0].maps)
    labels = ChartGrouper(chart).labels(CONFIG.grouping.changed({"eps": 0.4}))
    wanted = score(chart.truth, chart.lines, labels)
    assert chart.truth.ignore.any()
    for name in ("ari", "line_f1"):
        assert objective(name, chart, labels) == pytest.approx(wanted[name])


@pytest.mark.parametrize("seed", range(3))
def test_grouping_again_equals_grouping_anew(charts, seed):
    """Whatever was tried before: no field and no tree of other settings is taken."""
    import optuna

    space = load_space("grouping")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    grouper = ChartGrouper(charts[seed])
    pixels = charts[seed].pixels
    half = {name: value for name, value in vars(charts[seed].maps).items() if isinstance(value, np.ndarray)}
    maps = Maps(**{name: value.astype(np.float32) for name, value in half.items()})
    for _ in range(25):
        settings = space.settings(space.suggest(study.ask()), CONFIG)
        config = CONFIG.grouping.changed({key.removeprefix("grouping."): value for key, value in settings.items()})
        field, groups = group_image(pixels, maps, config)
        np.testing.assert_array_equal(grouper.labels(config), groups.image(field))


def test_an_answer_is_known_again_within_its_limits(charts, monkeypatch):
    """One within a limit is that of the same setting with a wider one; what may be sampled is of its limit alone."""
    anew: list[GroupingConfig] = []
    field = ChartGrouper._field
    monkeypatch.setattr(ChartGrouper, "_field", lambda self, config: (anew.append(config), field(self, config))[1])
    grouper = ChartGrouper(charts[0])

    def is_known(max_work: int, over_work: str) -> bool:
        before = len(anew)
        config = CONFIG.grouping.changed({"method": "dbscan", "eps": 0.4, "max_work": max_work, "over_work": over_work})
        labels = grouper.labels(config)
        np.testing.assert_array_equal(labels, ChartGrouper(charts[0]).labels(config))
        return len(anew) == before + 1  # that of the other grouper

    assert not is_known(200, "sample")
    assert is_known(200, "sample")
    assert not is_known(0, "sample")
    assert not is_known(10**5, "error")
    assert is_known(10**5, "error")
    assert is_known(10**6, "sample")
    assert is_known(0, "sample")
    assert not is_known(10**4, "error")


def test_when_a_trial_is_is_behind():
    best = [0.9, 0.8, 0.7, 0.9, 0.8, 0.9]
    assert is_behind([0.1, 0.1, 0.0, 0.1, 0.1], best, 2.0)
    assert not is_behind([0.9, 0.9, 0.6, 0.9, 0.8], best, 2.0)
    assert not is_behind(best[:5], best, 2.0)
    assert not is_behind([0.1], best, 2.0), "one chart says nothing"
    assert is_behind([0.8], best, 0.0)
    assert not is_behind([0.9], best, 0.0)
    # Behind on average, but by less than charts differ.
    assert not is_behind([1.0, 0.3, 0.8, 1.0, 0.7], best, 2.0)
    assert is_behind([0.89, 0.79, 0.69, 0.89, 0.79], best, 2.0), "a little behind on every chart"


def test_charts_of_one_document_are_one_draw():
    """Three documents of six charts, two of them a little behind: the charts alone would be sure of it."""
    documents = np.repeat(["a", "b", "c"], 6).tolist()
    best, scores = [0.9] * 18, [0.89] * 6 + [0.85] * 6 + [0.91] * 6
    assert is_behind(scores, best, 1.5)
    assert not is_behind(scores, best, 1.5, documents)
    assert is_behind(scores, best, 0.0, documents)
    assert not is_behind(scores[:6], best, 1.0, documents), "one document says nothing"
    rng = np.random.default_rng(0)
    behind = rng.normal(0.01, 0.05, 25)
    alone = behind.std(ddof=1) / 5
    for errors in (0.99, 1.01):
        assert is_behind(-behind, np.zeros(25), errors * behind.mean() / alone) == (errors < 1)


def test_the_search_and_its_gain_go_by_document(model, tmp_path, make_shard_folder, monkeypatch):
    samples = [replace(random_sample(seed, SIZE, 3), group=f"document {seed % 4}") for seed in range(1, 9)]
    shards = make_shard_folder(tmp_path / "shards", {"val": samples})
    seen = {}

    def noted(name, function):
        def call(*given, **named):
            seen[name] = named["groups"]
            return function(*given, **named)

        monkeypatch.setattr(tuning_module, name, call)

    noted("search_grouping", search_grouping)
    noted("paired_gain", paired_gain)
    tuning = tune_grouping(str(model), shards, tmp_path / "out", SETTINGS)
    assert (tuning.tuned.charts, tuning.held.charts) == (4, 4)
    assert [len(set(seen[name])) for name in ("search_grouping", "paired_gain")] == [2, 2]
    assert not set(seen["search_grouping"]) & set(seen["paired_gain"])


def test_where_trials_are_looked_at():
    assert parts(40) == [0, 8, 16, 28, 40]
    assert parts(12) == [0, 3, 5, 9, 12]
    assert parts(3) == [0, 3]


def test_documents_are_on_one_side():
    groups = [f"document {i // 3}" for i in range(30)]
    first, second = split_groups(groups, 0.5, 0)
    assert sorted(first + second) == list(range(30))
    assert not {groups[i] for i in first} & {groups[i] for i in second}
    assert len(second) == 15
    order = np.random.default_rng(0).permutation(30)
    shuffled = split_groups([groups[i] for i in order], 0.5, 0)[1]
    assert {groups[order[i]] for i in shuffled} == {groups[i] for i in second}
    assert split_groups(groups, 0.5, 1)[1] != second
    assert split_groups(["one"] * 4, 0.5, 0) == ([0, 1, 2, 3], [])
    assert split_groups(groups, 0.0, 0)[1] == []
    with pytest.raises(UserError, match="below 1"):
        split_groups(groups, 1.0, 0)


TINY = Config.model_validate(
    {
        "model": {"width": 4, "depth": 1, "emb_dim": 2, "heads": ["embedding", "foreground", "crossing"]},
        "data": {"thickness": 2},
        "grouping": {"method": "components", "candidates": "non_white", "min_pixels": 10},
    }
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder):
    samples = [random_sample(seed, SIZE, 3) for seed in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("tuning") / "shards", {"train": samples[:1], "val": samples[1:]})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tuning") / "run" / "artifact"
    network = LineModel(TINY.model, TINY.loss)
    metrics = {"val_ari": 0.5, "val_loss": 2.0, "best_step": 7.0}
    save_artifact(folder, network, TINY, TINY.decoding, metrics, "v1")
    return folder


SETTINGS = DecoderSettings(trials=8, charts=0, workers=1)


def test_a_new_artifact_is_left_and_used(shards, model, tmp_path):
    told = []
    out = tmp_path / "tuned"
    tuning = tune_grouping(str(model), shards, out, SETTINGS, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (8, 8)
    before, after = load_artifact(model), load_artifact(out / "artifact")
    assert before.version == "v1" != after.version
    assert after.grouping == tuning.found.grouping
    assert after.config == before.config
    for name, value in before.weights.items():
        torch.testing.assert_close(after.weights[name], value, rtol=0, atol=0)
    # Its scores are those of the charts that were held out; what is of the network alone stays.
    assert tuning.held is not None
    assert (tuning.tuned.charts, tuning.held.charts) == (4, 3)
    assert after.metrics["val_ari"] == tuning.held.after["ari"]
    assert after.metrics["val_charts"] == 3
    assert (after.metrics["val_loss"], after.metrics["best_step"]) == (2.0, 7.0)
    assert tuning.tuned.after["ari"] >= tuning.tuned.before["ari"]
    assert tuning.found.best.objective == pytest.approx(tuning.tuned.after["ari"])
    # As it is used from now on.
    predictor = Predictor.load(str(out / "artifact"), "cpu")
    assert predictor.grouping == tuning.found.grouping
    chart = ShardSet(shards, "val").read(0)
    assert predictor(sample_pixels(chart)).parameters == tuning.found.grouping


def test_what_is_written_beside_it(shards, model, tmp_path):
    tuning = tune_grouping(str(model), shards, tmp_path, SETTINGS)
    with (tmp_path / "trials.csv").open(encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in table] == list(range(8))
    assert float(table[0]["objective"]) == pytest.approx(tuning.tuned.before["ari"], abs=1e-6)
    assert {"grouping.method", "note"} <= table[0].keys()
    report = json.loads((tmp_path / "tuning.json").read_text())
    assert report == json.loads(json.dumps(tuning.to_json()))
    assert report["version"] == load_artifact(tmp_path / "artifact").version
    for key, change in report["changed"].items():
        assert getattr(tuning.found.grouping, key) == change["after"] != change["before"]
    assert (tmp_path / "tuning.png").read_bytes().startswith(b"\x89PNG")


def test_the_network_runs_once_for_each_chart(shards, model, tmp_path, monkeypatch):
    seen = []
    maps = LineModel.maps
    monkeypatch.setattr(LineModel, "maps", lambda self, pixels: seen.append(1) or maps(self, pixels))
    first = tune_grouping(str(model), shards, tmp_path / "one", SETTINGS, maps=tmp_path / "maps")
    assert len(seen) == 7
    again = tune_grouping(str(model), shards, tmp_path / "two", SETTINGS, maps=tmp_path / "maps")
    assert len(seen) == 7, "the maps are there"
    assert rows(first.found) == rows(again.found)
    other = load_artifact(model).build()
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    save_artifact(tmp_path / "other", other, TINY, TINY.decoding, {})
    tune_grouping(str(tmp_path / "other"), shards, tmp_path / "three", SETTINGS, maps=tmp_path / "maps")
    assert len(seen) == 14, "not those of another network"


def test_maps_come_back_from_their_file(shards, model, tmp_path):
    network, samples = load_artifact(model).build(), ShardSet(shards, "val")
    folder = MapFolder(tmp_path, "one")
    folder.fill(network, samples, [0, 3], lambda _done, _total: None)
    chart = folder.chart(samples, 3, TINY.data)
    wanted = half_maps(network, chart.pixels)
    for name in ("embedding", "foreground", "crossing", "tangent"):
        np.testing.assert_array_equal(getattr(chart.maps, name), getattr(wanted, name))
        assert getattr(chart.maps, name).dtype == np.float16
    assert chart.maps.foreground_known
    exact = network.maps(chart.pixels)
    np.testing.assert_allclose(chart.maps.embedding, exact.embedding, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_several_processes_find_the_same(shards, model, tmp_path):
    one = tune_grouping(str(model), shards, tmp_path / "one", SETTINGS, maps=tmp_path / "maps")
    two = SETTINGS.model_copy(update={"workers": 2})
    both = tune_grouping(str(model), shards, tmp_path / "two", two, maps=tmp_path / "maps")
    assert rows(one.found) == rows(both.found)
    assert one.artifact.version == both.artifact.version


def test_mistakes_are_said(shards, model, tmp_path):
    with pytest.raises(UserError, match="no tuning has made"):
        tune_grouping(str(model), shards, model.parent, SETTINGS)
    with pytest.raises(UserError, match="without a model"):
        tune_grouping("none", shards, tmp_path, SETTINGS)
    with pytest.raises(UserError, match="ari_line_f1"):
        tune_grouping(str(model), shards, tmp_path, SETTINGS.model_copy(update={"objective": "arri"}))
    with pytest.raises(UserError, match="choice of grouping"):
        tune_grouping(str(model), shards, tmp_path, SETTINGS.model_copy(update={"methods": ("kmeans",)}))
    with pytest.raises(UserError, match="split"):
        tune_grouping(str(model), shards, tmp_path, SETTINGS, split="vla")
    assert not (tmp_path / "artifact").exists()


def test_models_of_others_stay(shards, model, tmp_path, monkeypatch):
    """Those of a training and of a search, and the one that is tuned; an earlier tuning makes way."""
    monkeypatch.setattr(tuning_module, "draw_search", lambda *_: b"")
    one = SETTINGS.model_copy(update={"trials": 1, "holdout": 0.0})
    out = tmp_path / "tuned"
    first = tune_grouping(str(model), shards, out, one).artifact
    with pytest.raises(UserError, match="model that is to be tuned"):
        tune_grouping(str(first.path), shards, out, one)
    second = tune_grouping(str(model), shards, out, one, overrides=["grouping.min_pixels=3"]).artifact
    assert second.version != first.version
    (out / "search.json").write_text("{}")
    with pytest.raises(UserError, match="no tuning has made"):
        tune_grouping(str(model), shards, out, one)
    (out / "search.json").rename(out / "checkpoints")
    with pytest.raises(UserError, match="no tuning has made"):
        tune_grouping(str(model), shards, out, one)
    assert load_artifact(out / "artifact").version == second.version


def test_one_at_a_time(shards, model, tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="Another job"):
        tune_grouping(str(model), shards, tmp_path, SETTINGS)


def test_where_it_begins_can_be_set(shards, model, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_module, "draw_search", lambda *_: b"")
    one = SETTINGS.model_copy(update={"trials": 1, "holdout": 0.0})
    tuning = tune_grouping(str(model), shards, tmp_path, one, overrides=["grouping.min_pixels=3"])
    assert tuning.artifact.grouping == TINY.decoding.changed({"min_pixels": 3})
    assert tuning.held is None
    assert tuning.artifact.metrics["val_charts"] == 7


def test_the_command(shards, model, tmp_path):
    command = ["tune", "grouping", "-m", str(model), "--data", str(shards), "--out", str(tmp_path / "out")]
    options = ["--trials", "3", "--workers", "1", "--method", "margin", "--objective", "line_f1"]
    answer = CliRunner().invoke(app, [*command, *options, "--json"])
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert len(report["trials"]) == 3
    assert load_artifact(tmp_path / "out" / "artifact").version == report["version"]
    shown = CliRunner().invoke(app, [*command, *options])
    assert shown.exit_code == 0, shown.output
    assert "held out: 3 charts" in shown.stdout
    assert str(tmp_path / "out" / "artifact") in shown.stdout.replace("\n", "")


def test_trials_that_failed_are_counted(shards, model, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("parameters:\n  - {key: grouping.candidates, choices: [mdoel]}\n")
    command = ["tune", "grouping", "-m", str(model), "--data", str(shards), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, [*command, "--trials", "3", "--workers", "1", "--space", str(space)])
    assert shown.exit_code == 0, shown.output
    assert "2 of 3 trials failed, the first because: " in shown.stderr
    assert "mdoel" in shown.stderr


def test_defaults_are_one(model):
    assert GroupingConfig().method in load_space("grouping").parameters[0].choices
