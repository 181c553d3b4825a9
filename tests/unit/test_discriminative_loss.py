"""The discriminative and the foreground loss against slow oracles and at their edges."""

import math

import pytest
import torch

from linegroup.losses import binary_map_loss, discriminative_loss
from linegroup.losses.selection import select_pixels

MARGINS = {"delta_v": 0.5, "delta_d": 1.5}


def oracle(features, ids, image, images, *, delta_v, delta_d):
    """The paper's equations with plain loops, in float64."""
    totals = [0.0, 0.0, 0.0]
    x = features.double()
    for b in range(images):
        lines = sorted(set(ids[image == b].tolist()))
        if not lines:
            continue
        groups = [x[(image == b) & (ids == k)] for k in lines]
        means = [g.mean(dim=0) for g in groups]
        for g, mean in zip(groups, means, strict=True):
            far = [max(0.0, float((p - mean).norm()) - delta_v) ** 2 for p in g]
            totals[0] += sum(far) / len(far) / len(lines)
            totals[2] += float(mean.norm()) / len(lines)
        pairs = [(i, j) for i in range(len(lines)) for j in range(len(lines)) if i != j]
        near = [max(0.0, 2 * delta_d - float((means[i] - means[j]).norm())) ** 2 for i, j in pairs]
        totals[1] += sum(near) / len(pairs) if pairs else 0.0
    return [t / images for t in totals]


def example(images, lines, pixels, dims=4, dtype=torch.float32, seed=0):
    """Random pixels of `images` pictures with up to `lines` lines each, in random order; one id is huge."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.randint(0, images, (pixels,), generator=draw)
    ids = torch.randint(1, lines + 1, (pixels,), generator=draw)
    ids = torch.where(ids == lines, 2**40 + 7, ids * 13)
    features = torch.randn(pixels, dims, generator=draw, dtype=torch.float64).to(dtype)
    return features, ids, image


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("images", "lines", "pixels"), [(1, 1, 30), (3, 5, 400), (2, 200, 2000), (5, 2, 6)])
def test_equals_the_slow_oracle(dtype, tolerance, images, lines, pixels):
    features, ids, image = example(images, lines, pixels, dtype=dtype)
    terms = discriminative_loss(features, ids, image, images, **MARGINS)
    expected = oracle(features, ids, image, images, **MARGINS)
    for got, want in zip(terms, expected, strict=True):
        assert got.dtype == dtype
        assert float(got) == pytest.approx(want, rel=tolerance, abs=tolerance)


def test_by_hand():
    """Two lines at distance 1 with pixels 1 from their mean: (1 - .5)², (3 - 1)², mean of the norms."""
    features = torch.tensor([[0.0, 1], [0, -1], [1, 1], [1, -1]])
    terms = discriminative_loss(features, torch.tensor([4, 4, 9, 9]), torch.zeros(4).long(), 1, **MARGINS)
    assert [float(t) for t in terms] == pytest.approx([0.25, 4.0, 0.5])


def test_a_long_line_is_summed_precisely():
    features, _, _ = example(1, 1, 100_000, dims=3)
    features += 5
    one = torch.ones(len(features), dtype=torch.int32)
    terms = discriminative_loss(features, one, one.long() * 0, 1, **MARGINS)
    exact = discriminative_loss(features.double(), one, one.long() * 0, 1, **MARGINS)
    assert [float(t) for t in terms] == pytest.approx([float(t) for t in exact], rel=1e-5)


def test_gradients_are_right():
    features, ids, image = example(3, 4, 40, dtype=torch.float64)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: discriminative_loss(f, ids, image, 3, **MARGINS), (features,))


@pytest.mark.parametrize("images", [1, 4])
def test_without_lines_all_is_zero_and_has_a_gradient(images):
    features = torch.zeros(0, 8, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    terms = discriminative_loss(features, nothing, nothing, images, **MARGINS)
    sum(terms).backward()
    assert [float(t.detach()) for t in terms] == [0, 0, 0]
    assert features.grad.shape == (0, 8)


def test_images_without_lines_count():
    features, ids, image = example(2, 3, 60)
    two = discriminative_loss(features, ids, image, 2, **MARGINS)
    four = discriminative_loss(features, ids, 3 * image, 4, **MARGINS)
    assert [2 * float(t) for t in four] == pytest.approx([float(t) for t in two])


def test_zero_exactly_at_the_margins():
    """Pixels delta_v from their mean, means 2·delta_d apart: nothing to do. Just beyond: something."""
    features = torch.tensor([[0, 0.5], [0, -0.5], [3, 0.5], [3, -0.5]], dtype=torch.float64)
    ids, image = torch.tensor([1, 1, 2, 2]), torch.zeros(4).long()
    variance, distance, _ = discriminative_loss(features, ids, image, 1, **MARGINS)
    assert (float(variance), float(distance)) == (0, 0)
    nearer = features * torch.tensor([0.99, 1.01], dtype=torch.float64)
    variance, distance, _ = discriminative_loss(nearer, ids, image, 1, **MARGINS)
    assert float(variance) == pytest.approx(0.005**2)
    assert float(distance) == pytest.approx(0.03**2)


def test_lines_of_different_images_do_not_repel():
    features = torch.zeros(4, 2)
    ids = torch.tensor([1, 1, 2, 2])
    apart = discriminative_loss(features, ids, torch.tensor([0, 0, 1, 1]), 2, **MARGINS)
    together = discriminative_loss(features, ids, torch.zeros(4).long(), 2, **MARGINS)
    assert float(apart.distance) == 0
    assert float(together.distance) == pytest.approx(9 / 2)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1.0, 1e4])
@pytest.mark.parametrize("lines", [1, 2, 200])
def test_gradient_is_finite_where_all_embeddings_are_equal(value, lines):
    features = torch.full((400, 4), value, requires_grad=True)
    ids = torch.arange(400) % lines + 1
    terms = discriminative_loss(features, ids, torch.zeros(400).long(), 1, **MARGINS)
    sum(terms).backward()
    assert all(math.isfinite(float(t.detach())) for t in terms)
    assert torch.isfinite(features.grad).all()


def test_half_precision_is_computed_in_float32():
    features, ids, image = example(3, 20, 3000)
    half = features.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = discriminative_loss(half, ids, image, 3, **MARGINS)
    sum(terms).backward()
    assert all(t.dtype == torch.float32 for t in terms)
    expected = discriminative_loss(half.detach().float(), ids, image, 3, **MARGINS)
    assert [float(t.detach()) for t in terms] == [float(t) for t in expected]
    assert half.grad.dtype == torch.bfloat16
    assert torch.isfinite(half.grad).all()


def test_is_bitwise_repeatable():
    features, ids, image = example(4, 32, 20_000, dims=8)
    grads = []
    for threads in (1, 2, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        x = features.clone().requires_grad_()
        sum(discriminative_loss(x, ids, image, 4, **MARGINS)).backward()
        torch.set_num_threads(before)
        grads.append(x.grad)
    assert torch.equal(grads[1], grads[2])
    assert torch.equal(grads[0], grads[1])


def test_memory_is_linear_in_the_pixels():
    """No array of pixels × lines: 50,000 pixels of 200 lines would make one of 40 MB."""
    features, ids, image = example(2, 200, 50_000, dims=8)
    features.requires_grad_()
    sizes = []

    def record(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        sum(discriminative_loss(features, ids, image, 2, **MARGINS)).backward()
    assert max(sizes) <= features.numel()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_selection_takes_the_right_pixels(layout):
    dense = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5).contiguous(memory_format=layout).requires_grad_()
    index = torch.tensor([0, 7, 19, 20, 33])
    picked = select_pixels(dense, index)
    assert torch.equal(picked, dense.detach().permute(0, 2, 3, 1).reshape(-1, 3)[index])
    (picked * torch.arange(1.0, 6)[:, None]).sum().backward()
    expected = torch.zeros(40, 3).index_add_(0, index, torch.arange(1.0, 6)[:, None].expand(5, 3))
    assert torch.equal(dense.grad.permute(0, 2, 3, 1).reshape(-1, 3), expected)


def foreground_oracle(logits, truth, mask, limit=10.0):
    total = 0.0
    for x, t, m in zip(logits.double(), truth, mask, strict=True):
        x, t = x[m], t[m]
        if not len(x):
            continue
        weight = min(max(math.sqrt(int((~t).sum()) / max(int(t.sum()), 1)), 1), limit)
        w = torch.where(t, weight, 1.0)
        p = x.sigmoid()
        cost = -(torch.where(t, p, 1 - p)).log()
        total += float((w * cost).sum() / w.sum())
        total += 1 - (2 * float(p[t].sum()) + 1) / (float(p.sum()) + int(t.sum()) + 1)
    return total / len(logits)


def foreground_example():
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 9, 11, generator=draw)
    truth = torch.rand(4, 9, 11, generator=draw) < torch.tensor([0.0, 0.01, 0.2, 0.9])[:, None, None]
    mask = torch.rand(4, 9, 11, generator=draw) < 0.8
    return logits, truth, mask


def test_foreground_equals_the_slow_oracle():
    logits, truth, mask = foreground_example()
    mask[2] = False
    assert float(binary_map_loss(logits, truth, mask)) == pytest.approx(
        foreground_oracle(logits, truth, mask), rel=1e-5
    )


def test_foreground_ignores_what_is_masked():
    logits, truth, mask = foreground_example()
    first = binary_map_loss(logits, truth, mask)
    logits[~mask] = 1e4
    assert torch.equal(first, binary_map_loss(logits, truth ^ ~mask, mask))


def test_foreground_gradient():
    logits, truth, mask = foreground_example()
    small = logits[:, :3, :3].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: binary_map_loss(x, truth[:, :3, :3], mask[:, :3, :3]), (small,))


@pytest.mark.parametrize("value", [0.0, 80.0, -80.0, 3e4])
def test_foreground_is_stable_in_bf16(value):
    _, truth, mask = foreground_example()
    logits = torch.full(truth.shape, value, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = binary_map_loss(logits, truth, mask)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_foreground_of_an_image_does_not_depend_on_its_mates():
    logits, truth, mask = foreground_example()
    alone = [binary_map_loss(logits[b : b + 1], truth[b : b + 1], mask[b : b + 1]) for b in range(4)]
    assert float(binary_map_loss(logits, truth, mask)) == pytest.approx(float(sum(alone)) / 4, rel=1e-6)


def test_a_perfect_foreground_costs_nothing_and_a_reversed_one_much():
    _, truth, mask = foreground_example()
    sure = torch.where(truth, 30.0, -30.0)
    assert float(binary_map_loss(sure, truth, mask)) < 1e-5
    assert float(binary_map_loss(-sure, truth, mask)) > 10
