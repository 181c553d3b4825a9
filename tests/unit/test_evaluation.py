"""Scores side by side: the report, its sheet, and a whole evaluation on a shard folder."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linegroup.batches import sample_pixels
from linegroup.config import DataConfig, GroupingConfig
from linegroup.errors import UserError
from linegroup.evaluation import (
    ALL_METRICS,
    BASELINES,
    Report,
    Row,
    baselines,
    choose_examples,
    evaluate,
    save_evaluation,
    score_model,
)
from linegroup.metrics import score_curves, score_flat, true_curves
from linegroup.plans import spread
from linegroup.predict import WITHOUT_MODEL, Predictor
from linegroup.sample import Instance, Sample
from linegroup.shards import Manifest, Source, SplitCounts, category_name, save_manifest, write_shard
from linegroup.targets import draw_targets
from linegroup.testing import draw_sample, parallel_lines, png, random_sample, two_crossing_lines


class Answer:
    """Stands for a predictor: knows the label image of every picture."""

    def __init__(self, samples, labels):
        self.known = {sample_pixels(sample).tobytes(): labels(sample) for sample in samples}

    model = None

    def __call__(self, pixels, maps=None):
        return type("Prediction", (), {"labels": self.known[pixels.tobytes()], "lines": ()})


def truth(sample):
    return draw_targets(sample).labels


def nothing(sample):
    return np.zeros(sample.size, np.uint16)


def merged(sample):
    return (draw_targets(sample).labels > 0).astype(np.uint16)


@pytest.fixture
def samples():
    return [
        replace(two_crossing_lines(), id=5, tags=("crossing",)),
        replace(parallel_lines(3), id=9, tags=("plain", "thin")),
        replace(parallel_lines(2), id=12, tags=("plain",)),
    ]


def shard_folder(root, samples, split="val"):
    file = write_shard(sorted(samples, key=lambda s: s.id), root, f"{split}/shard-0.parquet", split)
    counts = SplitCounts(samples=len(samples), lines=file.lines, files=1)
    manifest = Manifest(
        written_by="test",
        key="0",
        samples=len(samples),
        lines=file.lines,
        rejects=0,
        splits={split: counts},
        categories={2: "line", 7: "axis"},
        source=Source(annotations="a.json", sha256="0", images=len(samples)),
        settings={},
        files=(file,),
    )
    save_manifest(manifest, root)
    return root


def test_truth_scores_best_and_nothing_worst(samples):
    report = evaluate({"truth": Answer(samples, truth), "nothing": Answer(samples, nothing)}, samples)
    assert report.methods == ["truth", "nothing", "flat"]
    assert report.pictures() == 3
    best, worst = report.summary("truth"), report.summary("nothing")
    assert set(best) == set(ALL_METRICS)
    assert (best["ari"].mean, best["line_f1"].mean, best["count_error"].mean) == (1, 1, 0)
    assert (best["ari"].low, best["ari"].high, best["ari"].count) == (1, 1, 3)
    assert worst["line_f1"].mean == 0
    assert worst["count_error"].mean == pytest.approx(7 / 3)
    assert [(row.lines, row.found) for row in report.rows if row.method == "nothing"] == [(2, 0), (3, 0), (2, 0)]


def test_tags_are_summed_up_apart(samples):
    report = evaluate({"merged": Answer(samples, merged)}, samples)
    assert report.tags == ["crossing", "plain", "thin"]
    assert [report.pictures(tag) for tag in report.tags] == [1, 2, 1]
    rows = [row for row in report.rows if "plain" in row.tags and row.method == "merged"]
    by_hand = np.mean([row.scores["pair_f1"] for row in rows])
    assert report.summary("merged", "plain")["pair_f1"].mean == pytest.approx(by_hand)


def test_scores_that_a_picture_cannot_have_are_left_out(samples):
    report = evaluate({"truth": Answer(samples, truth)}, samples)
    assert report.summary("truth")["crossing_recall"].count == 1
    none = report.summary("truth", "thin")["crossing_recall"]
    assert none.count == 0
    assert math.isnan(none.mean)
    tree = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert tree["tags"]["thin"]["methods"]["truth"]["crossing_recall"]["mean"] is None
    rows = [row for row in tree["rows"] if row["method"] == "truth"]
    assert [row["scores"]["crossing_recall"] is None for row in rows] == [False, True, True]


def test_the_same_figures_every_time(samples):
    predictors = {"link": Predictor.without_model(BASELINES["colour"]), **baselines()}
    first, second = (evaluate(predictors, samples).to_json() for _ in range(2))
    assert first["methods"] == second["methods"]
    assert first["methods"]["link"] == first["methods"]["colour"] != first["methods"]["components"]
    assert list(first["methods"]) == ["link", "colour", "components", "flat"]
    for interval in first["methods"]["colour"].values():
        assert interval["mean"] is None or interval["low"] <= interval["mean"] <= interval["high"]


def test_thickness_is_that_of_the_data_config():
    sample = parallel_lines(2)
    sample = replace(sample, instances=tuple(replace(line, thickness=None) for line in sample.instances))
    thin = Answer([sample], truth)
    wide = evaluate({"thin": thin}, [sample], DataConfig(thickness=9)).summary("thin")
    same = evaluate({"thin": thin}, [sample]).summary("thin")
    assert wide["noise_ratio"].mean > 0.5
    assert same["noise_ratio"].mean == 0


def test_what_cannot_be_scored(samples):
    predictors = {"nothing": Answer(samples, nothing)}
    with pytest.raises(UserError, match="no samples"):
        evaluate(predictors, [])
    with pytest.raises(UserError, match=r"Sample 5 .*no picture"):
        evaluate(predictors, [replace(samples[0], image=None)])
    with pytest.raises(UserError, match=r"Sample 5 .*damaged|no picture that can be read"):
        evaluate(predictors, [replace(samples[0], image=b"GIF89a")])
    with pytest.raises(UserError, match="sizes must be equal"):
        evaluate(predictors, [replace(samples[0], image=png(np.zeros((4, 5, 3), np.uint8)))])


def report_of(scores):
    return Report(tuple(Row("m", i, "", (), 1, 1, 0.1, {"ari": s, "vi": s}) for i, s in enumerate(scores)))


def test_examples_are_worst_median_and_best():
    report = report_of([0.5, 0.1, 0.9, 0.2, 0.8, 0.4, 0.6, 0.3])
    assert choose_examples(report) == [
        ("worst", 1),
        ("worst", 3),
        ("median", 5),
        ("median", 0),
        ("best", 4),
        ("best", 2),
    ]
    assert choose_examples(report, 1, "vi")[0] == ("worst", 2)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_examples_of_few_pictures_are_each_shown_once(count):
    chosen = choose_examples(report_of(np.linspace(0, 1, count)))
    assert [sample for _, sample in chosen] == list(range(count))
    assert chosen[0][0] == "worst"
    assert max(Counter(kind for kind, _ in chosen).values()) <= 2


def test_pictures_without_the_score_are_no_examples():
    assert choose_examples(report_of([math.nan, 0.5])) == [("worst", 1)]


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(5, 0, [0, 1, 2, 3, 4]), (5, 5, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (10, 3, [0, 3, 6]), (4, 1, [0])],
)
def test_a_limit_takes_samples_from_everywhere(count, limit, expected):
    assert spread(count, limit) == expected


def test_categories_by_name_or_number():
    known = {2: "line", 7: "axis", 9: "2"}
    assert category_name(None, known, Path("shards")) is None
    assert category_name("axis", known, Path("shards")) == "axis"
    assert category_name("7", known, Path("shards")) == "axis"
    assert category_name("2", known, Path("shards")) == "2"
    with pytest.raises(UserError, match="'line'"):
        category_name("lines", known, Path("shards"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    made = [replace(random_sample(seed, (80, 120), 3), id=seed, tags=("even",) * (seed % 2 == 0)) for seed in range(7)]
    return shard_folder(tmp_path_factory.mktemp("shards"), made)


def test_a_whole_evaluation(shards, tmp_path):
    seen = []
    evaluation = score_model(shards, "none", progress=lambda done, total: seen.append((done, total)))
    assert list(evaluation.predictors) == ["link", "colour", "components"]
    assert seen == [(k, 7) for k in range(1, 8)]
    save_evaluation(evaluation, tmp_path / "out")
    tree = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert tree == json.loads(json.dumps(evaluation.to_json()))
    assert tree["pictures"] == 7
    assert tree["tags"]["even"]["pictures"] == 4
    assert tree["data"]["split"] == "val"
    assert {row["sample"] for row in tree["rows"]} == set(range(7))
    sheet = cv2.imread(str(tmp_path / "out" / "examples.png"))
    assert sheet.shape[0] > 6 * 260
    assert sheet.shape[1] > 5 * 340


def test_settings_of_the_first_method_leave_the_baselines_alone(shards):
    plain = score_model(shards, "none", limit=3)
    changed = score_model(shards, "none", limit=3, overrides=["grouping.method=components", "data.thickness=4"])
    assert changed.first.grouping.method == "components"
    assert changed.report.data.thickness == 4
    assert {n: p.grouping for n, p in changed.predictors.items() if n in BASELINES} == dict(BASELINES)
    assert plain.report.pictures() == changed.report.pictures() == 3
    assert [row.sample for row in plain.report.rows if row.method == "colour"] == [0, 2, 4]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"split": "test"}, "Known: val"),
        ({"model": "nowhere"}, "nowhere"),
        ({"overrides": ["data.category=lines"]}, "'line'"),
        ({"overrides": ["training.lr=1"]}, "grouping"),
        ({"overrides": ["data.thickness=0"]}, "thickness"),
        ({"device": "gpu", "model": "none"}, None),
    ],
)
def test_wrong_settings(shards, settings, word):
    if word is None:
        assert score_model(shards, limit=1, **settings).first.model is None
        return
    with pytest.raises(UserError, match=word):
        score_model(shards, limit=1, **settings)


def test_category_of_the_truth(tmp_path):
    sample = draw_sample([np.array([[5, 5], [60, 40]]), np.array([[5, 40], [60, 5]])], (48, 64))
    lines = (sample.instances[0], replace(sample.instances[1], category="axis"))
    folder = shard_folder(tmp_path, [replace(sample, instances=lines)])
    assert score_model(folder, "none").report.rows[0].lines == 2
    assert score_model(folder, "none", overrides=["data.category=7"]).report.rows[0].lines == 1


def test_baselines_bring_their_own_candidates():
    assert {name: p.grouping.method for name, p in baselines().items()} == {
        "colour": "colour",
        "components": "components",
    }
    assert all(p.model is None and p.grouping.candidates != GroupingConfig().candidates for p in baselines().values())


def test_of_lines_that_leave_the_picture_the_rest_is_scored():
    through = Instance(1, np.array([[-10.0, 50], [110, 50]]), thickness=2)
    into = Instance(2, np.array([[-150.0, 20], [99, 20]]), thickness=2)
    outside = Instance(3, np.array([[-50.0, -20], [150, -20]]), thickness=2)
    sample = Sample(0, (100, 100), (through, into, outside))
    curves = true_curves(sample, DataConfig())
    seen = [[np.array([[0.0, y], [99, y]])] for y in (50, 20)]
    scores = score_curves(curves, seen, sample.size)
    assert (scores["curve_f1"], scores["curve_recall"]) == (1, 1)
    assert scores["hausdorff"] < 1


def test_curves_are_scored_beside_flat_lines():
    """Waves at a third of the height: a flat line does well in 6a, and not at all as a curve."""
    x = np.linspace(20, 380, 200)
    sample = draw_sample([np.stack([x, y + 15 * np.sin(x / 30)], axis=1) for y in (60, 130)], (200, 400))
    report = evaluate({"link": Predictor.without_model(WITHOUT_MODEL)}, [sample])
    found, flat = report.summary("link"), report.summary("flat")
    assert found["curve_f1"].mean == 1
    assert found["hausdorff"].mean < 2
    assert found["nrmse"].mean < 0.05
    assert found["id_switches"].mean == 0
    assert found["series_6a"].mean > 0.97 > flat["series_6a"].mean > 0.75
    assert flat["curve_f1"].count == 0


def test_a_loop_has_no_series_scores():
    angle = np.linspace(0, 2 * np.pi, 60)
    ring = np.stack([100 + 60 * np.cos(angle), 100 + 60 * np.sin(angle)], axis=1)
    scores = score_curves([[ring]], [[ring]], (200, 200))
    assert scores["curve_f1"] == 1
    assert math.isnan(scores["series_6a"])
    assert all(map(math.isnan, score_flat([[ring]], (200, 200)).values()))


def test_identities_that_change_at_a_crossing_are_counted():
    x = np.linspace(0, 200, 101)
    rise, fall = np.stack([x, x], axis=1), np.stack([x, 200 - x], axis=1)
    bent = [np.concatenate([rise[:50], fall[50:]]), np.concatenate([fall[:50], rise[50:]])]
    scores = score_curves([[rise], [fall]], [[line] for line in bent], (201, 201))
    assert scores["id_switches"] == 1
    assert scores["curve_f1"] == 0


def test_other_groupers_on_the_same_charts(shards):
    evaluation = score_model(shards, "none", limit=2, against=["components"], overrides=["grouping.method=colour"])
    assert evaluation.report.methods == ["link", "components", "colour", "flat"]
    with pytest.raises(UserError, match="grouper"):
        score_model(shards, limit=1, against=["clusters"])
