"""How samples become the arrays of a batch. No torch here: batches are prepared on any CPU."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from linegroup.augment import augment
from linegroup.config import Config
from linegroup.errors import UserError
from linegroup.images import ImageError, decode
from linegroup.plans import SEED_BITS, BatchPlan, Item
from linegroup.sample import Sample
from linegroup.targets import TARGETS, Targets, draw_targets, select_category, with_thickness

Pixels = NDArray[np.uint8]


class Samples(Protocol):
    """Samples by number: shards, a stream, or a list in memory."""

    def read(self, index: int, /) -> Sample:
        """The sample of a number."""


class SampleReader(Samples, Protocol):
    """Samples numbered 0 … len - 1."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one step, padded at the right and below to a common size.

    Attributes:
        image: `(B, H, W, 3) uint8` RGB, white in the padding.
        inside: `(B, H, W) bool`, False in the padding.
        targets: `(B, H, W)` per name (see `TARGETS`), zero in the padding.
        ids: `(B,) int64`, ids of the samples.
    """

    image: Pixels
    inside: NDArray[np.bool_]
    targets: dict[str, NDArray[Any]]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)


def collate(items: Sequence[tuple[Pixels, Targets]], needs: Collection[str], ids: Sequence[int]) -> Batch:
    """A batch of pictures `(h, w, 3)` with the targets that are needed; others are not computed.

    Pictures of different sizes (`augment.crop=null`) are padded to the largest height and width among them.
    """
    height = max(pixels.shape[0] for pixels, _ in items)
    width = max(pixels.shape[1] for pixels, _ in items)
    image = np.full((len(items), height, width, 3), 255, dtype=np.uint8)
    inside = np.zeros((len(items), height, width), dtype=np.bool_)
    targets: dict[str, NDArray[Any]] = {}
    for i, (pixels, truth) in enumerate(items):
        h, w = pixels.shape[:2]
        image[i, :h, :w] = pixels
        inside[i, :h, :w] = True
        for name in sorted(needs):
            plane = TARGETS[name](truth)
            if name not in targets:
                targets[name] = np.zeros((len(items), height, width), dtype=plane.dtype)
            targets[name][i, :h, :w] = plane
    return Batch(image, inside, targets, np.asarray(ids, dtype=np.int64))


@dataclass(frozen=True)
class BatchBuilder:
    """Makes the batch of a step: reads, decodes, augments, draws, pads. Deterministic and picklable.

    Attributes:
        sources: Where samples are read, in the plan's order.
        plan: Which samples make which batch.
        config: Augmentation and drawing.
        needs: Names of the targets to compute.
        rank: Which worker this is for.
    """

    sources: tuple[Samples, ...]
    plan: BatchPlan
    config: Config
    needs: frozenset[str]
    rank: int = 0

    def __call__(self, step: int) -> Batch:
        """The batch of a step in [0, ∞)."""
        chosen = self.plan.items(step, self.rank)
        made = [self._make(item) for item in chosen]
        return collate([(pixels, truth) for _, pixels, truth in made], self.needs, [i for i, _, _ in made])

    def _make(self, item: Item) -> tuple[int, Pixels, Targets]:
        drawing = self.config.data
        # Before augmenting: crops look for the lines that are drawn, and the zoom scales the default thickness too.
        sample = with_thickness(select_category(self.sources[item.source].read(item.number), drawing.category), drawing)
        # Seeded by what is made, not by when: the order in which batches are prepared changes nothing.
        seeds = [self.plan.seed + item.source, item.epoch, sample.id]
        rng = np.random.default_rng([seed & SEED_BITS for seed in seeds])
        changed, pixels = augment(sample, sample_pixels(sample), self.config.augment, rng)
        return sample.id, pixels, draw_targets(changed, drawing)


def sample_pixels(sample: Sample) -> Pixels:
    """The decoded picture of a sample, `(h, w, 3) uint8` RGB.

    Raises:
        UserError: it has none, or one that cannot be read or has another size than its truth; the sample is named.
    """
    where = f"Sample {sample.id}" + (f" ({sample.name})" if sample.name else "")
    if sample.image is None:
        raise UserError(f"{where} has no picture.")
    try:
        pixels = decode(sample.image).pixels
    except ImageError as error:
        raise UserError(f"{where}: {error}") from None
    if pixels.shape[:2] != tuple(sample.size):
        raise UserError(f"{where}: the picture is {pixels.shape[:2]}, its truth {sample.size}; sizes must be equal.")
    return pixels
