from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from linegroup.config import load_config
from linegroup.errors import UserError
from linegroup.training import importing
from linegroup.training.artifact import load_artifact
from linegroup.training.importing import REFERENCE_RECIPE, import_reference


def double_conv(inputs: int, outputs: int, norm: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (inputs, outputs):
        layers += [nn.Conv2d(size, outputs, 3, padding=1), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers)


class Reference(nn.Module):
    """The usual small U-Net of such scripts: 32-64-128, two poolings."""

    def __init__(self, emb_dim: int = 8, width: int = 32, norm: bool = True, skip_first: bool = False) -> None:
        super().__init__()
        self.enc1 = double_conv(3, width, norm)
        self.enc2 = double_conv(width, 2 * width, norm)
        self.bottleneck = double_conv(2 * width, 4 * width, norm)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.dec2 = double_conv(4 * width, 2 * width, norm)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.dec1 = double_conv(2 * width, width, norm)
        self.out = nn.Conv2d(width, emb_dim, 1)
        self.pool = nn.MaxPool2d(2)
        self.skip_first = skip_first

    def join(self, up, skip):
        return torch.cat([skip, up] if self.skip_first else [up, skip], dim=1)

    def forward(self, x):
        e1 = self.enc1(x)
        e2 = self.enc2(self.pool(e1))
        b = self.bottleneck(self.pool(e2))
        d2 = self.dec2(self.join(self.up2(b), e2))
        return self.out(self.dec1(self.join(self.up1(d2), e1)))


class OtherOrder(Reference):
    """The same network with layers made in another order and other names for them."""

    def __init__(self) -> None:
        super().__init__()
        modules = dict(self._modules)
        order = ["out", "up1", "up2", "dec1", "dec2", "bottleneck", "enc2", "enc1", "pool"]
        for name in modules:
            del self._modules[name]
        for name in order:
            setattr(self, name, modules[name])


def lively(network: nn.Module) -> nn.Module:
    """Random everything, the running statistics too."""
    torch.manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.rand_like(value) + 0.5 if name.endswith(("running_var",)) else torch.randn_like(value) * 0.2
            )
    return network.eval()


def save(network: nn.Module, path: Path, **more) -> Path:
    optimizer = torch.optim.Adam(network.parameters())
    torch.save(
        {"epoch": 7, "model": network.state_dict(), "opt": optimizer.state_dict(), "best_val": 0.25, **more}, path
    )
    return path


@pytest.mark.parametrize(
    ("network", "join"),
    [
        (Reference(), "up_first"),
        (Reference(emb_dim=16), "up_first"),
        (Reference(skip_first=True), "skip_first"),
        (Reference(norm=False, width=8), "up_first"),
        (OtherOrder(), "up_first"),
    ],
    ids=["reference", "emb_dim", "skip_first", "no norm", "other order"],
)
@torch.inference_mode()
def test_outputs_are_equal(tmp_path, network, join):
    artifact = import_reference(save(lively(network), tmp_path / "best.pt"), tmp_path / "artifact", join=join)
    # In double precision (but for the normalisation): how float32 rounds depends on the processor.
    model, network = artifact.build().double(), network.double()
    for size in ((16, 24), (4, 4), (40, 12)):
        image = torch.rand(2, 3, *size, dtype=torch.float64)
        expected, found = network(image), model(image)["embedding"]
        assert float(expected.std()) > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert artifact.config.model.emb_dim == network.out.out_channels
    assert artifact.config.model.width == network.out.in_channels
    assert artifact.metrics == {"reference_best_val": 0.25, "reference_epoch": 7.0}
    assert load_artifact(tmp_path / "artifact").version == artifact.version


@torch.inference_mode()
def test_wrong_join_order_changes_the_output(tmp_path):
    """So the option matters, and the test above can fail."""
    network = lively(Reference())
    model = import_reference(save(network, tmp_path / "x.pt"), tmp_path / "a", join="skip_first").build()
    image = torch.rand(1, 3, 8, 8)
    assert float((model(image)["embedding"] - network(image)).abs().max()) > 1e-2


def test_training_goes_on_alike(tmp_path):
    """In training mode too the folded bias changes nothing."""
    network = lively(Reference(width=4))
    model = import_reference(save(network, tmp_path / "x.pt"), tmp_path / "a").build().train()
    image = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model(image)["embedding"], network.train()(image), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.eval()(image)["embedding"], network.eval()(image), rtol=1e-4, atol=1e-4)


def test_names_that_ddp_leaves_and_half_precision(tmp_path):
    network = lively(Reference(width=4))
    state = OrderedDict((f"module.{name}", value.half()) for name, value in network.state_dict().items())
    torch.save({"epoch": 1, "model": state}, tmp_path / "x.pt")
    artifact = import_reference(tmp_path / "x.pt", tmp_path / "a")
    assert artifact.config.model.width == 4
    assert {value.dtype for value in artifact.weights.values()} <= {torch.float32, torch.int64}


def drop(network: Reference, name: str) -> Reference:
    del network._modules[name]
    return network


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (drop(Reference(), "up1"), r"no SmallUNet.*enc1\.0 \(32, 3, 3, 3\)"),
        (drop(Reference(), "out"), "one 1×1"),
        (nn.Sequential(nn.Linear(3, 4)), r"0\.weight \(4, 3\)"),
        (nn.Sequential(OrderedDict(a=Reference(), b=Reference())), "no SmallUNet"),
    ],
)
def test_other_networks_are_refused_with_what_did_not_fit(tmp_path, network, words):
    with pytest.raises(UserError, match=words):
        import_reference(save(network, tmp_path / "x.pt"), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_some_layers_without_normalisation(tmp_path):
    network = Reference()
    network.dec1[1] = nn.Identity()
    with pytest.raises(UserError, match="10 3×3 convolutions but 9 normalisations"):
        import_reference(save(network, tmp_path / "x.pt"), tmp_path / "a")


def test_files_that_are_no_checkpoints(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "boom",))

    with pytest.raises(UserError, match="There is no checkpoint"):
        import_reference(tmp_path / "none.pt", tmp_path / "a")
    (tmp_path / "text.pt").write_text("hello")
    for name, tree in [("bomb.pt", {"model": Bomb()}), ("list.pt", [1]), ("other.pt", {"state": 1})]:
        torch.save(tree, tmp_path / name)
    for name, words in [
        ("text.pt", "cannot be read"),
        ("bomb.pt", "execute"),
        ("list.pt", "list"),
        ("other.pt", "state"),
    ]:
        with pytest.raises(UserError, match=words):
            import_reference(tmp_path / name, tmp_path / "a")
    assert not (tmp_path / "boom").exists()


def test_preset_is_the_recipe_of_the_script():
    preset = load_config(REFERENCE_RECIPE)
    assert (preset.model.width, preset.model.depth, preset.model.coordinates) == (32, 2, False)
    assert (preset.loss.delta_v, preset.loss.delta_d) == (0.5, 1.5)
    assert (preset.loss.variance, preset.loss.distance, preset.loss.regularization) == (1, 1, 0.001)
    assert (preset.training.optimizer, preset.training.lr, preset.training.schedule) == ("adam", 1e-3, "constant")
    assert (preset.training.batch_size, preset.data.thickness, preset.data.category) == (2, 2, "2")


@pytest.mark.parametrize("name", ["demo", "laptop", "cluster"])
def test_recipes_load(name):
    root = Path(__file__).parents[2]
    assert load_config(root / "jobs" / "recipes" / f"{name}.yaml").model.heads == ("embedding", "foreground")


def test_a_flipped_bit_ends_in_a_user_error_or_not_at_all(tmp_path, monkeypatch):
    # Hundreds of flushes to disk would take most of the time.
    monkeypatch.setattr(importing, "save_artifact", lambda *_arguments: None)
    model = Reference(width=2)
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 3, "model": model.state_dict(), "opt": {}, "best_val": 0.5}, path)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for place, bit in zip(random.integers(len(content), size=200), random.integers(8, size=200), strict=True):
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            import_reference(path, tmp_path / "model")
        except UserError as error:
            refused += str(path) in str(error)
    assert refused > 20
