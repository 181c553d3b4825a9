"""The whole model: padding, batches, maps, modes, saving."""

import io
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import linegroup.model
from linegroup.config import LossConfig, ModelConfig
from linegroup.errors import UserError
from linegroup.heads import HEADS
from linegroup.model import LineModel, evaluating


def build(seed=0, loss=None, **options):
    torch.manual_seed(seed)
    return LineModel(ModelConfig(**{"width": 6, "depth": 2, "emb_dim": 4, **options}), loss)


def chart(height, width, lines=2, seed=0):
    """Picture `(h, w, 3) uint8` with coloured lines, and its targets."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    coverage = np.zeros((height, width), dtype=np.uint8)
    labels = np.zeros((height, width), dtype=np.int32)
    for k in range(1, lines + 1):
        points = np.stack([np.linspace(0, width - 1, 5), rng.uniform(0, height, 5)], axis=1).round().astype(np.int32)
        one = cv2.polylines(np.zeros((height, width), dtype=np.uint8), [points], False, 1, 2) > 0
        pixels[one] = rng.integers(0, 200, 3)
        labels[one] = k
        coverage += one
    labels[coverage > 1] = 0
    certain = np.ones((height, width), dtype=bool)
    return pixels, {"labels": labels, "foreground": coverage > 0, "certain": certain}


def batch(charts, size=None):
    """Charts in one batch, padded at the right and at the bottom; the padding is filled with junk."""
    height, width = size or np.max([pixels.shape[:2] for pixels, _ in charts], axis=0)
    image = np.full((len(charts), height, width, 3), 77, dtype=np.uint8)
    inside = np.zeros((len(charts), height, width), dtype=bool)
    targets = {name: np.ones((len(charts), height, width), value.dtype) for name, value in charts[0][1].items()}
    for b, (pixels, truth) in enumerate(charts):
        place = b, slice(pixels.shape[0]), slice(pixels.shape[1])
        image[place], inside[place] = pixels, True
        for name, value in truth.items():
            targets[name][place] = value
    return SimpleNamespace(image=image, inside=inside, targets=targets, ids=list(range(len(charts))))


def terms_of(model, charts, size=None):
    image, inside, targets = model.batch_tensors(batch(charts, size), "cpu")
    image = image.to(next(model.parameters()).dtype)
    return model.loss(model(image, inside), targets, inside)


def test_total_is_the_weighted_sum_of_the_named_terms():
    weights = LossConfig(variance=2, distance=0.5, regularization=0.1, foreground=3)
    model = build(loss=weights)
    terms = {name: float(value.detach()) for name, value in terms_of(model, [chart(32, 40)]).items()}
    assert set(terms) == {"total", "variance", "distance", "regularization", "foreground"}
    expected = 2 * terms["variance"] + 0.5 * terms["distance"] + 0.1 * terms["regularization"] + 3 * terms["foreground"]
    assert terms["total"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("norm", "train"), [("batch", False), ("none", False), ("none", True)])
def test_the_loss_of_an_image_does_not_depend_on_its_mates(norm, train):
    model = build(norm=norm)
    terms_of(model, [chart(32, 32), chart(32, 32, seed=1)])
    model.train(train)
    charts = [chart(33, 40), chart(20, 61, lines=0, seed=1), chart(47, 21, lines=5, seed=2)]
    together = terms_of(model, charts, size=(64, 72))
    alone = [terms_of(model, [one]) for one in charts]
    for name, value in together.items():
        mean = sum(float(terms[name].detach()) for terms in alone) / 3
        assert float(value.detach()) == pytest.approx(mean, rel=1e-5, abs=1e-6), name


def test_padding_leaves_gradients_and_statistics_as_they_are():
    """In float64: rounding decides which of several equal white pixels a pooling takes."""
    found = []
    for size in (None, (80, 96)):
        model = build().double().train()
        terms_of(model, [chart(33, 40), chart(24, 61, seed=1)], size)["total"].backward()
        found.append([*(p.grad for p in model.parameters()), *(b.double() for b in model.buffers())])
    for little, much in zip(*found, strict=True):
        torch.testing.assert_close(little, much, rtol=1e-8, atol=1e-8 * float(little.abs().max()) + 1e-12)


def test_needs_are_those_of_the_heads():
    assert build().needs == {"labels", "foreground", "certain"}
    assert build(heads=("embedding",)).needs == {"labels"}


def test_tensors_of_a_batch():
    model = build(heads=("embedding",))
    one = batch([chart(8, 9), chart(5, 6)])
    for array in (one.image, one.inside, *one.targets.values()):
        array.setflags(write=False)
    image, inside, targets = model.batch_tensors(one, "cpu")
    assert image.shape == (2, 3, 8, 9)
    assert image.dtype == torch.float32
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert float(image[0, 1, 2, 3]) == pytest.approx(one.image[0, 2, 3, 1] / 255)
    assert inside.dtype == torch.bool
    assert set(targets) == {"labels"}
    assert np.array_equal(targets["labels"], one.targets["labels"])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (33, 40)])
def test_maps_of_any_size(size):
    maps = build().maps(chart(*size)[0])
    assert maps.embedding.shape == (4, *size)
    assert maps.foreground.shape == size
    assert maps.embedding.dtype == maps.foreground.dtype == np.float32
    assert maps.embedding.flags.c_contiguous
    assert 0 <= maps.foreground.min() <= maps.foreground.max() <= 1


def test_a_dark_page_is_shown_as_its_negative_where_that_is_asked_for():
    pixels, truth = chart(40, 60)
    for asked in (True, False):
        model = build(light_page=asked)
        light, dark = model.maps(pixels), model.maps(255 - pixels)
        assert np.array_equal(light.foreground, dark.foreground) == asked
        both = batch([(pixels, truth), (255 - pixels, truth)])
        image, _, _ = model.batch_tensors(both, "cpu")
        assert torch.equal(image[0], image[1]) == asked


@pytest.mark.parametrize("size", [(150, 211), (64, 300), (97, 33)])
def test_tiles_answer_as_the_whole_picture(size, monkeypatch):
    model = build(depth=3, heads=("embedding", "foreground", "crossing", "tangent"))
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    whole = model.maps(pixels)
    monkeypatch.setattr(linegroup.model, "LARGEST", 1000)
    monkeypatch.setattr(linegroup.model, "TILE", 48)
    tiled = model.maps(pixels)
    for name in ("embedding", "foreground", "crossing", "tangent"):
        assert np.allclose(getattr(tiled, name), getattr(whole, name), atol=1e-5), name
    # Tiles that overlap by less than what a pixel sees would not.
    monkeypatch.setattr(model.backbone, "reach", 8)
    assert not np.allclose(model.maps(pixels).embedding, whole.embedding, atol=1e-3) or size[1] < 48


def test_thin_pictures_go_in_tiles(monkeypatch):
    """The network pads both sides: of a picture one pixel high it would look at eight times as many."""
    model = build(depth=3, heads=("embedding", "foreground"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 900, 3), dtype=np.uint8)
    whole = model.maps(pixels)
    monkeypatch.setattr(linegroup.model, "LARGEST", 1000)
    monkeypatch.setattr(linegroup.model, "TILE", 48)
    seen = []
    decoded = model._decoded
    monkeypatch.setattr(model, "_decoded", lambda views, heads: seen.append(views[0].shape[1]) or decoded(views, heads))
    assert np.allclose(model.maps(pixels).embedding, whole.embedding, atol=1e-5)
    assert max(seen) < 900


def test_the_foreground_is_looked_for_in_several_sizes(monkeypatch):
    torch.manual_seed(0)
    heads = ("embedding", "foreground", "crossing")
    plain, scaled = build(heads=heads), build(heads=heads, foreground_scales=(0.5, 0.3))
    scaled.load_state_dict(plain.state_dict())
    pixels = chart(61, 90)[0]
    alone, together = plain.maps(pixels), scaled.maps(pixels)
    views = [alone.foreground]
    for height, width in ((30, 45), (18, 27)):
        view = plain.maps(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)).foreground
        views.append(cv2.resize(view, (90, 61), interpolation=cv2.INTER_LINEAR))
    expected = torch.tensor(np.array(views)).logit().mean(dim=0).sigmoid().numpy()
    np.testing.assert_allclose(together.foreground, expected, atol=1e-5)
    assert not np.allclose(together.foreground, alone.foreground, atol=1e-3)
    for name in ("embedding", "crossing"):
        assert np.array_equal(getattr(together, name), getattr(alone, name))
    for maps, other in zip(
        scaled.maps_of([pixels, chart(30, 40)[0]]), (together, scaled.maps(chart(30, 40)[0])), strict=True
    ):
        np.testing.assert_allclose(maps.foreground, other.foreground, atol=1e-5)
    monkeypatch.setattr(linegroup.model, "LARGEST", 1000)
    monkeypatch.setattr(linegroup.model, "TILE", 48)
    np.testing.assert_allclose(scaled.maps(pixels).foreground, together.foreground, atol=1e-5)


def test_all_sizes_of_a_dark_page_are_shown_as_negatives():
    """Half of it dark grey, half white, pixel by pixel: on the average it is light."""
    model = build(foreground_scales=(0.5,), light_page=True)
    pixels = np.where(np.random.default_rng(0).random((64, 96, 1)) < 0.55, 120, 255).astype(np.uint8).repeat(3, axis=2)
    means = []
    model.backbone.register_forward_pre_hook(lambda _module, given: means.append(float(given[0].mean())))
    model.maps(pixels)
    model.maps_of([pixels])
    assert means == pytest.approx([0.29] * 4, abs=0.02)


def test_the_smallest_pictures_and_no_foreground_in_several_sizes():
    assert build(foreground_scales=(0.1,)).maps(chart(1, 3)[0]).foreground.shape == (1, 3)
    assert (build(heads=("embedding",), foreground_scales=(0.5,)).maps(chart(6, 7)[0]).foreground == 1).all()


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_missing_head_leaves_its_map_neutral(name):
    maps = build(heads=(name,)).maps(chart(6, 7)[0])
    assert maps.embedding.shape == (4 if name == "embedding" else 0, 6, 7)
    assert (maps.foreground == 1).all() == (name != "foreground")
    assert maps.foreground_known == (name == "foreground")


@pytest.mark.parametrize("asked", [{"embedding"}, {"foreground"}, {"embedding", "tangent"}, set(HEADS)])
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("some", [False, True])
def test_heads_that_are_not_asked_are_as_if_they_were_missing(asked, tiled, some, monkeypatch):
    torch.manual_seed(0)
    model = build(heads=tuple(HEADS), foreground_scales=(0.5,))
    pixels = chart(61, 90)[0]
    if tiled:
        monkeypatch.setattr(linegroup.model, "LARGEST", 1000)
        monkeypatch.setattr(linegroup.model, "TILE", 48)
    sizes = []
    handle = model.backbone.register_forward_pre_hook(lambda _module, given: sizes.append(given[0].shape[-2:]))
    where = np.zeros((61, 90), bool)
    where[::2, ::2] = where[-1] = True
    maps, all_ = model.maps(pixels, None, where if some else None, asked), model.maps(pixels)
    told = where if some else np.ones_like(where)
    handle.remove()
    assert maps.foreground_known == ("foreground" in asked)
    for name in HEADS:
        wanted = getattr(all_, name)
        if name in asked:
            np.testing.assert_allclose(getattr(maps, name)[..., told], wanted[..., told], atol=1e-5)
        else:
            assert (getattr(maps, name)[..., told] == (name == "foreground")).all()
    if not tiled:
        assert len(sizes) == (4 if "foreground" in asked else 3), "two sizes for all heads, before them one or two"


def test_maps_are_those_of_evaluation_and_leave_all_modes():
    model = build()
    terms_of(model.train(), [chart(32, 32)])
    model.backbone.bottleneck.eval()
    modes = [part.training for part in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    maps = model.maps(chart(21, 30)[0])
    assert [part.training for part in model.modules()] == modes
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    model.eval()
    assert np.array_equal(maps.embedding, model.maps(chart(21, 30)[0]).embedding)


def test_modes_come_back_after_an_error():
    model = build().train()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        1 / int(model.training)
    assert all(part.training for part in model.modules())


@pytest.mark.parametrize("wrong", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5, 3))])
def test_maps_refuse_what_is_no_picture(wrong):
    with pytest.raises(UserError, match=r"\(height, width, 3\) uint8; got"):
        build().maps(wrong)


@pytest.mark.parametrize("heads", [(), ("embedding", "embedding"), ("embedding", "depth")])
def test_refuses_wrong_heads(heads):
    with pytest.raises(UserError, match="head"):
        build(heads=heads)


def test_saved_and_loaded_it_answers_the_same():
    one, other = build(), build(seed=1)
    terms_of(one, [chart(32, 32)])
    memory = io.BytesIO()
    torch.save(one.state_dict(), memory)
    memory.seek(0)
    other.load_state_dict(torch.load(memory, weights_only=True))
    pixels = chart(20, 30)[0]
    assert np.array_equal(one.maps(pixels).embedding, other.maps(pixels).embedding)


def test_the_reference_network_can_be_said():
    model = LineModel(ModelConfig(width=32, depth=2, coordinates=False, heads=("embedding",)))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["backbone.encoder.0.conv1.weight"] == (32, 3, 3, 3)
    assert shapes["backbone.encoder.1.conv2.weight"] == (64, 64, 3, 3)
    assert shapes["backbone.bottleneck.conv1.weight"] == (128, 64, 3, 3)
    assert shapes["backbone.up.1.weight"] == (128, 64, 2, 2)
    assert shapes["backbone.decoder.1.conv1.weight"] == (64, 128, 3, 3)
    assert shapes["backbone.up.0.weight"] == (64, 32, 2, 2)
    assert shapes["backbone.decoder.0.conv1.weight"] == (32, 64, 3, 3)
    assert shapes["heads.embedding.conv.weight"] == (8, 32, 1, 1)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_steps_lower_the_loss(precision):
    model = build().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    image, inside, targets = model.batch_tensors(batch([chart(40, 48, lines=3), chart(33, 41, seed=1)]), "cpu")
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
            loss = model.loss(model(image, inside), targets, inside)["total"]
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_training_is_bitwise_repeatable():
    ends = []
    for _ in range(2):
        model = build().train()
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for step in range(3):
            optimizer.zero_grad()
            terms_of(model, [chart(40, 48, seed=step), chart(33, 41, seed=9)])["total"].backward()
            optimizer.step()
        ends.append(model.state_dict())
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_low_precision_says_the_same_to_two_digits():
    model = LineModel(ModelConfig(width=8, depth=2, heads=("embedding", "foreground", "crossing", "tangent"))).eval()
    pixels = np.random.default_rng(5).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    exact = model.maps(pixels)
    model.low_precision = True
    fast = model.maps(pixels)
    for name in ("embedding", "foreground", "crossing", "tangent"):
        one, other = getattr(exact, name), getattr(fast, name)
        assert other.dtype == np.float32
        assert np.abs(one - other).max() < 0.05 * max(1, np.abs(one).max())
    assert not np.array_equal(exact.embedding, fast.embedding)
