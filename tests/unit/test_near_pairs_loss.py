"""The contrast of near pixels, against a loop over all pairs."""

import pytest
import torch

from linegroup.config import LossConfig, ModelConfig, load_config
from linegroup.errors import UserError
from linegroup.heads import build_head
from linegroup.losses import near_pairs_loss
from linegroup.losses.near_pairs import OFFSETS, RADII

MARGINS = {"delta_v": 0.5, "delta_d": 1.5}


def scene(seed=0, images=3, height=40, width=45, lines=3, dimensions=4):
    """Features `(N, D)`, ids `(N,)` and flat places `(N,)` of some pixels; the last image has none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, lines + 1, (images, height, width), generator=generator)
    labels *= torch.rand(labels.shape, generator=generator) < 0.3
    labels[-1] = 0
    index = labels.flatten().nonzero().squeeze(1)
    features = torch.randn(len(index), dimensions, generator=generator, dtype=torch.float64)
    return features, labels.flatten()[index], index, (images, height, width)


def by_loops(features, ids, index, size):
    """The definition, word for word."""
    images, height, width = size
    place = {int(p): n for n, p in enumerate(index)}
    total = 0.0
    for image in range(images):
        costs = {True: [], False: []}
        for n, flat in enumerate(index.tolist()):
            if flat // (height * width) != image:
                continue
            y, x = divmod(flat % (height * width), width)
            for dx, dy in OFFSETS:
                if not (0 <= x + dx < width and y + dy < height):
                    continue
                other = place.get(image * height * width + (y + dy) * width + x + dx)
                if other is None:
                    continue
                apart = float((features[n] - features[other]).norm())
                same = bool(ids[n] == ids[other])
                costs[same].append(max(0.0, apart - 1.0) ** 2 if same else max(0.0, 2.0 - apart) ** 2)
        total += sum(sum(values) / len(values) for values in costs.values() if values)
    return total / images


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_over_pairs(seed):
    data = scene(seed)
    assert float(near_pairs_loss(*data, **MARGINS)) == pytest.approx(by_loops(*data), abs=1e-9)


def test_embeddings_that_keep_the_margins_cost_nothing_and_others_do():
    _, ids, index, size = scene()
    centres = 3.0 * torch.eye(4, dtype=torch.float64)
    assert float(near_pairs_loss(centres[ids], ids, index, size, **MARGINS)) == 0
    assert float(near_pairs_loss(torch.zeros(len(ids), 4), ids, index, size, **MARGINS)) > 1


def test_pairs_have_no_order_and_each_is_there_once():
    assert len(set(OFFSETS)) == len(OFFSETS) == 4 * len(RADII)
    assert not any((-dx, -dy) in OFFSETS for dx, dy in OFFSETS)


def test_gradients_are_finite_where_embeddings_are_equal():
    _, ids, index, size = scene()
    features = torch.zeros(len(ids), 4, dtype=torch.float64, requires_grad=True)
    near_pairs_loss(features, ids, index, size, **MARGINS).backward()
    assert torch.isfinite(features.grad).all()


def test_no_pixels_cost_nothing():
    none = torch.zeros(0, dtype=torch.int64)
    features = torch.zeros(0, 4, requires_grad=True)
    loss = near_pairs_loss(features, none, none, (2, 5, 7), **MARGINS)
    loss.backward()
    assert float(loss.detach()) == 0


def test_the_embedding_head_adds_it_where_it_has_a_weight():
    labels = torch.zeros(1, 20, 20, dtype=torch.int32)
    labels[:, 5], labels[:, 10] = 1, 2
    for weight, there in ((0.0, False), (0.5, True)):
        head = build_head("embedding", 6, ModelConfig(emb_dim=4), LossConfig(near=weight))
        terms = head.loss(head(torch.rand(1, 6, 20, 20)), {"labels": labels}, None)
        assert ("near" in terms) == there


def test_margins_that_no_pair_can_keep_are_refused():
    with pytest.raises(UserError, match="delta_d to be at least"):
        load_config(None, ["loss.near=1", "loss.delta_d=0.2"])
