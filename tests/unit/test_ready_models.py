"""Networks that only predict: folded, in the precision of their device, the same wherever they are loaded."""

import copy
import os
from threading import Barrier, Thread

import numpy as np
import pytest
import torch

from linegroup.backbones.blocks import MaskedBatchNorm
from linegroup.backbones.folding import folded
from linegroup.backbones.sparse import SparseLevel, _pool
from linegroup.config import ModelConfig, TrainingConfig
from linegroup.distributed.serving.together import maps_together
from linegroup.model import LineModel
from linegroup.predict import Predictor
from linegroup.serving.loading import load_model
from linegroup.testing import random_sample, two_crossing_lines, unpng
from linegroup.training import stepping

NAMES = ("embedding", "foreground", "crossing", "tangent")


def trained(norm: str = "batch", depth: int = 2, scales: tuple[float, ...] = ()) -> LineModel:
    """A network whose normalisations do something."""
    torch.manual_seed(5)
    config = ModelConfig(width=8, depth=depth, emb_dim=4, norm=norm, heads=NAMES, foreground_scales=scales)
    model = LineModel(config).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.3, 3)
            torch.nn.init.normal_(part.weight, 1, 0.3)
            torch.nn.init.normal_(part.bias, 0, 0.3)
    return model


def picture(size: tuple[int, int], seed: int = 1) -> np.ndarray:
    return unpng(random_sample(seed, size).image)


def assert_same(got, want, atol=1e-4):
    for name in NAMES:
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=0, atol=atol)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("size", [(64, 96), (61, 97), (1, 1)])
def test_folded_predicts_the_same(norm, size):
    model = trained(norm)
    before = copy.deepcopy(model.state_dict())
    fast = folded(model)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in fast.modules())
    assert_same(fast.maps(picture(size)), model.maps(picture(size)))
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_folded_in_batches_with_padding():
    model, given = trained(), [picture((48, 64), 1), picture((61, 97), 2)]
    for maps, pixels in zip(folded(model).maps_of(given), given, strict=True):
        assert maps.foreground.shape == pixels.shape[:2]
        assert_same(maps, model.maps(pixels))


@pytest.mark.parametrize("scales", [(), (0.5,)])
@pytest.mark.parametrize("size", [(64, 96), (61, 97), (5, 7)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5])
def test_some_pixels_are_told_as_all_are(monkeypatch, scales, size, share):
    model = folded(trained(scales=scales))
    where = np.random.default_rng(3).random(size) < share
    where[0, 0] = where[-1, -1] = share > 0  # at the edges, too
    asked = []
    real = SparseLevel.__call__
    monkeypatch.setattr(SparseLevel, "__call__", lambda self, *given: asked.append(1) or real(self, *given))
    some, all_ = model.maps(picture(size), where=where), model.maps(picture(size))
    for name in NAMES:
        one, other = getattr(some, name), getattr(all_, name)
        assert one.shape == other.shape
        np.testing.assert_allclose(one[..., where], other[..., where], rtol=0, atol=1e-4)
    if share == 0.02 and size != (5, 7):
        assert asked
    if share in (0.0, 0.5):
        assert not asked


@pytest.mark.parametrize("size", [(64, 96), (61, 97), (33, 130)])
def test_two_levels_are_done_at_a_line_alone(monkeypatch, size):
    model = folded(trained())
    where = np.zeros(size, dtype=bool)
    where[size[0] // 2, 3:] = where[-1, :5] = True
    asked = []
    real = SparseLevel.__call__
    monkeypatch.setattr(SparseLevel, "__call__", lambda self, *given: asked.append(1) or real(self, *given))
    some = model.maps(picture(size), where=where)
    assert len(asked) == 2
    all_ = model.maps(picture(size))
    for name in NAMES:
        np.testing.assert_allclose(getattr(some, name)[..., where], getattr(all_, name)[..., where], rtol=0, atol=1e-4)


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_share_the_work_and_change_nothing(torch_threads, monkeypatch):
    model, size = folded(trained()), (128, 192)
    where = np.random.default_rng(3).random(size) < 0.15
    asked = []
    real = SparseLevel.__call__
    monkeypatch.setattr(SparseLevel, "__call__", lambda self, *given: asked.append(1) or real(self, *given))
    torch_threads(1)
    alone = model.maps(picture(size), where=where)
    torch_threads(3)
    together = model.maps(picture(size), where=where)
    assert_same(together, alone)
    assert len(asked) == 2, "once in each run"
    assert torch.get_num_threads() == 3
    told = []
    later = Thread(target=lambda: told.append((torch.ones(8, 8) @ torch.ones(8, 8), torch.get_num_threads())))
    later.start()
    later.join()
    assert told[0][1] == 3, "what other threads are told stays as it was"


def test_torch_has_one_thread_in_each_of_them(torch_threads):
    torch_threads(3)
    pool, together = _pool(os.getpid(), 3), Barrier(3, timeout=60)

    def after_much_work(_):
        together.wait()
        for width in (16, 64):  # from 32,768 numbers on torch asks how many threads it has
            torch.addmm(torch.ones(width), torch.ones(1024, 64), torch.ones(64, width)).relu_()
        return torch.get_num_threads()

    assert list(pool.map(after_much_work, range(3))) == [1, 1, 1]
    assert torch.get_num_threads() == 3


def test_some_pixels_of_a_picture_in_tiles(monkeypatch):
    monkeypatch.setattr("linegroup.model.LARGEST", 1000)
    monkeypatch.setattr("linegroup.model.TILE", 32)
    model, size = folded(trained()), (96, 130)
    where = np.zeros(size, dtype=bool)
    where[3:5, :] = where[:, 40] = True  # not in every tile
    some, all_ = model.maps(picture(size), where=where), model.maps(picture(size))
    for name in NAMES:
        np.testing.assert_allclose(getattr(some, name)[..., where], getattr(all_, name)[..., where], rtol=0, atol=1e-4)


def test_folded_is_what_a_predictor_has_and_an_artifact_has_not():
    model = Predictor.load("pretrained", "cpu").model
    assert not any(isinstance(part, MaskedBatchNorm) for part in model.modules())


@pytest.mark.parametrize("fast", [True, False])
def test_the_service_computes_as_predict_does(monkeypatch, fast):
    monkeypatch.setattr("linegroup.predict.has_bfloat16", lambda device: fast)
    ours, service = Predictor.load("pretrained", "cpu"), load_model("pretrained", "cpu").predictor
    assert (ours.version, ours.name, ours.grouping, ours.data) == (
        service.version, service.name, service.grouping, service.data,
    )  # fmt: skip
    assert ours.model.low_precision is service.model.low_precision is fast
    assert_same(service.model.maps(picture((64, 96))), ours.model.maps(picture((64, 96))), atol=0)


def test_precision_is_that_of_the_device_it_goes_to(monkeypatch):
    monkeypatch.setattr("linegroup.predict.has_bfloat16", lambda device: False)
    predictor = Predictor.load("pretrained", "cpu")
    assert not predictor.model.low_precision
    monkeypatch.setattr("linegroup.predict.has_bfloat16", lambda device: device.type == "cpu")
    assert predictor.on("cpu").model.low_precision


def test_batches_are_computed_in_the_models_precision():
    model, given = trained(), [picture((48, 64), 1), picture((61, 97), 2)]
    exact = [maps.embedding for maps in maps_together(model, given)]
    model.low_precision = True
    found = maps_together(model, given)
    for maps, pixels, before in zip(found, given, exact, strict=True):
        alone = model.maps(pixels).embedding
        error = np.abs(maps.embedding - before).max()
        assert 0 < error < 0.2 * np.abs(before).max()
        assert np.abs(maps.embedding - alone).max() <= error


def test_tiles_can_be_stopped(monkeypatch):
    monkeypatch.setattr("linegroup.model.LARGEST", 1000)
    monkeypatch.setattr("linegroup.model.TILE", 32)
    model, asked = trained(depth=1), []

    def check():
        asked.append(1)
        if len(asked) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        model.maps(picture((96, 96)), check)
    assert len(asked) == 3
    whole = model.maps(picture((96, 96)))
    monkeypatch.setattr("linegroup.model.LARGEST", 100_000)
    assert_same(whole, model.maps(picture((96, 96))), 1e-5)


def test_training_picks_the_precision_that_the_device_has(monkeypatch):
    model = LineModel(ModelConfig(width=4, depth=1, emb_dim=2))
    for fast, kind in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(stepping, "has_bfloat16", lambda _device, fast=fast: fast)
        stepper = stepping.Stepper(model, lambda m: m, TrainingConfig(precision="auto"), torch.device("cpu"))
        assert stepper._kind == kind
    named = stepping.Stepper(model, lambda m: m, TrainingConfig(precision="bf16"), torch.device("cpu"))
    assert named._kind == torch.bfloat16


def test_groupers_that_go_by_looks_do_without_the_network(monkeypatch):
    predictor = Predictor.load("pretrained", "cpu", ["grouping.method=colour", "grouping.candidates=non_white"])
    pixels = unpng(two_crossing_lines().image)
    wanted = predictor(pixels, predictor.model.maps(pixels))
    monkeypatch.setattr(LineModel, "maps", lambda *_given: pytest.fail("the network ran"))
    np.testing.assert_array_equal(predictor(pixels).labels, wanted.labels)
    assert wanted.groups.count
