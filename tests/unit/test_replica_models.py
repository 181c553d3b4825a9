"""The life of a model in a replica: the first must be good, later ones are refused while the one before serves."""

import asyncio
import json
import logging
import shutil
import socket
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from linegroup.config import Config, GroupingConfig, ModelConfig
from linegroup.distributed.serving import holder as holder_module
from linegroup.distributed.serving.holder import ModelHolder
from linegroup.distributed.serving.replicas import Embedder
from linegroup.errors import UserError
from linegroup.files import sha256_of
from linegroup.model import LineModel
from linegroup.serving.loading import load_model
from linegroup.serving.stages import Overloaded
from linegroup.serving.work import Order, answer, embed
from linegroup.testing import two_crossing_lines
from linegroup.training.artifact import WEIGHTS, save_artifact

CONFIG = Config(model=ModelConfig(width=8, depth=2, emb_dim=4, heads=("embedding", "foreground")))
GROUPING = GroupingConfig(method="dbscan", candidates="non_white")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Two good models and bad ones of every kind."""
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate(("first", "second")):
        torch.manual_seed(number)
        save_artifact(folder / name, LineModel(CONFIG.model), CONFIG, GROUPING, {}, name)
    for name in ("truncated", "infinite", "changed"):
        shutil.copytree(folder / "second", folder / name)
    cut = folder / "truncated" / WEIGHTS
    cut.write_bytes(cut.read_bytes()[:-100])
    # Weights that are finite, with hashes that are right, whose maps are not: only trying it out shows that.
    weights = load_file(folder / "second" / WEIGHTS)
    huge = {name: torch.full_like(values, 1e30) if "conv" in name else values for name, values in weights.items()}
    save_file(huge, folder / "infinite" / WEIGHTS, metadata={"format": "pt"})
    index = folder / "infinite" / "artifact.json"
    tree = json.loads(index.read_text())
    tree["sha256"][WEIGHTS] = sha256_of(folder / "infinite" / WEIGHTS)
    index.write_text(json.dumps(tree))
    (folder / "changed" / "grouping.json").write_text("{}")
    return folder


def holder() -> ModelHolder:
    return ModelHolder(lambda reference: load_model(reference, "cpu"))


def test_nothing_serves_before_the_first():
    with pytest.raises(Overloaded):
        _ = holder().current


def test_change_in_place(artifacts):
    held = holder()
    assert held.change({"model_uri": str(artifacts / "first")})
    before = held.current
    assert held.change({"model_uri": str(artifacts / "second"), "reload": 1})
    assert (before.info.version, held.current.info.version) == ("first", "second")
    # Who has taken the one before goes on with it.
    parcel = embed(before.predictor, Order(two_crossing_lines().image, kind="cluster"))
    assert answer(parcel, "cluster", {}).model.version == "first"


@pytest.mark.parametrize(
    "choice",
    [
        {"model_uri": "truncated"},
        {"model_uri": "infinite"},
        {"model_uri": "changed"},
        {"model_uri": "missing"},
        {"model_uri": "first", "typo": 1},
    ],
    ids=str,
)
def test_bad_model_is_refused_and_the_one_before_serves_on(artifacts, choice, caplog):
    held = holder()
    assert held.change({"model_uri": str(artifacts / "first")})
    serving = held.current
    with caplog.at_level(logging.ERROR):
        assert not held.change({**choice, "model_uri": str(artifacts / choice["model_uri"])})
    assert held.current is serving
    assert "refused" in caplog.text


@pytest.mark.parametrize("name", ["truncated", "infinite", "changed", "missing"])
def test_first_model_must_be_good(artifacts, name):
    held = holder()
    with pytest.raises(UserError):
        held.change({"model_uri": str(artifacts / name)})
    with pytest.raises(Overloaded):
        _ = held.current


def test_maps_of_the_bad_model_are_what_is_wrong(artifacts):
    """The files are in order: it is the trial that refuses."""
    loaded = load_model(str(artifacts / "infinite"), "cpu")
    maps = loaded.predictor.model.maps(np.full((16, 16, 3), 200, dtype=np.uint8))
    assert not np.isfinite(maps.embedding).all()


def test_registry_that_is_gone_changes_nothing(artifacts, monkeypatch, caplog):
    """What serves needs no registry; only another model does."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    held = holder()
    assert held.change({"model_uri": str(artifacts / "first")})
    serving = held.current
    with caplog.at_level(logging.ERROR):
        assert not held.change({"model_uri": "models:/linegroup@champion"})
    assert held.current is serving
    assert "refused" in caplog.text
    parcel = embed(serving.predictor, Order(two_crossing_lines().image, kind="cluster"))
    assert answer(parcel, "cluster", {}).model.version == "first"


class Registry:
    """Where an alias points, and folders of models by version."""

    def __init__(self, folder, pointed):
        self.folder, self.pointed, self.loads = folder, pointed, []

    def load(self, _reference):
        self.loads.append(self.pointed)
        return load_model(str(self.folder / self.pointed), "cpu")

    def meant(self, reference):
        if self.pointed == "gone":
            raise UserError("no answer")
        return self.pointed if reference == ALIAS["model_uri"] else None


ALIAS = {"model_uri": "models:/linegroup@champion"}


def test_a_moved_alias_is_followed_there_and_back(artifacts):
    registry = Registry(artifacts, "first")
    held = ModelHolder(registry.load, registry.meant)
    assert not held.follow()
    held.change(ALIAS)
    assert not held.follow()
    for name in ("second", "first"):
        registry.pointed = name
        assert held.follow()
        assert (held.current.info.version, held.current.info.registry_version) == (name, name)
        assert not held.follow()
    assert registry.loads == ["first", "second", "first"]


def test_a_refused_version_is_tried_again_later_and_others_at_once(artifacts, monkeypatch):
    registry = Registry(artifacts, "first")
    held = ModelHolder(registry.load, registry.meant)
    held.change(ALIAS)
    registry.pointed = "truncated"
    assert not held.follow()
    assert not held.follow()
    assert registry.loads == ["first", "truncated"]
    monkeypatch.setattr(holder_module, "RETRY_S", -1.0)
    registry.pointed = "infinite"
    assert not held.follow()
    assert not held.follow()
    assert registry.loads[2:] == ["infinite", "infinite"]
    assert held.current.info.version == "first"
    registry.pointed = "second"
    assert held.follow()


def test_a_registry_that_is_gone_is_said_once(artifacts, caplog):
    registry = Registry(artifacts, "first")
    held = ModelHolder(registry.load, registry.meant)
    held.change(ALIAS)
    registry.pointed = "gone"
    with caplog.at_level(logging.WARNING):
        assert not held.follow()
        assert not held.follow()
    assert caplog.text.count("does not say where the alias points") == 1
    assert held.current.info.version == "first"


def test_what_has_no_alias_stays(artifacts):
    registry = Registry(artifacts, "first")
    held = ModelHolder(registry.load, registry.meant)
    held.change({"model_uri": "models:/linegroup/1"})
    assert held.current.info.registry_version == "1"
    registry.pointed = "second"
    assert not held.follow()
    assert held.current.info.version == "first"
    held.change({"model_uri": str(artifacts / "second")})
    assert held.current.info.registry_version is None


def test_a_refused_choice_does_not_stop_the_following(artifacts):
    registry = Registry(artifacts, "first")
    held = ModelHolder(registry.load, registry.meant)
    held.change(ALIAS)
    assert not held.change({**ALIAS, "typo": 1})
    registry.pointed = "second"
    assert held.follow()
    assert held.current.info.version == "second"


def test_an_alias_that_moves_while_its_model_is_loaded(artifacts):
    registry = Registry(artifacts, "first")
    held = ModelHolder(registry.load, registry.meant)

    def moving(reference):
        registry.pointed = "second"
        loaded = registry.load(reference)
        registry.pointed = "first"
        return loaded

    held._load = moving
    registry.meant = iter(["first", "second", "first", "first", "first"]).__next__
    held._meant = lambda _reference: registry.meant()
    held.change(ALIAS)
    assert (held.current.info.version, held.current.info.registry_version) == ("second", None)
    held._load = registry.load
    assert held.follow()
    assert held.current.info.version == "first"


def test_a_replica_looks_again_and_again():
    """The task that `reconfigure` starts, once."""
    looks = threading.Semaphore(0)

    class Holder:
        def change(self, choice):
            self.choice = choice

        def follow(self):
            looks.release()

    async def live():
        replica = object.__new__(Embedder)
        replica.holder, replica._follow_s, replica._following = Holder(), 0.01, None
        await replica.reconfigure(ALIAS)
        task = replica._following
        await replica.reconfigure({**ALIAS, "reload": 1})
        assert replica._following is task
        for _ in range(3):
            assert await asyncio.to_thread(looks.acquire, timeout=10)
        task.cancel()
        replica._follow_s, replica._following = 0.0, None
        await replica.reconfigure(ALIAS)
        assert replica._following is None

    asyncio.run(live())
