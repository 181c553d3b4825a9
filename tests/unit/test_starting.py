"""Fine-tuning: runs that begin with the weights of a model."""

import logging

import pytest
import torch

from linegroup.config import Config, load_config
from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.testing import random_sample
from linegroup.training.artifact import load_artifact, save_artifact
from linegroup.training.loop import prepare_run, train_local
from linegroup.training.starting import as_started, load_start

MODEL = ("model.width=4", "model.depth=1", "model.growth=1.5", "model.emb_dim=2", "loss.delta_d=2", "grouping.eps=0.3")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    config = load_config(None, MODEL)
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("start") / "artifact"
    save_artifact(folder, LineModel(config.model, config.loss), config, config.grouping, {})
    return folder


def asked(start, *overrides):
    return load_config(None, [f"training.init={start}", "training.device=cpu", "tracking.enabled=false", *overrides])


def test_network_loss_and_grouping_are_those_of_the_start(start):
    config = as_started(asked(start, "loss.delta_v=0.4", "model.heads=[embedding, foreground, crossing]"))
    assert (config.model.width, config.model.growth, config.loss.delta_d, config.grouping.eps) == (4, 1.5, 2, 0.3)
    assert config.loss.delta_v == 0.4
    assert config.model.heads == ("embedding", "foreground", "crossing")
    assert as_started(config) == config


def test_without_a_start_nothing_changes():
    assert as_started(Config()) == Config()


def test_weights_are_taken_and_a_new_head_begins_anew(start, caplog):
    config = as_started(asked(start, "model.heads=[embedding, foreground, tangent]"))
    model = LineModel(config.model, config.loss)
    with caplog.at_level(logging.WARNING):
        load_start(model, config)
    weights = load_artifact(start).weights
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in weights.items())
    assert "heads.tangent.conv.weight" in caplog.text
    assert "backbone" not in caplog.text


def test_another_backbone_is_refused_before_the_run(start, tmp_path, make_shard_folder):
    shards = make_shard_folder(tmp_path / "shards", {"train": [random_sample(1, (30, 40), 2)]})
    config = prepare_run(asked(start, "model.width=6", f"data.train={shards}", f"training.out={tmp_path / 'run'}"))
    with pytest.raises(UserError, match=r"width 4, growth 1\.5 and depth 1"):
        train_local(config, bar=False)


def test_no_such_start():
    with pytest.raises(UserError, match="no model 'nowhere'"):
        as_started(load_config(None, ["training.init=nowhere"]))


def test_a_run_begins_there(start, tmp_path, make_shard_folder):
    samples = [random_sample(i, (30, 40), 2) for i in range(1, 5)]
    shards = make_shard_folder(tmp_path / "shards", {"train": samples})
    common = (f"data.train={shards}", "augment.crop=[24, 32]", "training.batch_size=2", "training.max_steps=1")
    # A learning rate of next to nothing: what comes out is what went in, but for the statistics.
    config = asked(start, *common, "training.lr=1e-12", "training.weight_decay=0", f"training.out={tmp_path / 'run'}")
    result = train_local(config, bar=False)
    trained, begun = load_artifact(result.artifact), load_artifact(start)
    assert trained.config.model == begun.config.model
    parameters = [name for name in begun.weights if "running" not in name and "tracked" not in name]
    assert all(torch.allclose(trained.weights[name], begun.weights[name], atol=1e-9) for name in parameters)
