"""Checkpoints of the reference script as models of ours.

Its file is `{epoch, model, opt, best_val}`, saved by `torch.save`; nothing in it is executed here. Its network
is a U-Net of double 3×3 convolutions, with max pooling and 2×2 transposed convolutions. Layers are told by
shape and by their order in the state dictionary, not by name, so copies of the script with other names fit too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from linegroup.config import Config, load_config
from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.training.artifact import Artifact, save_artifact

REFERENCE_RECIPE = Path(__file__).parents[1] / "recipes" / "reference.yaml"

JoinOrder = Literal["up_first", "skip_first"]
"""What comes first where a skip joins: the upsampled features (`torch.cat([up, skip])`) or the skip."""


@dataclass(eq=False)
class _Layer:
    """A convolution of the checkpoint, with the normalisation that follows it."""

    name: str
    weight: Tensor
    bias: Tensor | None = None
    norm: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kernel(self) -> int:
        return int(self.weight.shape[-1])


@dataclass(eq=False)
class _Network:
    """The layers by their place: index = level, 0 at full size."""

    encoder: list[tuple[_Layer, _Layer]]
    bottleneck: tuple[_Layer, _Layer]
    up: list[_Layer]
    decoder: list[tuple[_Layer, _Layer]]
    head: _Layer


def import_reference(checkpoint: Path, out: Path, *, join: JoinOrder = "up_first") -> Artifact:
    """Make an artifact of a checkpoint of the reference script.

    Width, depth and embedding size are read off the shapes; loss and grouping are those of the preset
    `reference`. Pictures go in as RGB in [0, 1].

    Args:
        checkpoint: The `.pt` file.
        out: Artifact folder to make.
        join: The order in which its decoder joins skips, which no shape tells.

    Raises:
        UserError: no such file, it holds code, or its network is another one; the message lists what did not fit.
    """
    tree = _read(checkpoint)
    network = _arrange(_layers(_state_of(tree, checkpoint), checkpoint), checkpoint)
    config = _config(network)
    model = LineModel(config.model, config.loss)
    state = _rename(network, join, normed=config.model.norm == "batch")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{checkpoint} does not fit a SmallUNet: {' '.join(str(error).split())}") from None
    metrics = {f"reference_{key}": _number(tree.get(key)) for key in ("best_val", "epoch") if key in tree}
    return save_artifact(out, model, config, config.decoding, metrics)


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"There is no checkpoint {path}.") from None
    # What torch raises for a damaged file depends on where the damage is: almost anything.
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read as weights alone: {first} A file that holds anything but tensors, numbers and text"
            " is refused, because reading it would execute code."
        ) from None
    if not isinstance(tree, dict):
        raise UserError(
            f"{path} must hold a dictionary {{epoch, model, opt, best_val}}; it holds {type(tree).__name__}."
        )
    return tree


def _state_of(tree: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    state = tree.get("model", tree)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} has no weights under 'model'; its keys are: {', '.join(map(str, tree))[:200]}.")
    # What DataParallel, DDP and torch.compile put before each name.
    return {name.removeprefix("module.").removeprefix("_orig_mod."): value for name, value in state.items()}


def _layers(state: Mapping[str, Tensor], path: Path) -> list[_Layer]:
    modules: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        modules.setdefault(module, {})[leaf] = value.float() if value.is_floating_point() else value
    layers: list[_Layer] = []
    norms: list[tuple[str, dict[str, Tensor]]] = []
    strange = []
    for name, leaves in modules.items():
        weight = leaves.get("weight")
        if weight is not None and weight.ndim == 4 and not set(leaves) - {"weight", "bias"}:
            layers.append(_Layer(name, weight, leaves.get("bias")))
        elif weight is not None and {"bias", "running_mean", "running_var"} <= set(leaves):
            norms.append((name, leaves))
        else:
            strange += [f"{name}.{leaf} {tuple(value.shape)}" for leaf, value in leaves.items()]
    if strange:
        raise UserError(f"{path}: these are no layers of a SmallUNet: {'; '.join(strange[:8])}.")
    _add_norms([layer for layer in layers if layer.kernel == 3], norms, path)
    return layers


def _add_norms(convs: list[_Layer], norms: list[tuple[str, dict[str, Tensor]]], path: Path) -> None:
    """Each normalisation to its convolution: the first to the first, and so on."""
    if norms and len(norms) != len(convs):
        raise UserError(f"{path} has {len(convs)} 3×3 convolutions but {len(norms)} normalisations: {_list(convs)}.")
    for layer, (name, leaves) in zip(convs, norms, strict=False):
        if len(leaves["weight"]) != len(layer.weight):
            raise UserError(f"{path}: {name} has {len(leaves['weight'])} channels, {layer.name} {len(layer.weight)}.")
        layer.norm = leaves


def _arrange(layers: list[_Layer], path: Path) -> _Network:
    convs = [layer for layer in layers if layer.kernel == 3]
    ups = [layer for layer in layers if layer.kernel == 2]
    heads = [layer for layer in layers if layer.kernel == 1]
    depth = len(ups)
    expected = 2 * (2 * depth + 1)
    if not depth or len(convs) != expected or len(heads) != 1 or len(layers) != expected + depth + 1:
        raise UserError(
            f"{path} is no SmallUNet: with {depth} transposed 2×2 convolutions it must have {expected} 3×3 ones and one"
            f" 1×1; it has {len(convs)} and {len(heads)}. Layers: {_list(layers)}."
        )
    pairs = list(zip(convs[::2], convs[1::2], strict=True))
    down = sorted((pair for pair in pairs if not _joins(pair)), key=_width)
    decoder = sorted((pair for pair in pairs if _joins(pair)), key=_width)
    if len(down) != depth + 1 or len(decoder) != depth:
        raise UserError(f"{path}: its 3×3 convolutions are no encoder and decoder of {depth} levels: {_list(convs)}.")
    # Transposed convolutions have their output channels second.
    return _Network(down[:-1], down[-1], sorted(ups, key=lambda layer: layer.weight.shape[1]), decoder, heads[0])


def _joins(pair: tuple[_Layer, _Layer]) -> bool:
    """Whether a block joins a skip with what comes from below: it halves the channels."""
    outputs, inputs = pair[0].weight.shape[:2]
    return bool(inputs == 2 * outputs)


def _width(pair: tuple[_Layer, _Layer]) -> int:
    return int(pair[0].weight.shape[0])


def _config(network: _Network) -> Config:
    preset = load_config(REFERENCE_RECIPE)
    shape = {
        "width": _width(network.encoder[0]),
        "depth": len(network.up),
        "emb_dim": int(network.head.weight.shape[0]),
        "norm": "batch" if network.bottleneck[0].norm else "none",
    }
    return preset.model_copy(update={"model": preset.model.model_copy(update=shape)})


def _rename(network: _Network, join: JoinOrder, *, normed: bool) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    blocks = {f"encoder.{level}": pair for level, pair in enumerate(network.encoder)}
    blocks["bottleneck"] = network.bottleneck
    for level, (first, second) in enumerate(network.decoder):
        if join == "up_first":
            # Ours joins the skip first: the two halves of the input channels change places.
            above, below = first.weight.chunk(2, dim=1)
            first = _Layer(first.name, torch.cat([below, above], dim=1), first.bias, first.norm)
        blocks[f"decoder.{level}"] = (first, second)
    for name, pair in blocks.items():
        for number, layer in enumerate(pair, 1):
            state |= _block(f"backbone.{name}", number, layer, normed=normed)
    for level, layer in enumerate(network.up):
        state |= {f"backbone.up.{level}.weight": layer.weight, f"backbone.up.{level}.bias": _bias(layer, axis=1)}
    state |= {"heads.embedding.conv.weight": network.head.weight, "heads.embedding.conv.bias": _bias(network.head)}
    return state


def _block(place: str, number: int, layer: _Layer, *, normed: bool) -> dict[str, Tensor]:
    conv = {f"{place}.conv{number}.weight": layer.weight}
    if not normed:
        return conv | {f"{place}.conv{number}.bias": _bias(layer)}
    norm = dict(layer.norm)
    # Ours has no bias before a normalisation. It only shifts the mean: take it off the running one.
    norm["running_mean"] = norm["running_mean"] - _bias(layer)
    norm.setdefault("num_batches_tracked", torch.tensor(0))
    return conv | {f"{place}.norm{number}.{leaf}": value for leaf, value in norm.items()}


def _bias(layer: _Layer, axis: int = 0) -> Tensor:
    return layer.bias if layer.bias is not None else layer.weight.new_zeros(layer.weight.shape[axis])


def _list(layers: list[_Layer]) -> str:
    return ", ".join(f"{layer.name} {tuple(layer.weight.shape)}" for layer in layers)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float | Tensor) else math.nan
