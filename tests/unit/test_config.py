from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import linegroup
from linegroup.config import Config, flat, load_config, recipe
from linegroup.errors import UserError


def test_defaults_yaml_and_overrides_in_order(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("training: {lr: 0.5, epochs: 3}\nmodel: {depth: 2}\n")
    config = load_config(path, ["training.lr=1e-3", "augment.crop=null"])
    assert (config.training.lr, config.training.epochs, config.model.depth) == (1e-3, 3, 2)
    assert config.augment.crop is None
    assert config.loss == Config().loss


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.depht=2", ["model.depht", "model.depth"]),
        ("lr=1", ["'lr'", "training.lr"]),
        ("training.lr=-1", ["training.lr", "greater than 0"]),
        ("training.lr=abc", ["training.lr", "number"]),
        ("training", ["dotted.key=value"]),
        ("training.lr.deep=1", ["training.lr.deep"]),
        ("training.lr=[1", ["YAML"]),
        ("training.precision=fp8", ["training.precision"]),
        ("grouping.eps=.inf", ["grouping.eps", "finite"]),
        ("grouping.eps=inf", ["grouping.eps", "finite"]),
        ("training.lr=.nan", ["training.lr", "finite"]),
        ("augment.crop=[0, 32]", ["augment.crop.0", "greater than or equal to 1"]),
        ("augment.scale=[0, 1]", ["augment.scale.0", "greater than 0"]),
        ("augment.scale=[1.4, 0.7]", ["augment.scale", "smaller to the larger"]),
        ("augment.jpeg_quality=[95, 40]", ["augment.jpeg_quality", "smaller to the larger"]),
        ("augment.jpeg_quality=[0, 40]", ["augment.jpeg_quality.0"]),
        ("augment.jpeg_quality=[40, 101]", ["augment.jpeg_quality.1"]),
        ("training.seed=-1", ["training.seed"]),
        ("grouping.seed=-1", ["grouping.seed"]),
    ],
)
def test_wrong_override_is_one_clear_line(override, words):
    with pytest.raises(UserError) as error:
        load_config(None, ["training.lr=1e-3", override])
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\xff"])
def test_broken_file_names_itself(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"bad\.yaml"):
        load_config(path)


def test_a_recipe_makes_the_same_configuration(tmp_path):
    given = ["training.lr=1e-5", "augment.crop=null", "data.mix={a: 1, b: 2.5}", "model.heads=[embedding]"]
    config = load_config(None, [*given, "grouping.method=link", "grouping.candidates=non_white", "tracking.run_name=x"])
    (tmp_path / "best.yaml").write_text(recipe(config))
    assert load_config(tmp_path / "best.yaml") == config
    # What is as always is not said.
    assert set(yaml.safe_load(recipe(config))) == {"data", "augment", "model", "training", "grouping", "tracking"}
    assert yaml.safe_load(recipe(config))["training"] == {"lr": 1e-5}
    # Beside a model to begin with, what is left out would be that model's.
    started = load_config(None, ["training.init=pretrained"])
    assert "delta_d" in yaml.safe_load(recipe(started))["loss"]


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_round_trip_through_json_and_flat():
    config = load_config(None, ["model.emb_dim=16", "augment.crop=[64, 96]"])
    assert Config.model_validate_json(config.model_dump_json()) == config
    leaves = flat(config)
    assert leaves["model.emb_dim"] == 16
    assert leaves["augment.crop"] == (64, 96)
    assert "model" not in leaves


def test_frozen():
    with pytest.raises(ValidationError):
        Config().model.depth = 3


def test_coordinates_and_crops_exclude_each_other():
    with pytest.raises(UserError, match=r"augment\.crop=null"):
        load_config(None, ["model.coordinates=true"])
    assert load_config(None, ["model.coordinates=true", "augment.crop=null"]).model.coordinates


def test_text_that_looks_like_a_number_stays_text():
    config = load_config(None, ["data.train=1e5", "training.out=1e5", "training.lr=1e-3", "grouping.eps=5e-1"])
    assert (config.data.train, config.training.out) == ("1e5", "1e5")
    assert (config.training.lr, config.grouping.eps) == (1e-3, 0.5)


def test_candidates_of_the_model_need_its_foreground_head():
    with pytest.raises(UserError, match="non_white or non_background"):
        load_config(None, ["model.heads=[embedding]"])
    assert load_config(None, ["model.heads=[embedding]", "grouping.candidates=non_white"]).model.heads == ("embedding",)
    assert load_config(Path(linegroup.__file__).parent / "recipes/reference.yaml").grouping.candidates == "non_white"
