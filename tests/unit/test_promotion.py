"""Promotions in a real registry (SQLite): what gets the alias, what is noted, and how it is taken back."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from linegroup import promotion
from linegroup.config import GroupingConfig, TrackingConfig, load_config
from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.promotion import PROMOTED, ROLLED_BACK, history, holders, load_promotion, promote_model, rollback
from linegroup.testing import random_sample
from linegroup.training import registry
from linegroup.training.artifact import load_artifact, save_artifact

CONFIG = load_config(None, ["model.width=4", "model.depth=1"])
GOOD = GroupingConfig(method="colour", candidates="non_background")
BAD = GroupingConfig(method="colour", candidates="non_background", min_pixels=100_000)
"""Finds nothing."""


def model(folder: Path, grouping: GroupingConfig, version: str, more=()) -> Path:
    torch.manual_seed(0)
    config = load_config(None, ["model.width=4", "model.depth=1", *more])
    save_artifact(folder, LineModel(config.model, config.loss), config, grouping, {}, version, {"data.train": "abc"})
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder):
    samples = [
        replace(random_sample(seed, (60, 80), 3), id=seed, group=f"g{seed}", tags=("even",) if seed % 2 == 0 else ())
        for seed in range(1, 9)
    ]
    return make_shard_folder(tmp_path_factory.mktemp("data") / "shards", {"val": samples})


@pytest.fixture
def versions(mlflow_here):
    """Versions 1 and 2 are equally good, 3 finds nothing."""
    for number, grouping in enumerate((GOOD, GOOD, BAD), 1):
        registry.register(str(model(mlflow_here / f"m{number}", grouping, f"v{number}")))
    return mlflow_here


def ask(version, shards, *more, **flags):
    rule = ["gate.pictures=4", "gate.tag_pictures=4", *more]
    return promote_model(load_promotion(None, rule, {"version": version, "data": str(shards), **flags}), by="ada")


def test_the_way_of_a_model(versions, shards):
    first = ask("1", shards, f"gate.baseline={versions / 'm3'}")
    assert (first.promoted, first.changed, first.before) == (True, True, None)
    assert first.comparison.champion.version == "v3"  # nothing had the alias: the baseline
    second = ask("2", shards)
    assert (second.promoted, second.before, second.comparison.champion.version) == (True, "1", "v1")

    again = ask("2", shards)
    assert (again.promoted, again.changed, again.comparison) == (True, False, None)
    assert len(history("linegroup")) == 2

    refused = ask("3", shards)
    assert (refused.promoted, refused.verdict.passed) == (False, False)
    assert registry.version_of("linegroup") == "2"
    assert len(history("linegroup")) == 2
    assert any("tag even" in reason for reason in refused.verdict.reasons)
    json.dumps(refused.to_json(), allow_nan=False)

    forced = ask("3", shards, force="only for the demo")
    assert forced.promoted
    assert registry.version_of("linegroup") == "3"
    entry = history("linegroup")[-1]
    assert (entry["by"], entry["reason"], entry["gate"]) == ("ada", "only for the demo", "refused, forced")
    assert (entry["before"], entry["version"], entry["action"]) == ("2", "3", PROMOTED)
    assert entry["scores"]["ari"]["gain"] < -0.3
    assert entry["data"]["digest"] == forced.comparison.data.digest
    assert entry["reasons"]

    assert rollback("linegroup", reason="finds nothing", by="eve")["version"] == "2"
    assert rollback("linegroup")["version"] == "1"
    assert registry.version_of("linegroup") == "1"
    with pytest.raises(UserError, match="No version is known to have been"):
        rollback("linegroup")
    assert [(e["action"], e["version"]) for e in history("linegroup")][-2:] == [(ROLLED_BACK, "2"), (ROLLED_BACK, "1")]
    assert history("linegroup")[-2]["reason"] == "finds nothing"


def test_first_model_must_beat_the_baseline(versions, shards):
    refused = ask("3", shards)
    assert not refused.promoted
    assert refused.comparison.champion.name == "link"
    assert registry.version_of("linegroup") is None


def test_without_the_gate(versions):
    job = load_promotion(None, (), {"version": "3", "no_gate": "to be looked at", "alias": "candidate"})
    done = promote_model(job)
    assert (done.promoted, done.comparison) == (True, None)
    assert registry.version_of("linegroup", "candidate") == "3"
    assert registry.version_of("linegroup") is None
    (entry,) = history("linegroup", "candidate")
    assert (entry["gate"], entry["reason"]) == ("not asked", "to be looked at")
    assert history("linegroup") == []
    with pytest.raises(UserError, match="nothing to roll back"):
        rollback("linegroup")


def test_another_promotion_came_first(versions, shards, monkeypatch):
    registry.promote("linegroup", "1")
    honest = promotion.compare_models

    def meanwhile(*arguments, **options):
        registry.promote("linegroup", "3")
        return honest(*arguments, **options)

    monkeypatch.setattr(promotion, "compare_models", meanwhile)
    with pytest.raises(UserError, match="meanwhile"):
        ask("2", shards)
    assert registry.version_of("linegroup") == "3"


def test_a_damaged_model_is_not_promoted(versions, shards):
    folder = registry.resolve_model("models:/linegroup/2")
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="weights"):
        ask("2", shards)
    with pytest.raises(UserError, match="weights"):
        promote_model(load_promotion(None, (), {"version": "2", "no_gate": "hurry"}))
    assert registry.version_of("linegroup") is None
    assert history("linegroup") == []


def test_a_champion_that_is_damaged_says_the_way_out(versions, shards):
    registry.promote("linegroup", "1")
    (registry.resolve_model("models:/linegroup/1") / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"weights.*models:/linegroup/1, the model in use.*--no-gate REASON"):
        ask("2", shards)
    # A candidate that is damaged, too, is not helped by that.
    (registry.resolve_model("models:/linegroup/2") / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="weights") as error:
        ask("2", shards)
    assert "--no-gate" not in str(error.value)


def test_too_few_charts_are_noticed_before_they_are_scored(versions, shards, monkeypatch):
    job = {"version": "1", "data": str(shards)}
    monkeypatch.setattr(promotion, "compare_models", lambda *_, **__: pytest.fail("they were scored"))
    with pytest.raises(UserError, match=r"charts of 8 documents.* fewer than 30.*gate\.pictures"):
        promote_model(load_promotion(None, (), job))


def test_a_lost_model_is_not_rolled_back_to(versions):
    for version in "12":
        promote_model(load_promotion(None, (), {"version": version, "no_gate": "x"}))
    shutil.rmtree(registry.resolve_model("models:/linegroup/1"))
    with pytest.raises(UserError):
        rollback("linegroup")
    assert registry.version_of("linegroup") == "2"


def test_models_of_different_tasks(versions, shards, tmp_path):
    registry.register(str(model(tmp_path / "thick", GOOD, "v4", ["data.thickness=5"])))
    registry.promote("linegroup", "1")
    with pytest.raises(UserError, match=r"data\.thickness is 5\.0 for the candidate and 2\.0"):
        ask("4", shards)
    assert ask("4", shards, overrides=["data.thickness=2"]).promoted


def test_what_a_version_was_trained_on(versions):
    shown = registry.show_model("models:/linegroup/1")
    assert shown["data"] == {"data.train": "abc"}
    assert load_artifact(registry.resolve_model("models:/linegroup/1")).data == {"data.train": "abc"}


def entry(version, before, action=PROMOTED):
    return {"version": version, "before": before, "action": action}


@pytest.mark.parametrize(
    ("entries", "current", "expected"),
    [
        ([], "1", ["1"]),
        ([entry("1", None), entry("2", "1")], "2", ["1", "2"]),
        ([entry("1", None), entry("2", "1"), entry("1", "2", ROLLED_BACK)], "1", ["1"]),
        # Taken back twice, then on.
        (
            [
                *(entry("1", None), entry("2", "1"), entry("3", "2")),
                *(entry("2", "3", ROLLED_BACK), entry("1", "2", ROLLED_BACK), entry("4", "1")),
            ],
            "4",
            ["1", "4"],
        ),
        # Promoted again: one step back is the version between.
        ([entry("1", None), entry("2", "1"), entry("1", "2")], "1", ["1", "2", "1"]),
        # Noted, but killed before the alias moved.
        ([entry("1", None), entry("2", "1")], "1", ["1"]),
        ([entry("1", None), entry("2", "1"), entry("3", "1")], "3", ["1", "3"]),
        # Moved by hand, in the web page of MLflow.
        ([entry("1", None)], "7", ["1", "7"]),
        ([entry("1", None), entry("9", "7")], "9", ["1", "7", "9"]),
        # Nothing had the alias before: 1 was noted and never had it, or it was taken away by hand.
        ([entry("1", None), entry("2", None)], "2", ["2"]),
        ([entry("1", None), entry("2", "1"), entry("3", None), entry("4", "3")], "4", ["3", "4"]),
    ],
)
def test_who_had_the_alias(entries, current, expected):
    assert holders(entries, current) == expected


@pytest.mark.parametrize("alias", ["v1", "V22", "latest", "Latest", "in use", "", "a/b"])
def test_aliases_that_mlflow_refuses(versions, alias):
    for act in (
        lambda: load_promotion(None, (), {"version": "1", "no_gate": "x", "alias": alias}),
        lambda: registry.promote("linegroup", "1", alias, entry=entry("1", None)),
    ):
        with pytest.raises(UserError, match="An alias is named with letters"):
            act()
    assert registry.entries("linegroup") == []


@pytest.mark.parametrize("moved", [False, True])
def test_the_note_of_a_promotion_goes_with_it(versions, monkeypatch, moved):
    """Unless the alias has moved, whatever the server said."""
    from mlflow import MlflowClient

    honest = MlflowClient.set_registered_model_alias

    def failing(self, *arguments):
        if moved:
            honest(self, *arguments)
        raise OSError("the line is dead")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", failing)
    with pytest.raises(UserError, match="the line is dead"):
        promote_model(load_promotion(None, (), {"version": "1", "no_gate": "x"}))
    assert [noted["version"] for noted in history("linegroup")] == (["1"] if moved else [])


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"version": "1", "action": "promote", "before": null}'])
def test_notes_of_others_are_left_out(versions, caplog, text):
    from linegroup.training.mlflow_access import open_client, quiet_environment, tracking_uri

    for version in "12":
        promote_model(load_promotion(None, (), {"version": version, "no_gate": "x"}))
    with quiet_environment():
        client = open_client(tracking_uri(TrackingConfig()))
        client.set_model_version_tag("linegroup", "2", "promotion.mine", text)
    assert [noted["version"] for noted in history("linegroup")] == ["1", "2"]
    assert "promotion.mine of linegroup version 2" in caplog.text
    assert rollback("linegroup")["version"] == "1"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, "--data SHARDS"),
        ({"data": "x", "force": "a", "no_gate": "b"}, "exclude each other"),
        ({"no_gate": "  "}, "say why"),
        ({"no_gate": "x", "version": "latest"}, "versions are numbers"),
        ({"data": "x", "tags": 3}, "unknown key 'tags'"),
        ({"data": "x", "gate": {"tolerence": 1}}, "did you mean 'gate.tolerance'"),
        ({"data": "x", "gate": {"level": 2}}, "gate.level"),
    ],
)
def test_mistakes_are_explained(flags, expected):
    with pytest.raises(UserError, match="Promotion: ") as error:
        load_promotion(None, (), {"version": "1", **flags})
    assert expected in str(error.value)
    assert "Value error" not in str(error.value)


def test_recipe_rule_and_flags(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: a\nversion: 7\ngate: {tolerance: 0.1, tag_pictures: 5}\n")
    job = load_promotion(tmp_path / "mine.yaml", ["gate.tolerance=0.2"], {"data": "b", "split": None})
    assert (job.data, job.version, job.split) == ("b", "7", "val")
    assert (job.gate.tolerance, job.gate.tag_pictures) == (0.2, 5)


@pytest.mark.parametrize("way", ["promote", "rollback"])
def test_the_alias_moves_while_the_model_is_fetched(versions, monkeypatch, way):
    """That takes minutes where models are far away."""
    for version in "12":
        promote_model(load_promotion(None, (), {"version": version, "no_gate": "x"}))
    noted = history("linegroup")
    honest = registry.load_artifact

    def meanwhile(folder):
        monkeypatch.setattr(registry, "load_artifact", honest)
        registry.promote("linegroup", "3")
        return honest(folder)

    monkeypatch.setattr(registry, "load_artifact", meanwhile)
    job = load_promotion(None, (), {"version": "1", "no_gate": "x"})
    act = functools.partial(promote_model, job) if way == "promote" else functools.partial(rollback, "linegroup")
    with pytest.raises(UserError, match="meanwhile"):
        act()
    assert registry.version_of("linegroup") == "3"
    assert history("linegroup") == noted
