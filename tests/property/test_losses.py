"""What no choice of numbering, order or place may change in the discriminative loss."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.losses import discriminative_loss

MARGINS = {"delta_v": 0.5, "delta_d": 1.5}


@st.composite
def pixels(draw):
    """Features `(N, D)` float64, ids, image, number of images; N may be 0."""
    n, images = draw(st.integers(0, 60)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    features = torch.randn(n, draw(st.integers(1, 5)), generator=generator, dtype=torch.float64)
    ids = torch.randint(1, draw(st.integers(1, 12)) + 1, (n,), generator=generator)
    image = torch.randint(0, images, (n,), generator=generator)
    return features * draw(st.sampled_from([0.0, 0.1, 1.0, 10.0])), ids, image, images


def values(*args):
    return [float(t) for t in discriminative_loss(*args, **MARGINS)]


@given(pixels(), st.randoms(use_true_random=False), st.integers(1, 2**50))
@settings(max_examples=60, deadline=None)
def test_names_of_lines_do_not_matter(data, random, offset):
    features, ids, image, images = data
    names = list(range(1, 14))
    random.shuffle(names)
    renamed = torch.tensor([0, *names])[ids] * 3 + offset
    assert values(features, renamed, image, images) == pytest.approx(values(features, ids, image, images), abs=1e-9)


@given(pixels(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_order_of_pixels_and_images_does_not_matter(data, seed):
    features, ids, image, images = data
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(ids), generator=generator)
    mixed = torch.randperm(images, generator=generator)[image]
    again = values(features[order], ids[order], mixed[order], images)
    assert again == pytest.approx(values(features, ids, image, images), abs=1e-9)


@given(pixels())
@settings(max_examples=60, deadline=None)
def test_moving_and_turning_all_embeddings_changes_only_the_regularization(data):
    features, ids, image, images = data
    turned = features.flip(1) * -1
    assert values(turned, ids, image, images) == pytest.approx(values(features, ids, image, images), abs=1e-9)
    moved = values(features + 3.25, ids, image, images)
    assert moved[:2] == pytest.approx(values(features, ids, image, images)[:2], abs=1e-9)


@given(pixels(), pixels())
@settings(max_examples=60, deadline=None)
def test_a_batch_is_the_mean_of_its_parts(first, second):
    a, b = (values(*part) for part in (first, second))
    dims = max(first[0].shape[1], second[0].shape[1])
    wide = [torch.nn.functional.pad(part[0], (0, dims - part[0].shape[1])) for part in (first, second)]
    n, m = first[3], second[3]
    ids, image = torch.cat([first[1], second[1]]), torch.cat([first[2], second[2] + n])
    joined = values(torch.cat(wide), ids, image, n + m)
    assert joined == pytest.approx([(x * n + y * m) / (n + m) for x, y in zip(a, b, strict=True)], abs=1e-9)


@given(pixels())
@settings(max_examples=60, deadline=None)
def test_terms_are_never_negative_and_gradients_finite(data):
    features, ids, image, images = data
    features.requires_grad_()
    terms = discriminative_loss(features, ids, image, images, **MARGINS)
    sum(terms).backward()
    assert all(float(t.detach()) >= 0 for t in terms)
    assert torch.isfinite(features.grad).all()
