"""The same questions for every backbone, then those of SmallUNet and its blocks."""

import io

import pytest
import torch
from torch import nn

from linegroup.backbones import BACKBONES, build_backbone
from linegroup.backbones.blocks import ConvBlock, MaskedBatchNorm
from linegroup.backbones.small_unet import level_channels, receptive_field
from linegroup.config import ModelConfig
from linegroup.errors import UserError

SIZES = range(33, 41)


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_backbone(ModelConfig(**{"width": 4, "depth": 3, **options}))


def picture(height, width, count=1, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def padded(pictures, size, filling=0.0):
    """Batch of `size` and the mask of what is inside."""
    image = torch.full((len(pictures), 3, *size), filling)
    inside = torch.zeros(len(pictures), *size, dtype=torch.bool)
    for b, one in enumerate(pictures):
        h, w = one.shape[-2:]
        image[b, :, :h, :w] = one[0]
        inside[b, :h, :w] = True
    return image, inside


@pytest.mark.parametrize("coordinates", [True, False])
@pytest.mark.parametrize("name", sorted(BACKBONES))
class TestEveryBackbone:
    def build(self, name, coordinates, **options):
        return build(backbone=name, coordinates=coordinates, **options)

    @pytest.mark.parametrize("norm", ["batch", "none"])
    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (16, 16), (33, 40), (64, 17)])
    def test_any_size(self, name, coordinates, size, norm):
        backbone = self.build(name, coordinates, norm=norm).train()
        features = backbone(picture(*size))
        assert features.shape == (1, backbone.channels, *size)
        features.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())
        assert all(torch.isfinite(b).all() for b in backbone.buffers())

    def test_a_white_picture_and_one_without_any_pixel_inside(self, name, coordinates):
        backbone = self.build(name, coordinates).train()
        image = torch.ones(2, 3, 20, 24)
        inside = torch.zeros(2, 20, 24, dtype=torch.bool)
        for mask in (None, inside, inside | torch.tensor([True, False])[:, None, None]):
            backbone.zero_grad()
            backbone(image, mask).square().sum().backward()
            assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())
            assert all(torch.isfinite(b).all() for b in backbone.buffers())

    def test_saved_and_loaded_it_answers_the_same(self, name, coordinates):
        one, other = self.build(name, coordinates), self.build(name, coordinates, seed=1)
        one.train()(picture(32, 32, 2))
        memory = io.BytesIO()
        torch.save(one.state_dict(), memory)
        memory.seek(0)
        other.load_state_dict(torch.load(memory, weights_only=True))
        x = picture(19, 21)
        assert torch.equal(one.eval()(x), other.eval()(x))

    def test_three_steps_lower_a_loss(self, name, coordinates):
        backbone = self.build(name, coordinates).train()
        optimizer = torch.optim.SGD(backbone.parameters(), lr=0.01)
        x = picture(24, 31, 2)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = (backbone(x).mean(dim=1) - x.mean(dim=1)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses == sorted(losses, reverse=True)
        assert losses[3] < 0.99 * losses[0]

    @pytest.mark.parametrize("size", [(33, 40), (20, 17), (32, 48), (1, 1)])
    def test_features_do_not_depend_on_padding_or_mates(self, name, coordinates, size):
        backbone = self.build(name, coordinates).train()
        backbone(picture(32, 32, 4))  # running statistics other than the first ones
        backbone.eval()
        one, mate = picture(*size), picture(50, 61, seed=1)
        alone = backbone(one)
        for filling in (0.0, 0.7):
            together = backbone(*padded([one, mate], (50, 61), filling))[:1, :, : size[0], : size[1]]
            torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)

    def test_without_normalisation_training_does_not_depend_on_padding_either(self, name, coordinates):
        backbone = self.build(name, coordinates, norm="none").train()
        one, mate = picture(33, 21), picture(50, 61, seed=1)
        together = backbone(*padded([one, mate], (50, 61), 0.7))[:1, :, :33, :21]
        torch.testing.assert_close(together, backbone(one), rtol=1e-5, atol=1e-5)

    def test_padding_changes_no_statistics_and_no_gradients(self, name, coordinates):
        pictures = [picture(33, 21), picture(24, 40, seed=1)]
        found = []
        for size, filling in (((33, 40), 0.0), ((64, 80), 0.7)):
            backbone = self.build(name, coordinates).train()
            image, inside = padded(pictures, size, filling)
            (backbone(image, inside) * inside[:, None]).square().sum().backward()
            found.append([*(p.grad for p in backbone.parameters()), *(b.float() for b in backbone.buffers())])
        for little, much in zip(*found, strict=True):
            torch.testing.assert_close(little, much, rtol=1e-4, atol=1e-4 * float(little.abs().max()) + 1e-9)

    def test_a_mask_of_ones_is_no_mask(self, name, coordinates):
        x = picture(24, 32, 2)
        outputs = [
            self.build(name, coordinates).train()(x, mask) for mask in (None, torch.ones(2, 24, 32, dtype=torch.bool))
        ]
        assert torch.equal(*outputs)

    def test_both_memory_formats_answer_the_same(self, name, coordinates):
        backbone = self.build(name, coordinates).train()
        x, inside = padded([picture(24, 31), picture(20, 15, seed=1)], (24, 31))
        plain = backbone(x, inside)
        backbone.to(memory_format=torch.channels_last)
        last = backbone(x.contiguous(memory_format=torch.channels_last), inside)
        torch.testing.assert_close(plain, last, rtol=1e-4, atol=5e-4)

    def test_bf16(self, name, coordinates):
        backbone = self.build(name, coordinates).train()
        x, inside = padded([picture(24, 31), picture(20, 15, seed=1)], (24, 31))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = backbone(x, inside)
        features.float().square().mean().backward()
        assert features.dtype == torch.bfloat16
        assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())


def test_a_wrong_name_is_answered_with_the_right_one():
    with pytest.raises(UserError, match=r"Unknown backbone 'small_net'.*Did you mean 'small_unet'"):
        build(backbone="small_net")


def plain_net(deep, depth=2):
    """Every kernel is its centre, all positive: a pixel sees itself and, `deep`, its own pooling cells."""
    net = build(depth=depth, norm="none", coordinates=False).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            module.weight.data[..., 1, 1] = 1 / module.in_channels
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.constant_(module.weight, deep / module.in_channels)
    return net


def seen_from(features, image, i, j):
    """`(H, W)` how much each pixel of the picture matters for the features of row i, column j; sum 1."""
    (grad,) = torch.autograd.grad(features[0, :, i, j].sum(), image, retain_graph=True)
    weight = grad[0].square().sum(dim=0)
    return weight / weight.sum()


def centroid(weight):
    rows, columns = (torch.arange(n, dtype=weight.dtype) for n in weight.shape)
    return float(weight.sum(dim=1) @ rows), float(weight.sum(dim=0) @ columns)


@pytest.mark.parametrize("height", SIZES)
def test_features_lie_on_their_pixels(height):
    shallow, deep = plain_net(0.2), plain_net(1.0)
    others = 0
    for width in SIZES:
        x = picture(height, width).requires_grad_()
        near, far = shallow(x), deep(x)
        assert near.shape[-2:] == (height, width)
        for i, j in ((0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1), (17, 22), (30, 13)):
            assert centroid(seen_from(near, x, i, j)) == pytest.approx((i, j), abs=0.5)
            rows, columns = seen_from(far, x, i, j).nonzero().T
            assert (i, j) in set(zip(rows.tolist(), columns.tolist(), strict=True))
            others += len(rows) - 1
            assert set((rows // 4).tolist()) == {i // 4}
            assert set((columns // 4).tolist()) == {j // 4}
    assert others > 24, "most pixels must be seen to look beyond themselves"


@pytest.mark.parametrize("size", [(33, 40), (36, 37), (39, 34)])
def test_random_networks_have_no_drift(size):
    """Single kernels are lopsided, and seven in ten reach over the border; on average nothing is shifted."""
    offsets = []
    for seed in range(4):
        net = build(seed, depth=2, width=8, norm="none").eval()
        x = picture(*size).requires_grad_()
        features = net(x)
        for i in range(9, size[0] - 9, 3):
            for j in range(9, size[1] - 9, 3):
                row, column = centroid(seen_from(features, x, i, j))
                offsets.append((row - i, column - j))
    drift = torch.tensor(offsets).mean(dim=0)
    assert float(drift.abs().max()) < 0.5


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_receptive_field_is_exact(depth):
    """With positive kernels a brighter pixel is seen in every feature within reach, and nowhere else."""
    net = build(depth=depth, width=2, norm="none", coordinates=False).eval()
    for parameter in net.parameters():
        if parameter.ndim == 4:
            nn.init.constant_(parameter, 1 / parameter[0].numel())
    cell = 2**depth
    side = 40 * cell  # further than any reach from the middle
    middle = side // 2
    with torch.inference_mode():
        dark = net.double()(torch.ones(1, 3, cell, side, dtype=torch.float64))
        changed = torch.zeros(side, cell, dtype=torch.bool)  # (bright column, feature column in one cell)
        for start in range(0, side, 64):
            columns = torch.arange(start, min(start + 64, side))
            x = torch.ones(len(columns), 3, cell, side, dtype=torch.float64)
            x[torch.arange(len(columns)), :, :, columns] = 1e6
            changed[columns] = (net(x) != dark)[:, 0, 0, middle : middle + cell]
    for phase in range(cell):
        before, after = receptive_field(depth, phase)
        seen = changed[:, phase].nonzero().flatten() - middle - phase
        assert (-int(seen.min()), int(seen.max())) == (before, after)


def test_reach_of_the_reference_and_of_the_preset():
    assert max(sum(receptive_field(2, p)) + 1 for p in range(4)) == 44
    assert min(sum(receptive_field(4, p)) + 1 for p in range(16)) >= 180


def test_coordinates_tell_equal_places_apart():
    x = torch.ones(1, 3, 8, 400)
    blind = build(depth=1, coordinates=False).eval()(x)[0, :, 4]
    seeing = build(depth=1, coordinates=True).eval()(x)[0, :, 4]
    assert torch.allclose(blind[:, 100], blind[:, 300], atol=1e-6)
    assert not torch.allclose(seeing[:, 100], seeing[:, 300], atol=1e-3)


class TestMaskedBatchNorm:
    def tensors(self, dtype=torch.float64, channels=3):
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(3, channels, 5, 7, generator=draw, dtype=dtype) * 2 + 5
        mask = (torch.rand(3, 1, 5, 7, generator=draw) < 0.6).expand(3, channels, 5, 7)
        return x, mask

    def norm(self, dtype=torch.float64):
        norm = MaskedBatchNorm(3).to(dtype)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        return norm

    def test_equals_normalising_the_pixels_inside_alone(self):
        x, mask = self.tensors()
        ours, oracle = self.norm(), nn.BatchNorm1d(3).double()
        oracle.load_state_dict(ours.state_dict())
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        for _ in range(2):
            y = ours(a, mask.double())
            rows = oracle(b.permute(0, 2, 3, 1)[mask[:, 0]])
        torch.testing.assert_close(y.permute(0, 2, 3, 1)[mask[:, 0]], rows)
        assert (y[~mask] == 0).all()
        torch.testing.assert_close(ours.state_dict(), oracle.state_dict())
        goal = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (y.permute(0, 2, 3, 1)[mask[:, 0]] * goal).sum().backward()
        (rows * goal).sum().backward()
        torch.testing.assert_close(a.grad, b.grad)
        torch.testing.assert_close(ours.weight.grad, oracle.weight.grad)
        torch.testing.assert_close(ours.bias.grad, oracle.bias.grad)

    def test_gradient_also_of_what_is_cleared(self):
        x, mask = self.tensors()
        norm = self.norm()
        names = ("weight", "bias")

        def call(x, weight, bias):
            parameters = dict(zip(names, (weight, bias), strict=True))
            return torch.func.functional_call(norm, parameters, (x, mask.double()))

        inputs = (x.requires_grad_(), *(getattr(norm, name).detach().requires_grad_() for name in names))
        assert torch.autograd.gradcheck(call, inputs)

    @pytest.mark.parametrize("count", [0, 1])
    def test_fewer_than_two_pixels_use_and_leave_the_running_statistics(self, count):
        x, mask = self.tensors()
        norm = self.norm()
        norm(x, mask.double())
        before = {name: value.clone() for name, value in norm.state_dict().items()}
        single = torch.zeros_like(x)
        single[1, :, 2, 3] = count
        y = norm(x, single)
        expected = norm.eval()(x) * single
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)

    def test_half_precision_keeps_its_type_and_is_near(self):
        x, mask = self.tensors(torch.float32)
        norm = self.norm(torch.float32)
        exact = norm(x.bfloat16().float(), mask.float())
        half = norm(x.bfloat16(), mask.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), exact, rtol=0.02, atol=0.05)

    def test_cumulative_average(self):
        x, mask = self.tensors()
        norm = MaskedBatchNorm(3, momentum=None).double()
        for shift in (0.0, 4.0):
            norm(x + shift, mask.double())
        inside = x.permute(0, 2, 3, 1)[mask[:, 0]]
        torch.testing.assert_close(norm.running_mean, inside.mean(dim=0) + 2)


def test_blocks_clear_their_padding():
    mask = torch.zeros(1, 4, 6, 6)
    mask[..., :3] = 1
    for norm in ("batch", "none"):
        block = ConvBlock(2, 4, norm)
        for mode in (True, False):
            assert (block.train(mode)(torch.rand(1, 2, 6, 6), mask)[..., 3:] == 0).all()


@pytest.mark.parametrize(
    ("width", "growth", "depth", "channels"),
    [(16, 2.0, 4, [16, 32, 64, 128, 256]), (16, 1.6, 5, [16, 24, 40, 64, 104, 168]), (3, 2.0, 2, [3, 6, 12])],
)
def test_channels_of_the_levels(width, growth, depth, channels):
    assert level_channels(ModelConfig(width=width, growth=growth, depth=depth)) == channels


def test_channels_may_grow_by_less_than_twice():
    config = ModelConfig(width=8, growth=1.5, depth=3)
    model = build_backbone(config).eval()
    assert model(torch.rand(1, 3, 33, 40)).shape == (1, 8, 33, 40)
    assert model.bottleneck.channels == 24
