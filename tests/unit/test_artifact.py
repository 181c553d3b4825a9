import hashlib
import json
import math
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from linegroup.config import Config, GroupingConfig, ModelConfig, load_config
from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.training.artifact import load_artifact, save_artifact

CONFIG = load_config(None, ["model.width=4", "model.depth=1", "model.emb_dim=3"])


def make_model(seed: int = 0) -> LineModel:
    torch.manual_seed(seed)
    return LineModel(CONFIG.model, CONFIG.loss)


@pytest.fixture
def folder(tmp_path) -> Path:
    save_artifact(tmp_path / "artifact", make_model(), CONFIG, GroupingConfig(eps=0.7), {"val_ari": 0.5})
    return tmp_path / "artifact"


def change(folder: Path, name: str, content: bytes) -> None:
    """Put other content and its right hash: what is tested is not the hash."""
    (folder / name).write_bytes(content)
    index = json.loads((folder / "artifact.json").read_text())
    index["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / "artifact.json").write_text(json.dumps(index))


def change_weights(folder: Path, edit) -> None:
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    edit(weights)
    change(folder, "weights.safetensors", safetensors.torch.save(weights))


def test_round_trip(folder):
    artifact = load_artifact(folder)
    image = torch.rand(1, 3, 9, 7)
    with torch.inference_mode():
        for name, prediction in make_model().eval()(image).items():
            torch.testing.assert_close(artifact.build()(image)[name], prediction, rtol=0, atol=0)
    assert artifact.config == CONFIG
    assert artifact.grouping.eps == 0.7
    assert artifact.metrics == {"val_ari": 0.5}
    assert not artifact.build().training


def test_it_says_what_it_was_trained_on(tmp_path):
    digests = {"data.train": "a" * 64, "data.val": "b" * 64}
    made = save_artifact(tmp_path / "a", make_model(), CONFIG, GroupingConfig(), {}, data=digests)
    assert made.data == load_artifact(tmp_path / "a").data == digests


def test_artifacts_of_before_say_nothing_of_their_data(folder):
    index = json.loads((folder / "artifact.json").read_text())
    del index["data"]
    (folder / "artifact.json").write_text(json.dumps(index))
    assert load_artifact(folder).data == {}
    (folder / "artifact.json").write_text(json.dumps({**index, "data": ["a"]}))
    with pytest.raises(UserError, match=r"artifact\.json"):
        load_artifact(folder)


def test_version_names_the_content(tmp_path):
    def version(seed, metrics, name=None):
        return save_artifact(tmp_path / "a", make_model(seed), CONFIG, GroupingConfig(), metrics, name).version

    first = version(0, {"a": 1.0})
    assert version(0, {"a": 1.0}) == first
    assert len({first, version(1, {"a": 1.0}), version(0, {"a": 2.0})}) == 3
    assert version(0, {"a": 1.0}, "2026.1") == "2026.1"
    with pytest.raises(UserError, match="version"):
        version(0, {}, "../x")


def test_scores_that_are_not_numbers_are_null(tmp_path):
    artifact = save_artifact(tmp_path / "a", make_model(), CONFIG, GroupingConfig(), {"x": math.nan})
    assert json.loads((tmp_path / "a" / "metrics.json").read_text()) == {"x": None}
    assert math.isnan(artifact.metrics["x"])


@pytest.mark.parametrize(
    "name", ["artifact.json", "config.json", "weights.safetensors", "grouping.json", "metrics.json"]
)
def test_missing_and_changed_files_are_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-3] + b"0" + content[-2:])
    with pytest.raises(UserError, match=name):
        load_artifact(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        load_artifact(folder)


def test_truncated_weights_with_the_right_hash(folder):
    change(folder, "weights.safetensors", (folder / "weights.safetensors").read_bytes()[:-40])
    with pytest.raises(UserError, match="safetensors"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda w: w.pop("heads.embedding.conv.bias"), "heads.embedding.conv.bias is missing"),
        (lambda w: w.update(more=torch.zeros(1)), "more is unknown"),
        (lambda w: w.update({"heads.embedding.conv.bias": torch.zeros(5)}), r"\(5,\).*expected \(3,\)"),
        (lambda w: w.update({"heads.embedding.conv.bias": torch.zeros(3).half()}), "float16"),
        (lambda w: w["heads.embedding.conv.bias"].fill_(math.nan), "NaN"),
        (lambda w: w["backbone.bottleneck.norm1.running_var"].fill_(math.inf), "NaN or infinite"),
    ],
)
def test_weights_that_do_not_fit(folder, edit, words):
    change_weights(folder, edit)
    with pytest.raises(UserError, match=words):
        load_artifact(folder)


def test_model_with_broken_weights_is_not_saved(tmp_path):
    model = make_model()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(UserError, match="NaN"):
        save_artifact(tmp_path / "a", model, CONFIG, GroupingConfig(), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("schema", "words"),
    [("linegroup.artifact/2", "Update linegroup"), ("other/1", "not written by linegroup"), (None, "not written")],
)
def test_other_schemas(folder, schema, words):
    index = json.loads((folder / "artifact.json").read_text())
    (folder / "artifact.json").write_text(json.dumps({**index, "schema": schema}))
    with pytest.raises(UserError, match=words):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["config.json", "grouping.json"])
def test_unknown_settings_of_a_newer_version(folder, name):
    change(folder, name, b'{"not_yet": 1}')
    with pytest.raises(UserError, match=f"{name}.*not_yet"):
        load_artifact(folder)


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff"])
def test_files_that_are_no_json_objects(folder, content):
    change(folder, "metrics.json", content)
    with pytest.raises(UserError, match=r"metrics\.json"):
        load_artifact(folder)


def test_pickle_is_never_read(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "boom",))

    change(folder, "weights.safetensors", pickle.dumps(Bomb()))
    with pytest.raises(UserError):
        load_artifact(folder)
    torch.save({"a": Bomb()}, tmp_path / "bomb.pt")
    change(folder, "weights.safetensors", (tmp_path / "bomb.pt").read_bytes())
    with pytest.raises(UserError):
        load_artifact(folder)
    assert not (tmp_path / "boom").exists()


def test_only_artifacts_are_replaced(folder, tmp_path):
    before = load_artifact(folder).version
    save_artifact(folder, make_model(1), CONFIG, GroupingConfig(), {})
    assert load_artifact(folder).version != before
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UserError, match="no artifact"):
        save_artifact(tmp_path / "mine", make_model(), CONFIG, GroupingConfig(), {})
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_disk_full_leaves_what_was_there(folder, tmp_path, monkeypatch):
    before = load_artifact(folder).version
    calls = 0

    def fail(_descriptor):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"No space.*run the same command again"):
        save_artifact(folder, make_model(1), CONFIG, GroupingConfig(), {})
    monkeypatch.undo()
    assert load_artifact(folder).version == before
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_config_of_the_model_is_what_is_stored(tmp_path):
    """The sections of the model itself win over those beside it."""
    other = Config(model=ModelConfig(width=99))
    assert save_artifact(tmp_path / "a", make_model(), other, GroupingConfig(), {}).config.model == CONFIG.model
