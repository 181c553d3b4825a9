"""The same questions for every head, then what each one means."""

import io

import pytest
import torch

from linegroup.config import LossConfig, ModelConfig
from linegroup.errors import UserError
from linegroup.heads import HEADS, build_head

CHANNELS = 6


def build(name, seed=0):
    torch.manual_seed(seed)
    return build_head(name, CHANNELS, ModelConfig(emb_dim=4), LossConfig())


def features(height=9, width=13, count=2):
    return torch.rand(count, CHANNELS, height, width, generator=torch.Generator().manual_seed(0))


def targets(height=9, width=13, count=2, lines=3):
    """Bands three pixels apart; the row where two of them meet is foreground, a crossing, without a label."""
    labels = torch.zeros(count, height, width, dtype=torch.int32)
    foreground = torch.zeros(count, height, width, dtype=torch.bool)
    for k in range(lines):
        labels[:, 3 * k : 3 * k + 1] = k + 1
        foreground[:, 3 * k : 3 * k + 2] = True
    crossing = foreground & (labels == 0)
    angle = torch.where(labels > 0, 0.7 * labels, -1.0)
    certain = torch.ones_like(foreground)
    return {"labels": labels, "foreground": foreground, "crossing": crossing, "angle": angle, "certain": certain}


def total(head, prediction, truth, inside=None):
    return torch.stack(list(head.loss(prediction, truth, inside).values())).sum()


@pytest.mark.parametrize("name", sorted(HEADS))
class TestEveryHead:
    def test_names_its_targets(self, name):
        """With those it needs, and nothing else, it works."""
        head = build(name)
        truth = {key: value for key, value in targets().items() if key in head.needs}
        terms = head.loss(head(features()), truth, None)
        assert terms
        assert set(terms) <= set(LossConfig.model_fields), "every term has its weight in the configuration"
        assert all(term.shape == () for term in terms.values())

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (33, 40)])
    def test_any_size(self, name, size):
        head = build(name)
        prediction = head(features(*size))
        assert prediction.shape[0] == 2
        assert prediction.shape[2:] == size
        total(head, prediction, targets(*size)).backward()
        assert all(torch.isfinite(p.grad).all() for p in head.parameters())

    @pytest.mark.parametrize("inside", [None, False])
    def test_without_lines_or_pixels_the_gradient_is_finite(self, name, inside):
        head = build(name)
        mask = None if inside is None else torch.zeros(2, 9, 13, dtype=torch.bool)
        loss = total(head, head(features()), targets(lines=0), mask)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in head.parameters())

    def test_saved_and_loaded_it_answers_the_same(self, name):
        one, other = build(name), build(name, seed=1)
        assert not torch.equal(one(features()), other(features()))
        memory = io.BytesIO()
        torch.save(one.state_dict(), memory)
        memory.seek(0)
        other.load_state_dict(torch.load(memory, weights_only=True))
        assert torch.equal(one(features()), other(features()))

    def test_three_steps_lower_the_loss(self, name):
        head = build(name)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.02)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = total(head, head(features()), targets())
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses == sorted(losses, reverse=True)
        assert losses[3] < losses[0]

    def test_what_is_outside_costs_nothing(self, name):
        head = build(name)
        truth = targets()
        prediction = head(features()).detach()
        inside = torch.ones(2, 9, 13, dtype=torch.bool)
        inside[1, :, 6:] = False
        loss = total(head, prediction, truth, inside)
        prediction[1, :, :, 6:] = 1e3
        assert torch.equal(loss, total(head, prediction, truth, inside))
        assert not torch.equal(loss, total(head, prediction, truth))

    def test_a_batch_costs_the_mean_of_its_images(self, name):
        head = build(name)
        prediction, truth = head(features()).detach(), targets()
        truth["labels"][1, 5:] = 0
        truth["foreground"][1, 5:] = False
        alone = [
            total(head, prediction[b : b + 1], {key: value[b : b + 1] for key, value in truth.items()})
            for b in range(2)
        ]
        torch.testing.assert_close(total(head, prediction, truth), sum(alone) / 2)

    def test_decodes_to_float32(self, name):
        head = build(name)
        decoded = head.decode(head(features()).bfloat16())
        assert decoded
        assert all(value.dtype == torch.float32 and value.shape[-2:] == (9, 13) for value in decoded.values())

    def test_bf16(self, name):
        head = build(name)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            prediction = head(features())
            loss = total(head, prediction, targets())
        assert prediction.dtype == torch.bfloat16
        assert loss.dtype == torch.float32
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_a_wrong_name_is_answered_with_the_right_one():
    with pytest.raises(UserError, match=r"Unknown head 'embeding'.*Did you mean 'embedding'"):
        build("embeding")


def test_the_embedding_of_unlabelled_pixels_is_free():
    head = build("embedding")
    prediction, truth = head(features()).detach(), targets()
    loss = total(head, prediction, truth)
    prediction.permute(0, 2, 3, 1)[truth["labels"] == 0] = 50
    assert torch.equal(loss, total(head, prediction, truth))


def test_margins_come_from_the_configuration():
    truth = targets()
    losses = []
    for delta_d in (1.5, 3.0):
        torch.manual_seed(0)
        head = build_head("embedding", CHANNELS, ModelConfig(emb_dim=4), LossConfig(delta_d=delta_d))
        losses.append(float(head.loss(head(features()), truth, None)["distance"].detach()))
    assert losses[1] > 3 * losses[0]


def test_the_foreground_starts_rare_and_is_a_probability():
    head = build("foreground")
    probability = head.decode(head(features()))["foreground"]
    assert probability.shape == (2, 9, 13)
    assert 0.08 < float(probability.detach().mean()) < 0.2


def test_uncertain_pixels_do_not_count_as_background():
    head = build("foreground")
    prediction, truth = head(features()).detach(), targets()
    truth["certain"][:, :4] = False
    loss = total(head, prediction, truth)
    truth["foreground"][:, :4] ^= True
    assert torch.equal(loss, total(head, prediction, truth))


def test_a_direction_and_its_opposite_are_one_tangent():
    head = build("tangent")
    angle = torch.full((1, 3, 4), 0.4)
    right = torch.stack([torch.cos(2 * angle), torch.sin(2 * angle)], dim=1)
    for turned in (angle, angle + torch.pi):
        assert float(head.loss(right, {"angle": turned}, None)["tangent"]) == pytest.approx(0, abs=1e-9)
    across = {"angle": angle + torch.pi / 2}
    assert float(head.loss(right, across, None)["tangent"]) == pytest.approx(4, abs=1e-5)
    unknown = {"angle": torch.full_like(angle, -1.0)}
    assert float(head.loss(right, unknown, None)["tangent"]) == 0
