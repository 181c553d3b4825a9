"""The model: one backbone and its heads, from pictures to loss terms and to maps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linegroup.backbones import build_backbone
from linegroup.config import LossConfig, ModelConfig
from linegroup.errors import UserError
from linegroup.heads import Head, build_head
from linegroup.sample import Maps
from linegroup.views import agreed, read_by, smaller

if TYPE_CHECKING:
    from linegroup.batches import Batch


LARGEST = 3_000_000
"""Pixels of the largest picture that goes through the network in one piece."""

TILE = 1024
"""Side of the pieces of larger ones, about."""

_MANY = 0.5
"""Share of a picture's pixels from which on it is sooner done to say something of all."""

AGAIN = frozenset({"foreground"})
"""Heads that are asked in other sizes, too."""


class _Tile(NamedTuple):
    """A piece of a picture, each part as slices of rows and columns.

    Attributes:
        seen: What the network sees, in the picture.
        within: What of that is kept, in the piece.
        place: Where it belongs, in the picture.
    """

    seen: tuple[slice, slice]
    within: tuple[slice, slice]
    place: tuple[slice, slice]


class LineModel(nn.Module):
    """Backbone and heads as `ModelConfig` names them, with the loss of `LossConfig`.

    Weights and activations are in the channels-last memory format, which is the faster one for these
    networks and the one in which pictures arrive.

    Attributes:
        config: What was built.
        loss_config: Margins and weights of the loss.
        needs: Names of the targets that the loss reads.
        low_precision: Whether `maps` computes in bfloat16: equal to two or three digits, faster where it is built in.

    Raises:
        UserError: the backbone or a head is unknown, a head is named twice, or there is none.
    """

    def __init__(self, model: ModelConfig, loss: LossConfig | None = None) -> None:
        super().__init__()
        if not model.heads or len(set(model.heads)) != len(model.heads):
            raise UserError(f"model.heads must name at least one head, each once; got {list(model.heads)}.")
        self.config = model
        self.loss_config = loss or LossConfig()
        self.low_precision = False
        self.backbone = build_backbone(model)
        heads = {name: build_head(name, self.backbone.channels, model, self.loss_config) for name in model.heads}
        self.heads = nn.ModuleDict(heads)
        self.needs: frozenset[str] = frozenset().union(*(head.needs for head in heads.values()))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, image: Tensor, inside: Tensor | None = None, heads: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        """Prediction `(B, C, H, W)` of each head, by its name.

        Args:
            image: `(B, 3, H, W)` in [0, 1], RGB; any size.
            inside: `(B, H, W)` bool, False where the batch is padded; None: nothing is padded.
            heads: Names of those that are asked; None: all.
        """
        features = self.backbone(image.contiguous(memory_format=torch.channels_last), inside)
        return {name: head(features) for name, head in self.heads.items() if heads is None or name in heads}

    def loss(
        self, prediction: Mapping[str, Tensor], targets: Mapping[str, Tensor], inside: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Every term, unweighted, by name, and `total`, their weighted sum: scalars.

        Args:
            prediction: As `forward` returned it.
            targets: `(B, H, W)` each, those of `needs`.
            inside: As `forward` got it.
        """
        terms: dict[str, Tensor] = {}
        for name, head in self._heads():
            terms |= head.loss(prediction[name], targets, inside)
        weights = self.loss_config.model_dump()
        return {"total": torch.stack([weights[name] * term for name, term in terms.items()]).sum(), **terms}

    def maps(
        self,
        pixels: NDArray[np.uint8],
        check: Callable[[], None] | None = None,
        where: NDArray[np.bool_] | None = None,
        heads: Collection[str] | None = None,
    ) -> Maps:
        """What the model says of one picture `(height, width, 3) uint8` RGB, on the device it is on.

        A large picture goes through the network in tiles that overlap by all that a pixel can see, so that the answer
        is that of the whole picture in little memory (up to rounding). Coordinate channels need the whole picture.

        Runs in evaluation mode and leaves every part in the mode it was in. A head that the model lacks, or that is not
        asked, leaves its map neutral: an embedding with D = 0, a foreground of ones that is not known, no crossings, no
        directions. With `foreground_scales` the foreground is what is said in all sizes together.

        Args:
            pixels: The picture.
            check: Called before each tile; what it raises ends the work.
            where: `(height, width)`, the pixels that are asked about: elsewhere the maps may say anything. On a CPU
                a few take a fifth less time than all. None: all.
            heads: Names of those that are asked; None: all. Without the foreground no other size is looked at.

        Raises:
            UserError: the picture has another shape or type.
        """
        check_picture(pixels)
        pixels = self._shown(pixels[None])[0]
        # In other precisions, on other devices, and of many pixels, choosing takes longer than doing all.
        if where is not None and (self.low_precision or self.device.type != "cpu" or not 0 < where.mean() <= _MANY):
            where = None
        found = self._maps(pixels, check, heads, where)
        others = []
        for scale in self.config.foreground_scales if found.foreground_known else ():
            view = smaller(pixels, scale)
            read = None if where is None else read_by(where, view.shape[:2])
            others.append(self._maps(view, check, AGAIN, read).foreground)
        return replace(found, foreground=agreed(found.foreground, others))

    def _maps(
        self,
        pixels: NDArray[np.uint8],
        check: Callable[[], None] | None,
        heads: Collection[str] | None,
        where: NDArray[np.bool_] | None,
    ) -> Maps:
        """Of a picture in one size, as the network is to see it, by some heads or all (None); see `maps`."""
        height, width = pixels.shape[:2]
        if self.config.coordinates or self._padded(height, width) <= LARGEST:
            with evaluating(self), torch.inference_mode():
                made = self._decoded([pixels], heads)[0] if where is None else self._at(pixels, heads, where)
                return self._found(made, heads)

        def tiles() -> Iterator[tuple[_Tile, dict[str, NDArray[np.float32]]]]:
            for tile in self._tiles(height, width):
                if check is not None:
                    check()
                if where is None:
                    yield tile, self._decoded([pixels[tile.seen]], heads)[0]
                elif where[tile.place].any():
                    asked = np.zeros_like(where[tile.seen])
                    asked[tile.within] = where[tile.place]
                    yield tile, self._at(pixels[tile.seen], heads, asked)

        with evaluating(self), torch.inference_mode():
            return self._found(_joined(tiles(), (height, width)), heads)

    def maps_of(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Maps]:
        """What the model says of each of some pictures, in one pass for each size and one piece; see `maps`.

        Args:
            pictures: `(h, w, 3) uint8` RGB each. Smaller ones are padded to the largest sides, and the padding masked:
                each has the answer that it has alone, up to rounding.

        Raises:
            UserError: a picture has another shape or type.
        """
        for pixels in pictures:
            check_picture(pixels)
        shown = [self._shown(pixels[None])[0] for pixels in pictures]
        found = self._maps_of(shown)
        scales = self.config.foreground_scales if "foreground" in self.heads else ()
        others = [self._maps_of([smaller(p, scale) for p in shown], AGAIN) for scale in scales]
        return [
            replace(maps, foreground=agreed(maps.foreground, [other[i].foreground for other in others]))
            for i, maps in enumerate(found)
        ]

    def _maps_of(self, pictures: Sequence[NDArray[np.uint8]], heads: Collection[str] | None = None) -> list[Maps]:
        """Of pictures in one size each, as the network is to see them, by some heads or all (None); see `maps_of`."""
        with evaluating(self), torch.inference_mode():
            return [self._found(found, heads) for found in self._decoded(pictures, heads)]

    def _found(self, maps: Mapping[str, NDArray[np.float32]], heads: Collection[str] | None) -> Maps:
        """Maps by name as one object, with what is known of them when some heads were asked or all (None)."""
        known = "foreground" in self.heads and (heads is None or "foreground" in heads)
        return Maps(**maps, foreground_known=known)

    def _decoded(
        self, pictures: Sequence[NDArray[np.uint8]], heads: Collection[str] | None
    ) -> list[dict[str, NDArray[np.float32]]]:
        """The maps of each picture by name, as `Maps` takes them."""
        batch, inside = _stacked(pictures)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.low_precision):
            masked = None if inside is None else inside.to(self.device)
            prediction = self(image_tensor(batch, self.device), masked, heads)
        size = batch.shape[1:3]
        found = {"embedding": torch.zeros(len(batch), 0, *size), "foreground": torch.ones(len(batch), *size)}
        for name, head in self._heads():
            if name in prediction:
                found |= head.decode(prediction[name].float())
        values = {name: value.cpu().numpy() for name, value in found.items()}
        return [
            {
                name: np.ascontiguousarray(value[i][..., : pixels.shape[0], : pixels.shape[1]])
                for name, value in values.items()
            }
            for i, pixels in enumerate(pictures)
        ]

    def _at(
        self, pixels: NDArray[np.uint8], heads: Collection[str] | None, where: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """The maps of a picture by name, in float32, 0 but for the pixels where `where (h, w)`, at least one."""
        features = self.backbone.features_at(image_tensor(pixels[None], self.device), where)
        found = {"embedding": torch.zeros(1, 0, 1, len(features)), "foreground": torch.ones(1, 1, len(features))}
        for name, head in self._heads():
            if heads is None or name in heads:
                # Heads look at each pixel alone, so that a row of them is a picture as good as any.
                found |= head.decode(head(features.T[None, :, None]))
        whole = {}
        for name, value in found.items():
            values = value[0, ..., 0, :].cpu().numpy()
            whole[name] = np.zeros((*values.shape[:-1], *where.shape), dtype=np.float32)
            whole[name][..., where] = values
        return whole

    def _padded(self, height: int, width: int) -> int:
        """Pixels of a picture that goes through the network, whose sides are multiples of a number."""
        cell = self.backbone.multiple
        return -(-height // cell) * -(-width // cell) * cell * cell

    def _tiles(self, height: int, width: int) -> Iterator[_Tile]:
        cell = self.backbone.multiple
        side, margin = cell * max(1, TILE // cell), cell * -(-self.backbone.reach // cell)
        for y in range(0, height, side):
            for x in range(0, width, side):
                rows, columns = _around(y, side, margin, height), _around(x, side, margin, width)
                yield _Tile(*zip(rows, columns, strict=True))

    def batch_tensors(self, batch: Batch, device: torch.device | str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """A batch on `device`, as `forward` and `loss` take it.

        Returns:
            image `(B, 3, H, W)` float32 in [0, 1], inside `(B, H, W)` bool, targets `(B, H, W)` each.
        """
        targets = {name: _tensor(batch.targets[name], device) for name in sorted(self.needs)}
        return image_tensor(self._shown(batch.image), device), _tensor(batch.inside, device), targets

    def _shown(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pictures `(B, H, W, 3)` as the network is to see them."""
        if not self.config.light_page:
            return pictures
        dark = np.median(pictures[:, ::2, ::2], axis=(1, 2, 3)) < 128
        if not dark.any():
            return pictures
        return np.where(dark[:, None, None, None], 255 - pictures, pictures)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def _heads(self) -> Iterator[tuple[str, Head]]:
        for name, head in self.heads.items():
            assert isinstance(head, Head)
            yield name, head


def check_picture(pixels: NDArray[Any]) -> None:
    """Whether it is a picture `(height, width, 3) uint8`.

    Raises:
        UserError: it has another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape) < 1 or pixels.dtype != np.uint8:
        raise UserError(f"A picture must be (height, width, 3) uint8; got {pixels.shape} {pixels.dtype}.")


def image_tensor(pixels: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """Pictures `(B, H, W, 3) uint8` as `(B, 3, H, W)` float32 in [0, 1] on `device`, channels last."""
    return _tensor(pixels, device).permute(0, 3, 1, 2).float().div_(255)


def _stacked(pictures: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], Tensor | None]:
    """One batch `(B, H, W, 3)`, and `(B, H, W)` bool, False in the padding; None: there is none."""
    sizes = [pixels.shape[:2] for pixels in pictures]
    if len(set(sizes)) == 1:
        return np.stack(pictures), None
    height, width = np.max(sizes, axis=0)
    batch = np.zeros((len(pictures), height, width, 3), dtype=np.uint8)
    inside = torch.zeros(len(pictures), height, width, dtype=torch.bool)
    for i, (pixels, (h, w)) in enumerate(zip(pictures, sizes, strict=True)):
        batch[i, :h, :w] = pixels
        inside[i, :h, :w] = True
    return batch, inside


def _around(start: int, side: int, margin: int, whole: int) -> tuple[slice, slice, slice]:
    """Along one axis: what is seen, what of that is kept, and its place."""
    stop = min(start + side, whole)
    first, last = max(0, start - margin), min(whole, stop + margin)
    return slice(first, last), slice(start - first, stop - first), slice(start, stop)


def _joined(
    tiles: Iterable[tuple[_Tile, dict[str, NDArray[np.float32]]]], size: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    """The maps `(…, height, width)` of a picture from those of its tiles."""
    whole: dict[str, NDArray[np.float32]] = {}
    for tile, maps in tiles:
        for name, values in maps.items():
            if name not in whole:
                whole[name] = np.zeros((*values.shape[:-2], *size), dtype=np.float32)
            whole[name][(..., *tile.place)] = values[(..., *tile.within)]
    return whole


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """All parts of `module` in evaluation mode, and each back in its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _tensor(array: NDArray[Any], device: torch.device | str) -> Tensor:
    # A copy when the array is read-only (Arrow, shared memory): torch refuses to promise not to write.
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device, non_blocking=True)
