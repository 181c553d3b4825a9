"""The gate's rule, on scores that are given."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from linegroup.cli.promote import show_comparison
from linegroup.comparison import CANDIDATE, CHAMPION, Comparison, Frozen, open_frozen, together
from linegroup.config import DataConfig
from linegroup.errors import UserError
from linegroup.evaluation import ALL_METRICS, Report, Row
from linegroup.gate import GateConfig, judge
from linegroup.metrics import score, score_curves, true_curves
from linegroup.targets import draw_targets, line_pixels
from linegroup.testing import random_sample
from linegroup.wire import ModelRecord

FROZEN = Frozen("shards", "val", "d" * 64, range(100), lambda _number: None, {1: "line"})


def compared(gains, *, noise=0.05, champion=0.6, tags=lambda number: (), group=str, metric="ari", seed=0) -> Comparison:
    """A candidate that gains `gains[i]` on chart i, on charts that differ by far more."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, gain in enumerate(gains):
        base = champion + rng.uniform(-0.3, 0.3)
        for method, value in ((CANDIDATE, base + gain + rng.normal(0, noise)), (CHAMPION, base)):
            scores = {**dict.fromkeys(ALL_METRICS, 0.5), metric: value}
            rows.append(Row(method, number, f"{number}.png", tuple(tags(number)), 3, 3, 0.1, scores, group(number)))
    record = ModelRecord(name="linegroup", version="1")
    return Comparison(Report(tuple(rows), DataConfig()), record, record, FROZEN)


def test_a_clear_loss_is_refused_and_said_in_figures():
    verdict = judge(compared([-0.05] * 100), GateConfig())
    assert not verdict.passed
    (reason,) = verdict.reasons
    assert reason.startswith("ari: 0.")
    assert "instead of 0." in reason
    assert "(100 charts)" in reason


@pytest.mark.parametrize("gain", [0.05, 0.0, -0.005])
def test_gains_and_what_could_be_chance_pass(gain):
    assert judge(compared([gain] * 100, noise=0.1), GateConfig()).passed


def test_a_smaller_number_may_be_better():
    config = GateConfig(metrics=("vi",))
    assert judge(compared([-0.05] * 100, metric="vi"), config).passed
    assert not judge(compared([0.05] * 100, metric="vi"), config).passed


def test_what_is_forgiven():
    loss = compared([-0.05] * 100, noise=0.01)
    assert not judge(loss, GateConfig(tolerance=0.03)).passed
    assert judge(loss, GateConfig(tolerance=0.06)).passed


def test_a_tag_can_lose_what_the_whole_gains():
    gains = [-0.2] * 30 + [0.1] * 270
    comparison = compared(gains, tags=lambda number: ("scan",) if number < 30 else ("plain",))
    verdict = judge(comparison, GateConfig())
    assert comparison.gain("ari").low > 0
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["ari on charts with the tag scan"]
    assert judge(comparison, GateConfig(tag_pictures=31)).passed
    assert judge(comparison, GateConfig(tag_tolerance=0.3)).passed


def test_many_tags_without_any_difference_pass():
    """With 95 % for each of eighty intervals, most equal models would be refused for one of them."""
    refused = 0
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        of = [tuple(f"tag{tag:02}" for tag in np.flatnonzero(rng.random(40) < 0.3)) for _ in range(120)]
        comparison = compared([0.0] * 120, noise=0.1, tags=of.__getitem__, seed=seed)
        refused += not judge(comparison, GateConfig(metrics=("ari",), tag_tolerance=0)).passed
    assert refused <= 1


def test_few_charts_decide_nothing():
    comparison = compared([0.1] * 12)
    assert "charts of 12 documents have it, the gate wants 30" in judge(comparison, GateConfig()).reasons[0]
    assert judge(comparison, GateConfig(pictures=12)).passed


def test_floor_holds_in_any_case():
    comparison = compared([0.05] * 100)
    (reason,) = judge(comparison, GateConfig(floor={"ari": 0.9})).reasons
    assert "the floor is 0.9" in reason
    assert judge(comparison, GateConfig(floor={"ari": 0.5, "count_error": 1.0})).passed
    assert not judge(comparison, GateConfig(floor={"count_error": 0.1})).passed


def test_a_floor_of_a_score_that_no_chart_has():
    comparison = compared([0.0] * 40, champion=math.nan, metric="crossing_recall")
    assert not judge(comparison, GateConfig(floor={"crossing_recall": 0.1})).passed


@pytest.mark.parametrize("metrics", [(), ("arii",), ("hausdorff",), ("ari", "nrmse")])
def test_scores_that_cannot_judge(metrics):
    with pytest.raises(ValueError, match=r"score|matched lines"):
        GateConfig(metrics=metrics)


def test_scores_that_an_empty_model_wins_cannot_judge_alone():
    """Which they are is asked of the scores themselves."""
    sample, data = random_sample(1, (60, 80), 3), DataConfig()
    truth, lines = draw_targets(sample, data), line_pixels(sample, data)
    curves = true_curves(sample, data)
    nothing = score(truth, lines, np.zeros_like(truth.labels)) | score_curves(curves, [], sample.size)
    right = score(truth, lines, truth.labels) | score_curves(curves, curves, sample.size)
    won = {name for name in ALL_METRICS if nothing[name] == right[name]}
    assert {"pair_precision", "vi_merge", "fg_precision", "id_switches"} <= won
    for name in ALL_METRICS:
        if name in won:
            with pytest.raises(ValueError, match=f"no line wins in {name}"):
                GateConfig(metrics=(name,))
            assert GateConfig(metrics=(name, "line_f1")).metrics == (name, "line_f1")
        elif name not in ("hausdorff", "nrmse"):
            GateConfig(metrics=(name,))
    with pytest.raises(ValueError, match="no line wins"):
        GateConfig(metrics=tuple(won))


def test_charts_of_one_document_count_once():
    """Ten documents of twenty charts, each with a luck of its own: the charts alone would be sure of it."""
    luck = np.random.default_rng(3).normal(-0.01, 0.04, 10)
    gains = np.repeat(luck, 20)
    alone = compared(gains, noise=0.0)
    together_ = compared(gains, noise=0.0, group=lambda number: f"document {number // 20}")
    wide, narrow = together_.gain("ari"), alone.gain("ari")
    assert (wide.mean, wide.count) == (pytest.approx(narrow.mean), 200)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    assert not judge(alone, GateConfig(metrics=("ari",))).passed
    assert judge(together_, GateConfig(metrics=("ari",), pictures=10)).passed
    (reason,) = judge(together_, GateConfig(metrics=("ari",))).reasons
    assert "charts of 10 documents" in reason


def test_the_table_shows_what_the_gate_judged():
    """The intervals of tags that are printed are those that it looked at, though there are small tags beside."""

    def tags(number):
        return ("big", "odd" if number % 2 else "even", f"tiny{number // 5}")

    comparison = compared([-0.1] * 100, noise=0.3, tags=tags)
    gate = GateConfig(metrics=("ari", "pq"), tag_tolerance=0.0)
    assert len(comparison.judged_tags(gate.metrics, gate.tag_pictures)) == 6
    tree = comparison.to_json(gate.metrics, gate.level, gate.seed, gate.tag_pictures)
    refused = {reason.split(" tag ")[1].split(":")[0]: reason for reason in judge(comparison, gate).reasons[1:]}
    assert refused
    for tag, reason in refused.items():
        shown = tree["tags"][tag]["ari"]
        assert f"a loss of {-shown['high']:.3f} to {-shown['low']:.3f}" in reason
    assert comparison.tag_level(gate.metrics, 0.95, 30) == pytest.approx(together(0.95, 6))


@pytest.mark.parametrize("columns", ["80", "50"])
def test_no_number_of_the_table_is_cut(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    comparison = compared([-0.05] * 100, tags=lambda number: ("a_rather_long_name", "odd" if number % 2 else "[b]"))
    gate = GateConfig(metrics=("ari", "crossing_recall"))
    show_comparison(comparison, gate)
    shown = capsys.readouterr().out
    tree = comparison.to_json(gate.metrics)
    entries = [tree["overall"], *tree["tags"].values()]
    for entry in (entry[metric] for entry in entries for metric in gate.metrics):
        for key in ("gain", "low", "high"):
            assert f"{entry[key]:+.3f}" in shown
        assert f"{entry['candidate']:.3f}" in shown
    assert "[b]" in shown
    assert "Intervals: 95 %; of tags 99.17 % each, because 6 are judged" in shown


def test_one_score_needs_no_brackets():
    assert GateConfig.model_validate({"metrics": "ari"}).metrics == ("ari",)
    with pytest.raises(ValueError, match="Unknown score 'arri'"):
        GateConfig.model_validate({"metrics": "arri"})


def test_the_record_is_plain_and_whole():
    tree = compared([-0.05] * 40, tags=lambda number: ("scan",)).to_json(("ari", "pq"))
    assert json.loads(json.dumps(tree, allow_nan=False)) == tree
    assert tree["overall"]["ari"]["count"] == tree["tags"]["scan"]["pictures"] == 40
    assert tree["overall"]["ari"]["gain"] == pytest.approx(-0.05, abs=0.03)
    assert tree["overall"]["pq"]["gain"] == 0
    assert tree["data"] == {"name": "shards", "split": "val", "digest": "d" * 64, "pictures": 100}
    wide, narrow = tree["tags"]["scan"]["ari"], tree["overall"]["ari"]
    assert wide["low"] < narrow["low"]


def test_together():
    assert together(0.95, 1) == pytest.approx(0.95)
    assert together(0.95, 10) == pytest.approx(0.995)
    assert together(0.95, 0) == pytest.approx(0.95)


def test_documents_are_counted_before_anything_is_scored(tmp_path, make_shard_folder):
    samples = [replace(random_sample(seed, (20, 30), 1), id=seed, group=f"g{seed // 3}") for seed in range(9)]
    frozen = open_frozen(str(make_shard_folder(tmp_path / "shards", {"val": samples})))
    assert (len(frozen.numbers), frozen.documents) == (9, 3)
    assert open_frozen("synth:validation", limit=3).documents == 3


def test_generated_charts_are_frozen_by_their_numbers():
    endless = open_frozen("synth:charts?seed=3", limit=4)
    assert list(endless.numbers) == [0, 1, 2, 3]
    assert endless.split is None
    assert endless.digest != open_frozen("synth:charts?seed=4", limit=4).digest
    frozen = open_frozen("synth:validation", limit=3)
    assert list(frozen.numbers) == [0, 100, 200]
    assert len(open_frozen("synth:validation").numbers) == 300
    with pytest.raises(UserError, match="--limit"):
        open_frozen("synth:charts")
    with pytest.raises(UserError, match="nowhere"):
        open_frozen("nowhere")
