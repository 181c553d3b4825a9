"""Pictures that go through the network together have the answers that they have alone."""

import numpy as np
import pytest
import torch

from linegroup.config import GroupingConfig, ModelConfig
from linegroup.distributed.serving import together
from linegroup.distributed.serving.together import bucket, maps_together
from linegroup.grouping import group_field, make_field
from linegroup.model import LineModel
from linegroup.testing import random_sample, unpng

NAMES = ("embedding", "foreground", "crossing", "tangent")


@pytest.fixture(scope="module")
def model() -> LineModel:
    torch.manual_seed(3)
    config = ModelConfig(
        width=8, depth=3, emb_dim=4, light_page=True, heads=("embedding", "foreground", "tangent", "crossing")
    )
    made = LineModel(config).eval()
    for part in made.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return made


def pictures() -> list[np.ndarray]:
    """Odd sizes, several of one bucket, one alone, one dark page."""
    sizes = [(96, 128), (97, 131), (60, 128), (200, 150), (33, 17), (128, 128), (131, 97)]
    made = [unpng(random_sample(seed, size).image) for seed, size in enumerate(sizes)]
    return [*made, 255 - made[1], made[1]]


def test_batch_equals_single(model):
    given = pictures()
    found = maps_together(model, given)
    assert len(found) == len(given)
    for pixels, maps in zip(given, found, strict=True):
        alone = model.maps(pixels)
        for name in NAMES:
            got, want = getattr(maps, name), getattr(alone, name)
            assert got.shape == want.shape
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_same_lines(model):
    given = pictures()[:4]
    grouping = GroupingConfig(method="dbscan", candidates="non_white", eps=0.3)
    for pixels, maps in zip(given, maps_together(model, given), strict=True):
        ours = group_field(make_field(pixels, maps, grouping), grouping)
        alone = group_field(make_field(pixels, model.maps(pixels), grouping), grouping)
        np.testing.assert_array_equal(ours.labels, alone.labels)


def test_neighbours_change_nothing(model):
    first, *others = pictures()[:3]
    for neighbours in ([others[0]], [np.zeros_like(first)], [np.full((128, 128, 3), 255, np.uint8)] * 2):
        found = maps_together(model, [*neighbours, first])[-1]
        np.testing.assert_allclose(found.embedding, model.maps(first).embedding, rtol=0, atol=1e-5)


def test_one_that_fails_fails_alone(model):
    good = pictures()[:2]
    bad = np.zeros((96, 128, 4), dtype=np.uint8)
    first, failed, last = maps_together(model, [good[0], bad, good[1]])
    assert isinstance(failed, ValueError)
    np.testing.assert_allclose(first.embedding, model.maps(good[0]).embedding, rtol=0, atol=1e-5)
    np.testing.assert_allclose(last.embedding, model.maps(good[1]).embedding, rtol=0, atol=1e-5)


def test_batches_are_bounded(model, monkeypatch):
    monkeypatch.setattr(together, "MOST_PIXELS", 3 * 128 * 128)
    sizes = []
    real = LineModel.maps_of
    monkeypatch.setattr(LineModel, "maps_of", lambda model, given: sizes.append(len(given)) or real(model, given))
    found = maps_together(model, [pictures()[0]] * 7)
    assert len(found) == 7
    assert max(sizes) <= 3


def test_bucket_holds_the_picture():
    for size in [(1, 1), (128, 128), (129, 1000)]:
        height, width = bucket(np.zeros((*size, 3), np.uint8))
        assert height >= size[0]
        assert width >= size[1]
        assert height % together.CELL == width % together.CELL == 0
